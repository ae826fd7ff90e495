#include "cluster/controller/possible.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "cluster/controller/access.h"
#include "cluster/state/transitions.h"

namespace wellspring::cluster {
namespace {

using PolicyNodes = std::vector<policy::Node>;

bool offered_by(const policy::Node& node, const std::string& what) {
  return std::ranges::find(node.offers, what) != node.offers.end();
}

PolicyNodes nodes_for(const State& state, const JobSpec& spec) {
  PolicyNodes nodes = empty_view(state, spec).snapshot.nodes;
  if (needs_own_node(spec))
    std::erase_if(nodes, [](const policy::Node& n) { return !offered_by(n, kOwnNode); });
  return nodes;
}

std::string chips_of(const PolicyNodes& nodes) {
  std::set<std::string> chips;
  for (const policy::Node& n : nodes) chips.insert(n.chip);
  return chips.empty() ? "none" : wellspring::join({chips.begin(), chips.end()}, ", ");
}

// "n1 (a100-40), n2 (h100)", of those that offer a folder.
std::string who_offers(const PolicyNodes& nodes, const std::string& folder) {
  constexpr size_t kShown = 4;
  std::vector<std::string> names;
  for (const policy::Node& n : nodes)
    if (offered_by(n, folder)) names.push_back(str(n.name, " (", n.chip, ")"));
  const bool more = names.size() > kShown;
  if (more) names.resize(kShown);
  return wellspring::join(names, ", ") + (more ? ", ..." : "");
}

std::optional<Never> quota_forbids(const Team& team, const Resources& r) {
  const auto it = team.quotas.find(r.chip);
  if (it == team.quotas.end()) return std::nullopt;
  const Quota& quota = it->second;
  if (quota.devices >= 0 && r.nodes * std::max(1, r.count) > quota.devices)
    return Never{400, "resources", str("team ", team.name, " may hold ", quota.devices, " ", r.chip,
                                       " at once: this can never run")};
  if (quota.hours == 0)
    return Never{400, "resources", str("team ", team.name, " may use no device-hours of ", r.chip,
                                       ": this can never run")};
  return std::nullopt;
}

// The chips that a name means here: of several kinds those that there are.
std::vector<std::string> meant_here(const ChipTable& chips, const PolicyNodes& nodes, const std::string& name) {
  std::vector<std::string> names;
  if (name.empty()) {
    for (const policy::Node& n : nodes)
      if (std::ranges::find(names, n.chip) == names.end()) names.push_back(n.chip);
    return names;
  }
  names = chips.meant(name);
  if (names.size() > 1)
    std::erase_if(names, [&](const std::string& one) {
      return std::ranges::none_of(nodes, [&](const policy::Node& n) { return n.chip == one; });
    });
  if (names.empty()) names.push_back(name);
  return names;
}

}  // namespace

std::optional<Never> never_runs(const State& state, const JobSpec& spec, size_t alternative) {
  const Resources& r = spec.accepted[alternative];
  const policy::Request request{
      .chip = r.chip, .nodes = r.nodes, .devices = std::max(1, r.count), .memory_mb = r.memory_mb};
  const Team& team = state.teams.at(spec.team);
  PolicyNodes nodes = nodes_for(state, spec);
  std::string part;
  if (const std::string why = policy::impossible(nodes, request, &part); !why.empty())
    return Never{400, "." + part, "this can never run: " + why};
  // One condition after the other: the first under which too few nodes are left is named.
  const auto enough = [&](auto&& fits) {
    std::erase_if(nodes, [&](const policy::Node& n) { return !fits(n); });
    return policy::impossible(nodes, request).empty();
  };
  for (const Mount& m : spec.mounts) {
    const std::string who = who_offers(nodes, m.source);
    if (enough([&](const policy::Node& n) { return offered_by(n, m.source); })) continue;
    if (who.empty())
      return Never{400, "mounts", str("no node offers ", m.source,
                                      " (its administrator lists what it offers under 'mounts:')")};
    return Never{400, "mounts", str("too few nodes that have what is asked for offer ", m.source, " (wanted: ", r.nodes,
                                    " with ", request.devices, " ", r.chip, "); those that offer it: ", who)};
  }
  const bool open = enough([&](const policy::Node& n) {
    const std::string& only = state.nodes.at(n.name).only_team;
    return only.empty() || only == spec.team;
  });
  if (!open)
    return Never{409, "team", str("the nodes with ", r.chip, " that this needs take jobs of other teams alone; "
                                  "open to team ", spec.team, " are nodes with: ", chips_of(nodes))};
  if (team.system_user.empty() && !enough([](const policy::Node& n) { return offered_by(n, kNoUser); }))
    return Never{409, "team", str("team ", spec.team, " has no system user, and too few nodes run jobs without one: an "
                                  "administrator sets it with `wellspring cluster teams set ", spec.team,
                                  " --system-user NAME` (or starts the node with --single-trust)")};
  return quota_forbids(team, r);
}

void settle_request(const State& state, const ChipTable& chips, JobSpec& spec) {
  if (spec.accepted.empty()) spec.accepted.emplace_back();
  const PolicyNodes nodes = nodes_for(state, spec);
  std::vector<Resources> meant;
  std::vector<size_t> origin;  // in what was asked for
  for (size_t i = 0; i < spec.accepted.size(); ++i) try {
      for (const std::string& name : meant_here(chips, nodes, spec.accepted[i].chip)) {
        meant.push_back(spec.accepted[i]);
        meant.back().chip = name;
        meant.back().count = std::max(1, meant.back().count);
        origin.push_back(i);
      }
    } catch (const Error& e) {
      throw ApiError(400, str("accepted[", i, "].chip: ", e.what()));
    }
  if (meant.empty()) throw ApiError(400, "resources: the cluster has no nodes yet (wellspring cluster node)");
  spec.accepted = std::move(meant);
  std::optional<Never> first;
  for (size_t a = 0; a < spec.accepted.size(); ++a) {
    std::optional<Never> never = never_runs(state, spec, a);
    if (!never) return;
    if (never->field[0] == '.') never->field = str("accepted[", origin[a], "]", never->field);
    if (!first) first = std::move(never);
  }
  throw ApiError(first->status, str(first->field, ": ", first->why));
}

}  // namespace wellspring::cluster
