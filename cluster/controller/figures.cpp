// Figures for Prometheus.

#include "base/text.h"
#include "base/time.h"
#include "cluster/controller/controller.h"

namespace wellspring::cluster {

std::string Controller::metrics(const std::optional<std::string>& team) {
  std::string out;
  const auto head = [&](const char* name, const char* type, const char* help) {
    out += str("# HELP wellspring_", name, " ", help, "\n# TYPE wellspring_", name, " ", type, "\n");
  };
  const auto row = [&](const char* name, const std::string& labels, double value) {
    out += str("wellspring_", name, labels.empty() ? "" : str("{", labels, "}"), " ", value, "\n");
  };
  core_->read([&](const State& s) {
    std::map<std::string, int> states;
    for (int i = 0; i < 8; ++i) states[name_of(static_cast<JobState>(i))] = 0;
    for (const auto& [id, job] : s.jobs.rows())
      if ((job.array || !element_count(*job.spec)) && (!team || job.team == *team)) ++states[name_of(job.state)];
    head("jobs", "gauge", "jobs by state, elements of arrays counted one by one");
    for (const auto& [state, n] : states) row("jobs", str("state=\"", state, "\""), n);
    std::map<std::pair<std::string, std::string>, int> held;
    for (const int64_t serial : s.active()) {
      const Attempt& a = s.attempts.at(serial);
      for (const auto& part : a.parts)
        held[{s.jobs.at(a.job).team, a.chip}] += static_cast<int>(part.devices.size());
    }
    head("devices_held", "gauge", "devices that attempts hold, by team and chip");
    for (const auto& [key, n] : held)
      if (!team || key.first == *team)
        row("devices_held", str("team=\"", key.first, "\",chip=\"", key.second, "\""), n);
    std::map<std::string, int> all;
    head("node_up", "gauge", "1: connected and not drained");
    for (const auto& [name, node] : s.nodes.rows()) {
      row("node_up", str("node=\"", name, "\""), s.connected.contains(name) && !node.drained);
      for (const Device& d : node.devices) ++all[d.chip];
    }
    head("devices", "gauge", "devices by chip");
    for (const auto& [chip, n] : all) row("devices", str("chip=\"", chip, "\""), n);
    head("device_seconds_total", "counter", "device-seconds of ended attempts");
    std::map<std::pair<std::string, std::string>, double> used;
    for (const auto& [key, u] : s.usage.rows()) used[{u.team, u.chip}] += u.device_seconds;
    for (const auto& [key, n] : used)
      if (!team || key.first == *team)
        row("device_seconds_total", str("team=\"", key.first, "\",chip=\"", key.second, "\""), n);
  });
  const auto& n = core_->counters();
  const auto counter = [&](const char* name, const char* help, double value) {
    head(name, "counter", help);
    row(name, "", value);
  };
  counter("commands_total", "changes of the state asked for", static_cast<double>(n.commands));
  counter("transactions_total", "batches of them", static_cast<double>(n.batches));
  counter("write_seconds_total", "time spent in transactions", n.write_seconds);
  counter("rounds_total", "rounds of scheduling", static_cast<double>(n.rounds));
  counter("round_seconds_total", "time spent in rounds", n.round_seconds);
  counter("refused_strangers_total", "requests refused without a valid token", static_cast<double>(strangers));
  head("state_writable", "gauge", "0: the state cannot be written");
  row("state_writable", "", core_->trouble().empty());
  head("last_backup_seconds", "gauge", "unix time of the last backup by this process; 0: none");
  row("last_backup_seconds", "", last_backup_);
  head("uptime_seconds", "gauge", "since the controller's start");
  row("uptime_seconds", "", monotonic_seconds() - started_);
  return out;
}

}  // namespace wellspring::cluster
