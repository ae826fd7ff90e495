#include "cluster/policy/placement.h"

#include <algorithm>

namespace wellspring::cluster {

Room::Room(const std::vector<Node>& nodes) {
  for (const Node& n : nodes) {
    auto& row = free.emplace_back(n.holders.size());
    for (size_t d = 0; d < n.holders.size(); ++d) row[d] = n.usable && n.holders[d] == 0;
    memory_mb.push_back(n.memory_mb);
  }
}

void Room::give(const std::vector<Node>& nodes, const Placement& p, int64_t memory) {
  for (const auto& part : p.parts) {
    for (const int d : part.devices) free[part.node][d] = nodes[part.node].usable;
    memory_mb[part.node] += memory;
  }
}

void Room::take(const Placement& p, int64_t memory) {
  for (const auto& part : p.parts) {
    for (const int d : part.devices) free[part.node][d] = false;
    memory_mb[part.node] -= memory;
  }
}

std::optional<Placement> place(const std::vector<Node>& nodes, const Room& room,
                               const Request& request) {
  std::vector<std::pair<int64_t, int>> fitting;  // devices left over, node
  for (size_t n = 0; n < nodes.size(); ++n) {
    if (nodes[n].chip != request.chip || room.memory_mb[n] < request.memory_mb) continue;
    const auto count = std::count(room.free[n].begin(), room.free[n].end(), true);
    if (count >= request.devices) fitting.emplace_back(count - request.devices, n);
  }
  if (static_cast<int>(fitting.size()) < request.nodes) return std::nullopt;
  std::ranges::sort(fitting);
  Placement found;
  for (int i = 0; i < request.nodes; ++i) {
    Placement::Part part{fitting[i].second, {}};
    const auto& row = room.free[part.node];
    for (int d = 0; static_cast<int>(part.devices.size()) < request.devices; ++d)
      if (row[d]) part.devices.push_back(d);
    found.parts.push_back(std::move(part));
  }
  return found;
}

}  // namespace wellspring::cluster
