#pragma once
// What a user submits, checked and complete: the form in which a job travels from the command line
// to the controller, stays in its state and reaches the nodes. Plain data; job_file.h reads it from
// YAML, spec_json.cpp writes and reads the JSON form.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring::cluster {

/// Devices and memory: `nodes` nodes with `count` devices of one chip type on each, and
/// `tasks_per_node` tasks (processes) on each of them.
struct Resources {
  std::string chip;        // canonical name of the chip table
  int count = 1;           // devices on each node; 0: none (still placed on a node of that chip)
  int nodes = 1;           // 1 to 4096
  int tasks_per_node = 1;  // 1 to 1024
  int64_t memory_mb = 0;   // host memory on each node; 0: no limit asked for
};

/// A folder of the node made visible to the job; `source` has to lie under one of the team's
/// allowed roots.
struct Mount {
  std::string source, target;  // absolute; equal when the file names only one
  bool read_only = false;
};

/// A secret of the team: a file $WELLSPRING_SECRETS/NAME of mode 0400, and on request a variable.
struct SecretUse {
  std::string name;
  std::string variable;  // empty: the file alone
};

struct Dependency {
  int64_t job = 0;
  std::string kind = "afterok";  // afterok, afterany, afternotok
};

/// When a failed attempt is tried again.
struct RestartPolicy {
  int most = 0;                  // counted restarts
  std::vector<int> on_exit;      // statuses that restart without being counted
  double backoff = 1;            // seconds before the first, doubled each time
  double most_backoff = 300;     // up to this
};

struct Checkpointing {
  std::string folder;   // relative to the run folder; "checkpoints" by default
  double grace = 30;    // seconds between SIGTERM and SIGKILL
};

struct Service {
  int port = 0;
  std::string ready_path;     // HTTP path that answers 200 when ready; empty: the port accepts
  double ready_timeout = 300; // seconds until an attempt that is not ready is ended
  int replicas = 1;
};

struct JobSpec {
  std::string name, team, project;
  std::string kind = "batch";  // batch, service, interactive
  std::string queue = "default";
  int priority = 0;  // -1000 to 1000
  std::vector<Resources> accepted;  // what was asked for, then the accepted alternatives in order

  std::string command;  // for /bin/sh -c, in the working folder
  std::string train;    // text of a RUN.yaml instead of a command
  std::string setup;    // run once per working folder and text; its result is kept by hash
  std::string image;    // Apptainer image; empty: none
  std::string workdir;  // where it was on the submitter's machine; for people
  std::string snapshot; // SHA-256 (hex) of the uploaded archive of it; empty: none

  std::vector<Mount> mounts;
  std::vector<std::pair<std::string, std::string>> env;
  std::vector<SecretUse> secrets;

  RestartPolicy restart;
  Checkpointing checkpoint;
  Service service;
  std::vector<int> array;   // indices; empty: no array
  int array_at_once = 0;    // at most so many elements run; 0: no limit
  std::vector<Dependency> after;
  double time_limit = 0;    // seconds of one attempt; 0: none
  double not_before = 0;    // unix seconds; 0: at once
  double deadline = 0;      // unix seconds: not started by then, it is cancelled; 0: none
  std::string on_lost_contact = "fence";  // fence, continue
  std::string notify;       // URL that gets a POST, or empty
  bool migrate = false;     // reserved
};

/// The JSON form: every field under its name, those with default values left out.
Json to_json(const JobSpec& spec);
/// Reads the JSON form. Error(Fault::data) naming `where`, the field, and the nearest known name
/// when it is unknown; values out of range are refused (the same rules as for a job file).
JobSpec spec_from_json(const Json& json, const std::string& where);

}  // namespace wellspring::cluster
