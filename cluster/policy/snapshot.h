#pragma once
// What queueing looks at and what it decides: plain data, without database, clock or files. The
// controller fills a Snapshot from its state, a simulator from its own; both call decide().

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace wellspring::cluster::policy {

/// Seconds since any fixed moment.
using Seconds = double;
inline constexpr Seconds kNever = std::numeric_limits<double>::infinity();

using JobId = int64_t;

/// One shape that a job accepts: `nodes` nodes with `devices` devices of one chip type on each, all
/// at once or not at all.
struct Request {
  std::string chip;
  int nodes = 1;
  int devices = 1;        // on each node
  int64_t memory_mb = 0;  // host memory on each node
};

/// A machine. A device is held by one job at most.
struct Node {
  std::string name, chip;
  std::vector<JobId> holders;  // of each device; 0: free
  int64_t memory_mb = 0;       // not yet given away
  bool usable = true;          // up, and not drained
  std::string pool = {};       // nodes of one placement lie in one pool
  std::vector<std::string> offers = {};  // what a job may need beside devices: a folder
};

/// Where an attempt runs: devices of nodes, by their places in the snapshot.
struct Placement {
  struct Part {
    int node = 0;
    std::vector<int> devices;
    bool operator==(const Part&) const = default;
  };
  std::vector<Part> parts;
  int alternative = 0;  // which of the job's requests
  bool operator==(const Placement&) const = default;
};

/// What became of a job that another one waits for.
enum class Outcome { pending, succeeded, failed };
enum class After { ok, any, not_ok };
struct Dependency {
  JobId job = 0;
  After kind = After::ok;
  Outcome outcome = Outcome::pending;
};

/// A job that waits.
struct Waiting {
  JobId id = 0;
  std::string team, queue;
  int priority = 0;  // greater goes first, and may preempt lesser
  Seconds submitted = 0;
  Seconds not_before = 0;  // back-off, or a start that the user asked for
  Seconds limit = kNever;  // longest run, its grace included
  Seconds grace = 0;       // between being told to stop and its end
  bool held = false;
  std::vector<Dependency> after;
  std::vector<Request> accepted;  // in the user's order
  std::string pool = {};               // it has to run there; empty: anywhere
  std::vector<std::string> needs = {};  // each of its nodes has to offer all of these
};

/// An attempt that runs.
struct Running {
  JobId job = 0;
  std::string team;
  int priority = 0;
  Seconds started = 0, ends = kNever;  // at the latest
  bool preemptible = true;
  bool stopping = false;  // told to stop: its devices come free soon
  int64_t memory_mb = 0;  // on each of its nodes
  Placement placement;
  Seconds grace = 0;  // between being told to stop and its end
};

/// Of one team. Absent from a map: no limit, weight 1.
struct Team {
  double weight = 1;                         // of its fair share
  double usage = 0;                          // device-hours of late, decayed
  std::map<std::string, int> most_devices;   // at once, by chip
  std::map<std::string, double> hours_left;  // device-hours that may still be used, by chip
  Seconds renews = kNever;                   // when these are whole again
};

struct Queue {
  int priority = 0;  // added to its jobs'
  bool open = true;  // jobs may start
};

/// Devices of a node that are a team's alone for a while.
struct Reservation {
  int node = 0;
  Seconds from = 0, until = kNever;
  std::string team;
  std::string name = {};  // for people; empty: the node is one team's always
};

struct Snapshot {
  std::vector<Node> nodes;
  std::vector<Waiting> waiting;
  std::vector<Running> running;
  std::map<std::string, Team> teams;
  std::map<std::string, Queue> queues;
  std::vector<Reservation> reservations;
};

/// What is to be done with a job, and why.
struct Decision {
  enum class Kind {
    start,    // by `placement`
    preempt,  // the running job `job`, for `sake`
    stop,     // the running job `job`: its team has used up its device-hours
    wait,     // `reason` says for what
    cancel    // it can never start
  };
  Kind kind = Kind::wait;
  JobId job = 0;
  JobId sake = 0;
  Placement placement = {};
  std::string reason = {};
  Seconds expected = kNever;  // of wait: when it may start at the latest, if nothing else changes
};

}  // namespace wellspring::cluster::policy
