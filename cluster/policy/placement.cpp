#include "cluster/policy/placement.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace wellspring::cluster::policy {

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
  struct Fit {
    int64_t left;  // devices over
    int node;
  };
  std::map<std::string_view, std::vector<Fit>> pools;
  for (size_t n = 0; n < nodes.size(); ++n) {
    if (nodes[n].chip != request.chip || room.memory_mb[n] < request.memory_mb) continue;
    const auto count = std::count(room.free[n].begin(), room.free[n].end(), true);
    if (count >= request.devices)
      pools[nodes[n].pool].push_back({count - request.devices, static_cast<int>(n)});
  }
  // The pool whose nodes are filled best.
  std::vector<Fit>* best = nullptr;
  int64_t best_left = 0;
  for (auto& [name, fits] : pools) {
    if (static_cast<int>(fits.size()) < request.nodes) continue;
    std::ranges::sort(fits, {}, [](const Fit& f) { return std::pair(f.left, f.node); });
    int64_t left = 0;
    for (int i = 0; i < request.nodes; ++i) left += fits[i].left;
    if (!best || left < best_left) best = &fits, best_left = left;
  }
  if (!best) return std::nullopt;
  Placement found;
  for (int i = 0; i < request.nodes; ++i) {
    Placement::Part part{(*best)[i].node, {}};
    const auto& row = room.free[part.node];
    for (int d = 0; static_cast<int>(part.devices.size()) < request.devices; ++d)
      if (row[d]) part.devices.push_back(d);
    found.parts.push_back(std::move(part));
  }
  return found;
}

}  // namespace wellspring::cluster::policy
