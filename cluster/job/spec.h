#pragma once
// What a user submits, checked and complete: the form in which a job travels from the command line
// to the controller, stays in its state and reaches the nodes. Plain data; job_file.h reads it from
// YAML, spec_json.cpp writes and reads the JSON form.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json_fwd.h"

namespace wellspring::cluster {

/// Devices and memory: `nodes` nodes with `count` devices of one chip type on each, and
/// `tasks_per_node` tasks (processes) on each of them.
struct Resources {
  std::string chip;        // canonical name of the chip table; empty: any chip of the pool
  int count = 1;           // devices on each node, to 1024; 0: none (a node of that chip still)
  int nodes = 1;           // 1 to 4096
  int tasks_per_node = 1;  // 1 to 1024
  int64_t memory_mb = 0;   // host memory on each node; 0: no limit asked for
  bool operator==(const Resources&) const = default;
};

/// A folder of the node made visible to the job; `source` has to lie under one of the team's
/// allowed roots.
struct Mount {
  std::string source, target;  // absolute; equal when the file names only one
  bool read_only = false;
  bool operator==(const Mount&) const = default;
};

/// A secret of the team: a file $WELLSPRING_SECRETS/NAME of mode 0400, and on request a variable.
struct SecretUse {
  std::string name;
  std::string variable;  // empty: the file alone
  bool operator==(const SecretUse&) const = default;
};

/// Waits for what becomes of another job.
struct DependsOn {
  int64_t job = 0;
  std::string kind = "afterok";  // afterok, afterany, afternotok
  bool operator==(const DependsOn&) const = default;
};

/// When a failed attempt is tried again.
struct RestartPolicy {
  int most = 0;               // counted restarts
  std::vector<int> on_exit;   // statuses (1 to 255) that restart without being counted
  double backoff = 1;         // seconds before the first, doubled each time
  double most_backoff = 300;  // up to this
  bool operator==(const RestartPolicy&) const = default;
};

/// Where checkpoints lie and how long a job may take to write the last one.
struct Checkpointing {
  std::string folder = "checkpoints";  // relative to the run folder
  double grace = 30;                   // seconds between SIGTERM and SIGKILL
  bool operator==(const Checkpointing&) const = default;
};

/// Of a job of kind service.
struct Service {
  int port = 0;
  std::string ready_path;      // HTTP path that answers 200 when ready; empty: the port accepts
  double ready_timeout = 300;  // seconds until an attempt that is not ready is ended
  int replicas = 1;
  bool operator==(const Service&) const = default;
};

/// A job's own priority lies between this and its negative.
inline constexpr int kMostPriority = 1000;

/// A job, as submitted.
struct JobSpec {
  std::string name, team, project;  // team empty: that of the submitter's token
  std::string kind = "batch";       // batch, service, interactive
  std::string queue = "default";
  int priority = 0;                 // up to kMostPriority
  std::vector<Resources> accepted;  // what was asked for, then the accepted alternatives in order

  std::string command;   // for /bin/sh -c, in the working folder; interactive: may be empty
  std::string train;     // text of a RUN.yaml instead of a command
  std::string setup;     // run once per working folder and text; its result is kept by hash
  std::string image;     // Apptainer image; empty: none
  std::string workdir;   // where it was on the submitter's machine; for people
  std::string snapshot;  // SHA-256 (hex) of the uploaded archive of it; empty: none

  std::vector<Mount> mounts;
  std::vector<std::pair<std::string, std::string>> env;
  std::vector<SecretUse> secrets;

  RestartPolicy restart;
  Checkpointing checkpoint;
  Service service;
  std::vector<int> array;  // indices, rising; empty: no array
  int array_at_once = 0;   // at most so many elements run; 0: no limit
  std::vector<DependsOn> after;
  double time_limit = 0;  // seconds of one attempt; 0: none
  double not_before = 0;  // unix seconds; 0: at once
  double deadline = 0;    // unix seconds: not started by then, it is cancelled; 0: none
  std::string on_lost_contact = "fence";  // fence, continue
  std::string notify;                     // URL that gets a POST, or empty
  bool migrate = false;                   // reserved: refused until it is built
  bool operator==(const JobSpec&) const = default;
};

/// The JSON form: every field under its name, those with default values left out. An array stands
/// as text ("0-99,200"), env as a map.
Json to_json(const JobSpec& spec);
/// Reads the JSON form; without "accepted" the job asks for one device of any chip.
/// Error(Fault::data) naming `where`, the field, and the nearest known name when it is unknown;
/// values out of range are refused (check_spec).
JobSpec spec_from_json(const Json& json, const std::string& where);
/// What spec_from_json() takes, as a JSON schema.
Json spec_schema();

/// The rules that every job keeps, wherever it comes from: names, ranges, texts without control
/// characters, what excludes what. Throws an Error of `fault` that starts with what `place` says of
/// the field ("name", "accepted[1].count", "env.PATH"). Whether chips, teams, queues, mounts and
/// other jobs exist only the controller knows.
void check_spec(const JobSpec& spec, Fault fault,
                const std::function<std::string(const std::string& field)>& place);

/// Reads "0-99", "1,3,5-9" or "0-30:10" (every tenth): rising, each once, at most a million of
/// them, from 0 to 1,000,000,000. Error(Fault::data) says what is wrong, without a place.
std::vector<int> parse_indices(std::string_view text);
/// The shortest such text of rising indices.
std::string format_indices(const std::vector<int>& indices);

/// Whether `name` may name a job, team, project, queue, node or secret:
/// [A-Za-z0-9][A-Za-z0-9._-]{0,63}.
bool is_name(std::string_view name);

}  // namespace wellspring::cluster
