#pragma once
// A cluster in memory on a clock of its own, for tests: transitions without controller and nodes.

#include <gtest/gtest.h>

#include <string>

#include "base/text.h"
#include "cluster/state/transitions.h"

namespace wellspring::cluster {

class TestCluster {
 public:
  State state;
  double now = 1.7e9;
  Effects effects;
  int tokens = 0;

  TestCluster() {
    state.cluster.put("cluster", {.id = "test"});
    state.teams.put("red", {.name = "red"});
    state.teams.put("blue", {.name = "blue"});
    state.queues.put("default", {.name = "default"});
    state.keep_command();
  }
  void node(const std::string& name, int devices, const std::string& chip = "a100", const std::string& pool = "shared") {
    Node n{.name = name, .pool = pool, .runs = "/runs"};
    for (int i = 0; i < devices; ++i) n.devices.push_back({.chip = chip});
    n.memory_mb = 64000;
    state.nodes.put(name, n);
    state.connected.insert(name);
    state.keep_command();
  }
  /// Runs a command as the controller would; what it throws leaves no trace.
  template <class F>
  void run(F&& f) {
    Change c{state, now, effects, [&] { return str("t", ++tokens); }};
    try {
      f(c);
    } catch (...) {
      state.undo_command();
      throw;
    }
    state.keep_command();
    state.keep_batch();
  }
  JobSpec spec(const std::string& team = "red", int count = 1, const std::string& chip = "a100") {
    JobSpec s;
    s.name = "job", s.team = team, s.command = "true";
    s.accepted = {{.chip = chip, .count = count}};
    return s;
  }
  JobId submit(JobSpec s, const std::string& user = "ada") {
    JobId id = 0;
    run([&](Change& c) { id = cluster::submit(c, std::move(s), user); });
    return id;
  }
  int round() {
    int begun = 0;
    run([&](Change& c) {
      pass_time(c, 90 * 86400.0);
      begun = schedule(c, {});
    });
    return begun;
  }
  const Job& job(JobId id) const { return state.jobs.at(id); }
  const Attempt& attempt(JobId id) const { return state.attempts.at(job(id).attempt); }
  /// All parts of the job's attempt run.
  void begins(JobId id) {
    const Attempt a = attempt(id);
    run([&](Change& c) {
      for (const auto& part : a.parts) part_prepared(c, a.serial, part.node), part_running(c, a.serial, part.node);
    });
  }
  void ends(JobId id, int status, PartEnd end = {}) {
    const Attempt a = attempt(id);
    end.status = status;
    run([&](Change& c) {
      for (const auto& part : a.parts) part_ended(c, a.serial, part.node, end);
    });
  }
  std::string state_of(JobId id) const { return name_of(shown_state(state, job(id))); }

  /// What must hold at every moment.
  void check() const {
    std::map<std::pair<std::string, int>, int64_t> held;
    std::map<std::pair<std::string, std::string>, int> by_team;
    for (const auto& [serial, a] : state.attempts.rows()) {
      ASSERT_EQ(a.state != AttemptState::ended, state.active().contains(serial));
      if (a.state == AttemptState::ended) continue;
      const Job* owner = state.jobs.find(a.job);
      ASSERT_TRUE(owner) << "attempt " << serial << " has no job";
      ASSERT_TRUE(active(owner->state)) << serial;
      ASSERT_EQ(owner->attempt, serial) << "two attempts of a job at once";
      for (const auto& part : a.parts)
        for (const int d : part.devices) {
          const auto [it, fresh] = held.try_emplace({part.node, d}, serial);
          ASSERT_TRUE(fresh) << part.node << " device " << d << " is held by " << it->second << " and " << serial;
          ++by_team[{owner->team, a.chip}];
        }
    }
    for (const auto& [key, n] : by_team)
      if (const auto& quotas = state.teams.at(key.first).quotas; quotas.contains(key.second))
        if (const int most = quotas.at(key.second).devices; most >= 0) {
          ASSERT_LE(n, most) << key.first;
        }
    for (const auto& [name, team] : state.teams.rows())
      for (const auto& [chip, quota] : team.quotas)
        if (quota.hours >= 0) {
          ASSERT_LE(used_this_month(state, name, chip, now), quota.hours * 3600 + 1e-3) << name << " " << chip;
        }
    size_t waiting = 0;
    for (const auto& [id, j] : state.jobs.rows()) {
      if (active(j.state)) {
        ASSERT_TRUE(state.active().contains(j.attempt)) << id << " runs without an attempt";
      }
      if (j.array || j.spec->array.empty()) waiting += j.state == JobState::queued || j.state == JobState::held;
    }
    ASSERT_EQ(waiting, state.waiting_count());
  }
};

}  // namespace wellspring::cluster
