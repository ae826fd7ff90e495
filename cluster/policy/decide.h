#pragma once
// Queueing as a pure function.

#include "cluster/policy/snapshot.h"

namespace wellspring::cluster::policy {

struct PolicyOptions {
  /// A job that cannot start keeps what it will need from jobs behind it once it has waited so
  /// long, also when nobody knows when that comes free.
  Seconds patience = 600;
  /// So many blocked jobs have devices kept for them.
  int kept_jobs = 4;
  /// Two rounds are at most so far apart, as a rule: so much earlier is stopped what uses hours up.
  Seconds between_rounds = 2;
};

/// What to do now: one decision for each waiting job, and one for each running job to preempt or
/// stop. The same snapshot gives the same decisions.
///
/// Order: priority (queue's and job's) first; among equals the team that has used least for its
/// weight, devices that it holds now counted as an hour each; then the order of submission. A job
/// takes the first of its requests that fits at once (gang). One that does not fit may preempt
/// jobs of lower priority, the fewest and youngest; else devices are kept for it, and jobs behind
/// it start only where they do not delay it (backfill). Quotas hold at every moment.
///
/// Device-hours: set aside is, for what runs and has a limit, all of it until then, for what has none
/// the time that it takes to stop; of what is left a job has to find its own share at its start. When
/// it is less than what is set aside, what runs without a limit is stopped, and the rest when not even
/// stopping is paid for. Hours beyond the renewal count then.
std::vector<Decision> decide(const Snapshot& snapshot, Seconds now,
                             const PolicyOptions& options = {});

/// Why no state of these nodes could ever run the request, with the nearest that could; empty: one
/// could. All its nodes lie in one pool. For the check at submission. `part`, if given: what of the
/// request it is: "chip", "count", "memory_mb" or "nodes".
std::string impossible(const std::vector<Node>& nodes, const Request& request,
                       std::string* part = nullptr);

}  // namespace wellspring::cluster::policy
