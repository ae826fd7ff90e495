#pragma once
// The whole state of a cluster in memory: tables and what follows from them. One thread changes it,
// a command at a time; Store writes what a batch of commands changed in one transaction.

#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "cluster/state/entities.h"
#include "cluster/state/table.h"

namespace wellspring::cluster {

/// Why a job waits, and when it may start at the latest: found anew in each round, not kept on disk.
struct Wait {
  std::string reason;
  double expected = 0;  // 0: nobody knows
};

class State {
 public:
  RowTable<std::string, Cluster> cluster;  // one row, "cluster"
  RowTable<JobId, Job> jobs;
  RowTable<int64_t, Attempt> attempts;
  RowTable<std::string, Node> nodes;
  RowTable<std::string, Team> teams;
  RowTable<std::string, Queue> queues;
  RowTable<std::string, Token> tokens;
  RowTable<std::string, Secret> secrets;  // "team/name"
  RowTable<std::string, Reservation> reservations;
  RowTable<std::string, Usage> usage;  // usage_key()
  RowTable<int64_t, ClusterEvent> events;
  RowTable<int64_t, AuditEntry> audit;

  /// Calls f(name, table) for each table, always in the same order.
  template <class F>
  void each_table(F&& f) {
    f("cluster", cluster);
    f("jobs", jobs);
    f("attempts", attempts);
    f("nodes", nodes);
    f("teams", teams);
    f("queues", queues);
    f("tokens", tokens);
    f("secrets", secrets);
    f("reservations", reservations);
    f("usage", usage);
    f("events", events);
    f("audit", audit);
  }

  // What follows from the tables, brought up to date by keep_command().

  /// Jobs that wait (queued or held), those of an array under the array's id, others under their
  /// own.
  const std::map<JobId, std::set<JobId>>& waiting() const { return waiting_; }
  size_t waiting_count() const { return waiting_count_; }
  /// Queued jobs by what queueing sees of them: those of one set differ in their age alone.
  const std::map<std::string, std::set<JobId>>& queued_alike() const { return queued_alike_; }
  /// Attempts that have not ended.
  const std::set<int64_t>& active() const { return active_; }
  /// Those of one node.
  const std::set<int64_t>& active_on(const std::string& node) const;
  /// Elements of an array by state.
  using Counts = std::array<int, 8>;
  const Counts& elements(JobId array) const;
  /// Attempts of a job, oldest first.
  std::vector<const Attempt*> attempts_of(JobId job) const;
  /// Jobs that come after one.
  const std::set<JobId>& dependants(JobId job) const;

  /// Ends a command: its changes stay.
  void keep_command();
  void undo_command();
  void keep_batch();
  void undo_batch();
  /// After load: makes the elements of arrays that were never written, and all that follows.
  void loaded();

  // In memory alone.
  std::map<JobId, Wait> waits;
  std::set<std::string> connected;  // nodes that can be told to start something now

  Cluster& numbers() { return cluster.edit("cluster"); }

 private:
  void index(const Job* before, const Job* now);
  void index(const Attempt* before, const Attempt* now);

  std::map<JobId, std::set<JobId>> waiting_;
  size_t waiting_count_ = 0;
  std::map<std::string, std::set<JobId>> queued_alike_;
  std::set<int64_t> active_;
  std::map<std::string, std::set<int64_t>> active_on_;
  std::map<JobId, Counts> elements_;
  std::map<JobId, std::set<int64_t>> attempts_of_;
  std::map<JobId, std::set<JobId>> dependants_;
};

/// What an array's elements say of it: queued while some wait and none has begun, running while
/// any is under way, then failed when one failed, cancelled when one was, else succeeded.
JobState state_of_array(const State::Counts& counts);
/// The state that people see: an array's follows from its elements.
JobState shown_state(const State& state, const Job& job);
/// "12", or "12_3" for an element.
std::string shown_id(const Job& job);
/// The job of "12" or "12_3"; null when there is none.
const Job* find_job(const State& state, const std::string& shown);

}  // namespace wellspring::cluster
