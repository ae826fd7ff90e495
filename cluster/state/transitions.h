#pragma once
// What may happen to jobs and attempts, as functions of the state: no database, no clock, no I/O.
// The controller runs them as commands and carries out their effects after the commit; the churn
// test runs them on a clock of its own.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cluster/policy/decide.h"
#include "cluster/state/state.h"

namespace wellspring::cluster {

/// What is to be done outside once the change is on disk.
struct Effects {
  struct Stop {
    int64_t attempt;
    std::string node;  // empty: all of its nodes
    double grace;      // seconds
    std::string reason;
  };
  std::vector<int64_t> start;  // launch on all its nodes
  std::vector<int64_t> go;     // all of its nodes are prepared
  std::vector<Stop> stop;
  std::vector<int64_t> ended;  // attempts that have ended, for records
  std::vector<JobId> finished; // jobs that have ended, for notifications
  void add(Effects&& other);
};

/// What a transition works on.
struct Change {
  State& state;
  double now;  // unix seconds
  Effects& effects;
  std::function<std::string()> random;  // text that nobody can guess, for fencing tokens
};

/// Seconds in which what a team used counts half for its fair share.
inline constexpr double kShareHalfLife = 7 * 86400;

/// Accepts a job (with its array's elements) that was checked before.
JobId submit(Change& c, JobSpec spec, const std::string& user);
/// The verbs of `wellspring job`. Of an array: of all its elements. Error(Fault::usage) when the
/// state does not allow it (a job that has ended cannot be cancelled).
void cancel(Change& c, JobId job, const std::string& who);
void hold(Change& c, JobId job);
void release(Change& c, JobId job);
/// A failed or cancelled job waits again, with its restarts forgotten.
void retry(Change& c, JobId job);

/// Starts a waiting job: makes the attempt and its token.
const Attempt& begin_attempt(Change& c, JobId job, const std::string& chip, int alternative,
                             std::vector<Attempt::Part> parts, const std::string& executor,
                             const std::string& run_folder);
/// Tells an attempt to end, for `cause`; nothing when it is ending already (a cancel still wins).
void stop_attempt(Change& c, int64_t attempt, StopCause cause, const std::string& reason);

/// What a node or executor says of its part of an attempt; parts and attempts that have ended stay
/// as they are. False when the attempt is not known or not theirs: it must not run.
bool part_prepared(Change& c, int64_t attempt, const std::string& node);
bool part_running(Change& c, int64_t attempt, const std::string& node);
/// The service answers.
bool part_ready(Change& c, int64_t attempt, const std::string& node);
struct PartEnd {
  int status = 0;
  std::string outcome = "exited";  // as executions.h names them
  std::string reason = {};
  double cpu_seconds = 0;
  int64_t peak_memory = 0;
  int64_t checkpoint = 0;  // newest step in the run folder
  std::map<std::string, double> reached = {};  // last figures there
};
bool part_ended(Change& c, int64_t attempt, const std::string& node, const PartEnd& end);

/// The node has been silent for longer than its lease: what ran there has ended. Attempts of jobs
/// that go on without contact stay. `by`: who has given it up by hand.
void node_lost(Change& c, const std::string& node, const std::string& by = "");
/// Its attempts are told to end (their jobs wait again), and nothing starts there.
void drain(Change& c, const std::string& node, const std::string& note);
void resume(Change& c, const std::string& node);

/// What time alone does: deadlines that have passed, ended jobs older than `keep` seconds that go.
void pass_time(Change& c, double keep);

/// What happened, for people.
void note(Change& c, const std::string& kind, JobId job, const std::string& node,
          const std::string& text);

/// A waiting job that never starts.
void give_up(Change& c, JobId job, const std::string& reason);

/// The state as queueing sees it: a node of the policy is one chip type of a machine. `places` says
/// which, and which of its devices the policy's numbers mean.
struct View {
  policy::Snapshot snapshot;
  struct Place {
    std::string node;
    std::vector<int> devices;
  };
  std::vector<Place> places;
};
View view_of(const State& state, double now);
/// Nodes alone, all of them free and usable: for what could ever run. They offer what the job needs
/// of them where they have it.
View empty_view(const State& state, const JobSpec& spec);
/// Whether a job runs on the cluster's own nodes alone, and on no other executor's: services,
/// interactive jobs, and mounts that need rights which a user does not have. Those nodes offer kOwnNode.
bool needs_own_node(const JobSpec& spec);
inline constexpr const char* kOwnNode = "a node of the cluster's own";
/// What each of its nodes has to offer: folders, kOwnNode.
std::vector<std::string> needs_of(const JobSpec& spec);
/// A job as queueing sees it.
policy::Waiting waiting_job(const State& state, const Job& job);

/// What else a node has to offer for a team without a system user.
inline constexpr const char* kNoUser = "its own rights";
/// Whether a node runs jobs of a team without a system user: with its own rights. One that switches
/// users is root itself, and never does.
bool runs_without_user(const Node& node);

/// One round: decides by the policy and applies it. Returns the number of attempts begun.
int schedule(Change& c, const policy::PolicyOptions& options);

/// "2026-11" of a time; when that month began, and when the next one does.
std::string month_of(double unix_time);
double month_began(double unix_time);
double month_after(double unix_time);
/// The key of a row of State::usage.
std::string usage_key(const Usage& usage);
/// Device-seconds that a team used of a chip in the month of `now`, with what runs.
double used_this_month(const State& state, const std::string& team, const std::string& chip,
                       double now);

}  // namespace wellspring::cluster
