#pragma once
// What the control plane knows: plain rows. Each has a key of text, a JSON document (its fields are
// listed once, in entities.cpp) and lies in a table of its own. Times are unix seconds.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cluster/job/spec.h"

namespace wellspring::cluster {

using JobId = int64_t;

enum class JobState { queued, held, starting, running, stopping, succeeded, failed, cancelled };
const char* name_of(JobState state);
/// succeeded, failed or cancelled.
inline bool ended(JobState state) { return state >= JobState::succeeded; }
/// An attempt is under way.
inline bool active(JobState state) {
  return state == JobState::starting || state == JobState::running || state == JobState::stopping;
}

/// Jobs of one: the elements of an array, or the copies of a service that has several. 0: it is a job
/// by itself.
inline size_t element_count(const JobSpec& spec) {
  if (!spec.array.empty()) return spec.array.size();
  return spec.service.replicas > 1 ? static_cast<size_t>(spec.service.replicas) : 0;
}
inline int element_index(const JobSpec& spec, size_t element) {
  return spec.array.empty() ? static_cast<int>(element) : spec.array[element];
}

/// A job, an array (the parent of its elements, never placed itself) or an element of one.
struct Job {
  JobId id = 0;
  JobId array = 0;  // element: its array's id
  int index = -1;   // element: its index
  /// Shared by the elements of an array; elements have no copy of it in their row.
  std::shared_ptr<const JobSpec> spec;
  std::string team = {}, user = {};  // who submitted it
  JobState state = JobState::queued;
  bool held = false;      // by its owner
  std::string reason = {};     // why it waits, failed or was cancelled
  double expected = 0;    // when it may start at the latest, if known
  double submitted = 0, not_before = 0, started = 0, ended = 0;
  int exit_status = -1;   // of the last attempt; -1: none yet
  int attempts = 0;       // launched so far
  int restarts = 0;       // that counted
  int64_t attempt = 0;    // serial of the newest attempt
  std::string pool = {};       // once it ran: where its run folder lies
  int64_t checkpoint = 0; // newest step that was seen when an attempt ended
  bool notified = false;  // its `notify` URL has been told of the end, or been given up
};
/// Where a service listens: each of its copies on a port of its own.
inline int service_port(const Job& job) {
  const int port = job.spec->service.port;
  return port && job.array ? port + job.index : port;
}

enum class AttemptState { starting, running, stopping, ended };
const char* name_of(AttemptState state);

/// Why the controller stops an attempt; decides what becomes of the job.
enum class StopCause {
  none, cancel, preempt, drain, time_limit, lost, replaced, failed_part,
  node_fault,  // the node could not begin, through no fault of the job
  quota        // its team's device-hours are used up
};
const char* name_of(StopCause cause);

/// One launch of a job: N tasks over one or more nodes.
struct Attempt {
  int64_t serial = 0;
  std::string token = {};  // fencing token: "SERIAL-random"
  JobId job = 0;
  int number = 1;     // of the job's attempts
  std::string executor = "nodes";
  std::string chip = {};
  int alternative = 0;  // which of the accepted resources
  int tasks_per_node = 1;
  struct Part {
    std::string node;
    std::vector<int> devices;  // indices on the node
    AttemptState state = AttemptState::starting;
    bool prepared = false;
    int status = -1;
    std::string reason;
  };
  std::vector<Part> parts = {};
  AttemptState state = AttemptState::starting;
  StopCause cause = StopCause::none;
  double created = 0, started = 0, stop_sent = 0, ended = 0;
  int exit_status = -1;
  std::string reason = {};
  double cpu_seconds = 0;
  int64_t peak_memory = 0;
  int64_t checkpoint = 0;  // newest step when it ended
  bool ready = false;      // a service that answers
  std::map<std::string, double> reached = {};  // last figures of its run folder
  std::string outside = {};     // the executor's own number: a Slurm job
  std::string run_folder = {};
};

struct Device {
  std::string chip = {};
  std::vector<int> cores = {};   // that belong to it
  std::string path = {};         // device file, where there is one
};

struct Node {
  std::string name = {};
  std::string executor = "nodes";
  std::string pool = {};        // nodes that share a runs root; else the node's own name
  std::string runs = {};        // its runs root
  std::string key_hash = {};    // of its own key
  std::string address = {};     // where its tasks can be reached
  std::string version = {};
  std::string containment = {}; // which means is in use, for people
  std::vector<Device> devices = {};
  int64_t memory_mb = 0;
  std::vector<std::string> mounts = {};  // folders that it offers to jobs
  bool switches_users = false;
  bool single_trust = false;
  std::string only_team = {};   // of a node that cannot switch users
  bool drained = false;
  bool down = false;       // declared lost, until it comes back
  std::string note = {};        // why drained or down
  double joined = 0, last_seen = 0;
};

struct Quota {
  int devices = -1;   // at once; -1: no limit
  double hours = -1;  // device-hours of a calendar month; -1: no limit
};

struct Team {
  std::string name = {};
  std::string system_user = {};            // whose rights its attempts have; empty: none set
  double weight = 1;
  std::map<std::string, Quota> quotas = {};  // by chip
  std::vector<std::string> roots = {};     // mounts must lie under one of them
  double usage = 0;                   // device-hours, decayed to the time `usage_at`
  double usage_at = 0;
};

struct Queue {
  std::string name = {};
  int priority = 0;
  int max_priority = kMostPriority;        // of a job's own
  bool open = true;
  std::vector<std::string> teams = {};     // that may use it; empty: all
};

/// Something that lets in: a person's or program's token, an invitation of a node, a session of the
/// console (its note is the token's id).
struct Token {
  std::string id = {};    // public; the secret part is kept as a hash
  std::string hash = {};  // SHA-256 of the secret, hex
  std::string role = {};  // admin, member, viewer, join, session
  std::string team = {}, user = {};
  double created = 0, expires = 0;  // 0: never
  bool revoked = false;
  std::string note = {};
};

struct Secret {
  std::string team = {}, name = {};
  std::string sealed = {};  // hex
  double changed = 0;
};

struct Reservation {
  std::string id = {}, node = {}, team = {}, note = {};
  double from = 0, until = 0;
};

/// Device-seconds by team, user, project ("": none), chip and month ("2026-11").
struct Usage {
  std::string team = {}, user = {}, project = {}, chip = {}, month = {};
  double device_seconds = 0;
  int64_t attempts = 0;
};

/// What happened, for people.
struct ClusterEvent {
  int64_t number = 0;
  double at = 0;
  std::string kind = {};  // job, attempt, node, cluster
  JobId job = 0;
  std::string node = {}, team = {}, text = {};
};

/// Who asked for what, and what came of it.
struct AuditEntry {
  int64_t number = 0;
  double at = 0;
  std::string who = {}, address = {}, what = {}, outcome = {};
};

/// Numbers of the whole state: one row.
struct Cluster {
  std::string id = {};
  int version = 1;  // of the state's form
  JobId next_job = 1;
  int64_t next_attempt = 1, next_event = 1, next_audit = 1;
  double paused_until = 0;   // leases are longer until then
  double longest_pause = 0;  // the latest of these: a node may count on a lease that was given before
};

}  // namespace wellspring::cluster
