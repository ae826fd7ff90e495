// What executors say, as transitions of the state.

#include "cluster/controller/executor.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

namespace wellspring::cluster {

std::map<std::string, double> plain_figures(const Json& figures) {
  std::map<std::string, double> out;
  for (const auto& [name, value] : figures.items())
    if (out.size() < 64 && is_name(name) && value.is_number() && std::isfinite(value.get<double>()))
      out[name] = value.get<double>();
  return out;
}

void take_reports(Change& c, const std::string& executor, const std::vector<Report>& reports,
                  const std::map<int64_t, RunFound>& found) {
  for (const Report& r : reports) {
    const Attempt* known = c.state.attempts.find(r.attempt);
    if (!known || known->executor != executor || known->state == AttemptState::ended) continue;
    if (r.kind == Report::outside) {
      c.state.attempts.edit(r.attempt).outside = r.shown;
      continue;
    }
    std::vector<std::string> nodes;
    for (const auto& part : known->parts)
      if (r.node.empty() || part.node == r.node) nodes.push_back(part.node);
    const auto left = found.find(r.attempt);
    const RunFound run = left == found.end() ? RunFound() : left->second;
    double cpu_seconds = r.cpu_seconds;  // of all parts: counted once
    for (const std::string& node : nodes) {
      if (r.kind == Report::running)
        part_running(c, r.attempt, node);
      else
        part_ended(c, r.attempt, node,
                   {.status = r.status,
                    .outcome = r.outcome,
                    .reason = cut_to_width(utf8_repair(r.reason), 500),
                    .cpu_seconds = std::exchange(cpu_seconds, 0),
                    .checkpoint = run.checkpoint,
                    .reached = run.reached});
    }
  }
}

void take_nodes(Change& c, const std::string& executor, const std::vector<Node>& nodes) {
  std::set<std::string> there;
  for (const Node& told : nodes) {
    there.insert(told.name);
    const Node* known = c.state.nodes.find(told.name);
    if (known && known->executor != executor) {
      log_warning("cluster", "node ", told.name, " of ", executor,
                  " has the name of another node: left out");
      continue;
    }
    Node node = told;
    node.executor = executor;
    node.joined = known ? known->joined : c.now;
    node.last_seen = c.now;
    if (known && known->drained) node.drained = true, node.note = known->note;
    if (!known || known->down != node.down)
      note(c, "node", 0, node.name,
           node.down ? node.note
           : known   ? "is back"
                     : str("belongs to ", executor));
    if (node.down)
      c.state.connected.erase(node.name);
    else
      c.state.connected.insert(node.name);
    c.state.nodes.put(node.name, node);
  }
  std::vector<std::string> gone;
  for (const auto& [name, node] : c.state.nodes.rows())
    if (node.executor == executor && !there.contains(name)) gone.push_back(name);
  for (const std::string& name : gone) {
    c.state.connected.erase(name);
    if (c.state.active_on(name).empty()) {
      c.state.nodes.remove(name);
      note(c, "node", 0, name, str("is not one of ", executor, " any more"));
    } else if (!c.state.nodes.at(name).down) {
      Node& node = c.state.nodes.edit(name);
      node.down = true;
      node.note = str("is not one of ", executor, " any more");
    }
  }
}

}  // namespace wellspring::cluster
