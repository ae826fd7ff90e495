#pragma once
// Finding devices for a request: part of the policy.

#include <optional>

#include "cluster/policy/snapshot.h"

namespace wellspring::cluster::policy {

/// What may be used: devices as [node][device], and host memory of each node.
struct Room {
  std::vector<std::vector<bool>> free;
  std::vector<int64_t> memory_mb;

  /// What is free now.
  explicit Room(const std::vector<Node>& nodes);
  /// Adds or takes away a placement's devices and `memory` on each of its nodes. Devices of nodes
  /// that are not usable do not come free.
  void give(const std::vector<Node>& nodes, const Placement& p, int64_t memory);
  void take(const Placement& p, int64_t memory);
};

/// Devices for a request where there is room: nodes that are left with the fewest free ones first,
/// so that whole nodes stay whole; then by the nodes' order. Nothing when there are too few.
std::optional<Placement> place(const std::vector<Node>& nodes, const Room& room,
                               const Request& request);

}  // namespace wellspring::cluster::policy
