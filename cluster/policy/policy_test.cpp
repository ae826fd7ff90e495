#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "cluster/policy/decide.h"

namespace wellspring::cluster::policy {
namespace {

using Kind = Decision::Kind;

Snapshot pool(std::initializer_list<std::pair<const char*, int>> nodes) {
  Snapshot s;
  for (const auto& [chip, count] : nodes)
    s.nodes.push_back({"n" + std::to_string(s.nodes.size()), chip,
                       std::vector<JobId>(static_cast<size_t>(count)), 1000});
  return s;
}
Waiting job(JobId id, const char* team, Request request, Seconds submitted = 0) {
  Waiting w;
  w.id = id, w.team = team, w.submitted = submitted, w.accepted = {std::move(request)};
  return w;
}
// Carries decisions out: what starts holds its devices, what is preempted is gone at once.
void apply(Snapshot* s, const std::vector<Decision>& decisions, Seconds now) {
  const auto end = [&](JobId id) {
    std::erase_if(s->running, [&](const Running& r) {
      if (r.job != id) return false;
      for (const auto& part : r.placement.parts) {
        for (const int d : part.devices) s->nodes[part.node].holders[d] = 0;
        s->nodes[part.node].memory_mb += r.memory_mb;
      }
      return true;
    });
  };
  for (const Decision& d : decisions)
    if (d.kind == Kind::preempt || d.kind == Kind::stop) end(d.job);
  for (const Decision& d : decisions) {
    if (d.kind != Kind::start) continue;
    const auto w = std::ranges::find(s->waiting, d.job, &Waiting::id);
    const Request& r = w->accepted[static_cast<size_t>(d.placement.alternative)];
    for (const auto& part : d.placement.parts) {
      for (const int k : part.devices) {
        ASSERT_EQ(s->nodes[part.node].holders[k], 0) << "device given twice";
        s->nodes[part.node].holders[k] = d.job;
      }
      s->nodes[part.node].memory_mb -= r.memory_mb;
      ASSERT_GE(s->nodes[part.node].memory_mb, 0);
    }
    s->running.push_back(
        {d.job, w->team, w->priority, now, now + w->limit, true, false, r.memory_mb, d.placement, w->grace});
    s->waiting.erase(w);
  }
}
const Decision& of(const std::vector<Decision>& all, JobId id) {
  static const Decision none;
  const auto it = std::ranges::find(all, id, &Decision::job);
  EXPECT_NE(it, all.end()) << "no decision about job " << id;
  return it == all.end() ? none : *it;
}

TEST(Policy, StartsWhatFitsAndSaysWhatTheRestWaitsFor) {
  Snapshot s = pool({{"a100", 4}, {"a100", 4}});
  s.waiting = {job(1, "x", {"a100", 2, 3}), job(2, "x", {"a100", 1, 2}),
               job(3, "x", {"a100", 1, 1})};
  const auto all = decide(s, 0);
  EXPECT_EQ(of(all, 1).kind, Kind::start);
  EXPECT_EQ(of(all, 1).placement.parts.size(), 2u);
  EXPECT_EQ(of(all, 2).kind, Kind::wait);
  EXPECT_EQ(of(all, 2).reason, "waits for 2 a100, 2 free");  // but not on one node
  EXPECT_EQ(of(all, 3).kind, Kind::start);
}

TEST(Policy, TakesTheFirstAlternativeThatFits) {
  Snapshot s = pool({{"a100", 1}, {"mlu370", 2}});
  s.waiting = {job(1, "x", {"a100", 1, 2})};
  s.waiting[0].accepted.push_back({"mlu370", 1, 2});
  const auto all = decide(s, 0);
  ASSERT_EQ(of(all, 1).kind, Kind::start);
  EXPECT_EQ(of(all, 1).placement.alternative, 1);
}

TEST(Policy, LeavesWholeNodesWhole) {
  Snapshot s = pool({{"c", 4}, {"c", 4}});
  s.nodes[1].holders[0] = 9;
  s.waiting = {job(1, "x", {"c", 1, 1}), job(2, "x", {"c", 1, 4}, 1)};
  const auto all = decide(s, 0);
  EXPECT_EQ(of(all, 1).placement.parts[0].node, 1);
  EXPECT_EQ(of(all, 2).kind, Kind::start);
}

TEST(Policy, SharesFairlyAmongTeamsOfOnePriority) {
  Snapshot s = pool({{"c", 4}});
  for (JobId id = 1; id <= 4; ++id) s.waiting.push_back(job(id, "early", {"c"}, 0));
  for (JobId id = 5; id <= 8; ++id) s.waiting.push_back(job(id, "late", {"c"}, 1));
  std::map<std::string, int> started;
  for (const Decision& d : decide(s, 2))
    if (d.kind == Kind::start) ++started[d.job <= 4 ? "early" : "late"];
  EXPECT_EQ(started["early"], 2);
  s.teams["early"].weight = 3;
  started.clear();
  for (const Decision& d : decide(s, 2))
    if (d.kind == Kind::start) ++started[d.job <= 4 ? "early" : "late"];
  EXPECT_EQ(started["early"], 3);
}

TEST(Policy, HoldsQuotas) {
  Snapshot s = pool({{"c", 4}});
  s.teams["x"].most_devices["c"] = 2;
  s.teams["y"].hours_left["c"] = 0;
  s.waiting = {job(1, "x", {"c"}), job(2, "x", {"c", 1, 2}), job(3, "x", {"c"}),
               job(4, "y", {"c"})};
  const auto all = decide(s, 0);
  EXPECT_EQ(of(all, 1).kind, Kind::start);
  EXPECT_EQ(of(all, 2).reason, "team x may hold 2 c and holds 1");
  EXPECT_EQ(of(all, 3).kind, Kind::start);
  EXPECT_EQ(of(all, 4).reason, "team y: device-hours of c used up this month");
}

TEST(Policy, AJobStartsWhenItsDeviceHoursAreThere) {
  Snapshot s = pool({{"c", 8}});
  s.teams["x"].hours_left["c"] = 4;
  s.teams["x"].renews = 10 * 3600;
  s.nodes[0].holders[0] = 9;
  s.running = {{9, "x", 0, 0, 3600, false, false, 0, {{{0, {0}}}, 0}}};  // may use 1 of the 4
  s.waiting = {job(1, "x", {"c", 1, 2}), job(2, "x", {"c", 1, 1}, 1), job(3, "x", {"c"}, 2)};
  s.waiting[0].limit = 2 * 3600, s.waiting[1].limit = 3 * 3600, s.waiting[2].limit = kNever;
  auto all = decide(s, 0);
  EXPECT_EQ(of(all, 1).reason,
            "team x has 3 device-hours of c left this month beside what runs, and this job may take 4");
  EXPECT_EQ(of(all, 1).expected, 8.5 * 3600);  // only the last hour and a half falls into this month
  EXPECT_EQ(of(all, 2).kind, Kind::start);
  EXPECT_EQ(of(all, 3).reason, "team x: device-hours of c used up this month");
  EXPECT_EQ(of(all, 3).expected, 10 * 3600);
  all = decide(s, 8.5 * 3600);
  EXPECT_EQ(of(all, 1).kind, Kind::start);
}

TEST(Policy, WhatRunsIsStoppedBeforeItsHoursAreUsedUp) {
  Snapshot s = pool({{"c", 4}});
  s.nodes[0].holders = {11, 12, 13, 0};
  const auto runs = [&](JobId id, const char* team, Seconds ends) {
    s.running.push_back({id, team, 9, 0, ends, false, false, 0, {{{0, {static_cast<int>(id) - 11}}}, 0}, 30});
  };
  runs(11, "x", kNever), runs(12, "x", 600), runs(13, "y", kNever);
  s.waiting = {job(1, "x", {"c"})};
  s.waiting[0].priority = 20;
  const auto with = [&](double seconds) {
    s.teams["x"].hours_left["c"] = seconds / 3600;
    return decide(s, 0);
  };
  // 600 s are those of the job with a limit, and 32 the other's end.
  auto all = with(633);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(of(all, 1).reason, "team x: device-hours of c used up this month");
  all = with(631);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(of(all, 11).kind, Kind::stop);
  EXPECT_EQ(of(all, 11).reason, "team x: device-hours of c used up this month");
  s.running[0].stopping = true;
  EXPECT_EQ(with(631).size(), 1u) << "once is enough";
  all = with(63);  // the quota was made smaller
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(of(all, 12).kind, Kind::stop);
}

TEST(Policy, BackfillDoesNotDelayWhoWaitsInFront) {
  Snapshot s = pool({{"c", 4}});
  for (int d : {0, 1}) s.nodes[0].holders[static_cast<size_t>(d)] = 9;
  s.running = {{9, "x", 0, 0, 100, false, false, 0, {{{0, {0, 1}}}, 0}}};
  s.waiting = {job(1, "x", {"c", 1, 4}), job(2, "x", {"c"}, 1), job(3, "x", {"c"}, 2),
               job(4, "x", {"c"}, 3)};
  s.waiting[1].limit = 200, s.waiting[2].limit = 90, s.waiting[3].limit = 100;
  const auto all = decide(s, 0);
  EXPECT_EQ(of(all, 1).expected, 100);
  EXPECT_EQ(of(all, 2).kind, Kind::wait);  // would end too late
  EXPECT_EQ(of(all, 3).kind, Kind::start);
  EXPECT_EQ(of(all, 4).kind, Kind::start);
}

TEST(Policy, PatienceKeepsDevicesThoughNobodyKnowsAnEnd) {
  Snapshot s = pool({{"c", 2}});
  s.nodes[0].holders[0] = 9;
  s.running = {{9, "x", 0, 0, kNever, false, false, 0, {{{0, {0}}}, 0}}};
  s.waiting = {job(1, "x", {"c", 1, 2}), job(2, "x", {"c"}, 1)};
  EXPECT_EQ(of(decide(s, 10), 2).kind, Kind::start);
  EXPECT_EQ(of(decide(s, 700), 2).kind, Kind::wait);
}

TEST(Policy, PreemptsTheFewestAndYoungest) {
  Snapshot s = pool({{"c", 4}});
  s.nodes[0].holders = {11, 12, 13, 14};
  for (int i = 0; i < 4; ++i)
    s.running.push_back({11 + i,
                         "x",
                         i == 3 ? 5 : 0,
                         static_cast<Seconds>(i),
                         kNever,
                         i != 1,
                         false,
                         0,
                         {{{0, {i}}}, 0}});
  s.waiting = {job(1, "y", {"c"})};
  s.waiting[0].priority = 5;
  auto all = decide(s, 9);
  EXPECT_EQ(of(all, 13).kind,
            Kind::preempt);  // 14 is as urgent, 12 may not be preempted, 11 is older
  EXPECT_EQ(of(all, 13).sake, 1);
  EXPECT_EQ(std::ranges::count(all, Kind::preempt, &Decision::kind), 1);
  s.running[2].stopping = true;  // it does: nobody else has to
  all = decide(s, 10);
  EXPECT_EQ(std::ranges::count(all, Kind::preempt, &Decision::kind), 0);
  s.waiting[0].accepted[0].devices = 3;  // never enough: then nobody
  EXPECT_EQ(std::ranges::count(decide(s, 9), Kind::preempt, &Decision::kind), 0);
}

TEST(Policy, DependenciesHoldsTimesAndQueues) {
  Snapshot s = pool({{"c", 8}});
  for (JobId id = 1; id <= 6; ++id) s.waiting.push_back(job(id, "x", {"c"}));
  s.waiting[0].after = {{90, After::ok, Outcome::pending}};
  s.waiting[1].after = {{90, After::ok, Outcome::failed}};
  s.waiting[2].after = {{90, After::any, Outcome::failed}, {91, After::not_ok, Outcome::failed}};
  s.waiting[3].held = true;
  s.waiting[4].not_before = 50;
  s.waiting[5].queue = "night";
  s.queues["night"].open = false;
  const auto all = decide(s, 10);
  EXPECT_EQ(of(all, 1).reason, "waits for job 90");
  EXPECT_EQ(of(all, 2).kind, Kind::cancel);
  EXPECT_EQ(of(all, 3).kind, Kind::start);
  EXPECT_EQ(of(all, 4).kind, Kind::wait);
  EXPECT_EQ(of(all, 5).expected, 50);
  EXPECT_EQ(of(all, 6).reason, "queue night is closed");
}

TEST(Policy, ReservationsAreTheTeams) {
  Snapshot s = pool({{"c", 2}});
  s.reservations = {{0, 100, 200, "x"}};
  s.waiting = {job(1, "y", {"c"}), job(2, "y", {"c"}), job(3, "x", {"c"})};
  s.waiting[0].limit = 150, s.waiting[1].limit = 50;
  const auto all = decide(s, 0);
  EXPECT_EQ(of(all, 1).kind, Kind::wait);
  EXPECT_EQ(of(all, 1).reason, "waits for 1 c, 0 free, 2 reserved for others");
  EXPECT_EQ(of(all, 2).kind, Kind::start);
  EXPECT_EQ(of(all, 3).kind, Kind::start);
  s.reservations[0].name = "day";
  EXPECT_EQ(of(decide(s, 0), 1).reason, "waits for 1 c, 0 free, 2 reserved for others (day, from 1970-01-01T00:01:40Z; "
                                        "with a shorter time_limit that ends before that it may start)");
  EXPECT_EQ(of(decide(s, 150), 1).reason, "waits for 1 c, 0 free, 2 reserved for others (day, until 1970-01-01T00:03:20Z)");
}

TEST(Policy, NodesOfOnePool) {
  Snapshot s = pool({{"c", 2}, {"c", 2}, {"c", 2}, {"c", 2}});
  s.nodes[0].pool = s.nodes[1].pool = "a", s.nodes[2].pool = "b", s.nodes[3].pool = "d";
  EXPECT_EQ(impossible(s.nodes, {"c", 2, 2}), "");
  EXPECT_EQ(impossible(s.nodes, {"c", 3, 1}),
            "3 nodes with 1 c are wanted in one pool (nodes that share the folder of runs); the most in one is 2");
  s.nodes[0].holders[0] = 9;
  s.waiting = {job(1, "x", {"c", 2, 2})};
  EXPECT_EQ(of(decide(s, 0), 1).reason, "waits for 2 nodes of 2 c, 1 free in one pool");
}

TEST(Policy, ImpossibleRequestsNameTheNearest) {
  const Snapshot s = pool({{"a100", 4}, {"a100", 8}, {"mlu370", 2}});
  EXPECT_EQ(impossible(s.nodes, {"a100", 1, 8}), "");
  EXPECT_EQ(impossible(s.nodes, {"a100", 1, 9}), "no node has 9 a100; the most on one is 8");
  EXPECT_EQ(impossible(s.nodes, {"a100", 3, 1}), "3 nodes with 1 a100 are wanted; there are 2");
  std::string part;
  impossible(s.nodes, {"a100", 3, 1}, &part);
  EXPECT_EQ(part, "nodes");
  impossible(s.nodes, {"a100", 1, 9}, &part);
  EXPECT_EQ(part, "count");
  EXPECT_EQ(impossible(s.nodes, {"h100"}), "no node has a chip 'h100'; there are: a100, mlu370");
  EXPECT_EQ(impossible(s.nodes, {"mlu370", 1, 1, 2000}),
            "no node with mlu370 has 2000 MB; the most is 1000");
}

// Random pools and jobs in random order of events: what must never happen does not.
TEST(Policy, InvariantsHoldInRandomLives) {
  int stopped = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(static_cast<uint32_t>(seed));
    const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint32_t>(n)); };
    Snapshot s;
    for (int n = 0; n < 5; ++n)
      s.nodes.push_back(
          {"n", n % 2 ? "a" : "b", std::vector<JobId>(1 + static_cast<size_t>(below(4))), 100});
    s.teams["t0"].most_devices["a"] = 3;
    constexpr double kMonth = 150, kHours = 400.0 / 3600;  // device-hours of t1 on "b"
    double used = 0;                                       // device-seconds of this month
    Seconds before = 0;
    JobId next = 1;
    for (Seconds now = 0; now < 400; now += 1 + below(5)) {
      const Seconds began = std::floor(now / kMonth) * kMonth;
      if (before < began) used = 0;
      for (const Running& r : s.running)
        if (r.team == "t1" && s.nodes[r.placement.parts[0].node].chip == "b")
          for (const auto& part : r.placement.parts)
            used += static_cast<double>(part.devices.size()) * std::max(0.0, std::min(now, r.ends) - std::max(before, began));
      EXPECT_LE(used, kHours * 3600 + 1e-6) << "hours";
      before = now;
      s.teams["t1"].hours_left["b"] = kHours - used / 3600, s.teams["t1"].renews = began + kMonth;
      if (below(2)) {
        Waiting w = job(next++, below(2) ? "t0" : "t1",
                        {below(2) ? "a" : "b", 1 + below(2), 1 + below(3), below(60)}, now);
        w.priority = below(3);
        w.grace = 5;
        if (below(3)) w.limit = 1 + below(80);
        if (impossible(s.nodes, w.accepted[0]).empty()) s.waiting.push_back(w);
      }
      std::vector<JobId> over;
      for (const Running& r : s.running)
        if (r.ends <= now || below(20) == 0) over.push_back(r.job);
      for (const JobId id : over) apply(&s, {{.kind = Kind::preempt, .job = id}}, now);
      const auto all = decide(s, now);
      std::set<JobId> said;
      for (const Decision& d : all) {
        stopped += d.kind == Kind::stop;
        if (d.kind != Kind::preempt && d.kind != Kind::stop) {
          EXPECT_TRUE(said.insert(d.job).second) << "two decisions";
        }
      }
      ASSERT_EQ(said.size(), s.waiting.size());
      // What is preempted is of lower priority than who it makes room for.
      for (const Decision& d : all) {
        if (d.kind == Kind::preempt) {
          EXPECT_LT(std::ranges::find(s.running, d.job, &Running::job)->priority,
                    std::ranges::find(s.waiting, d.sake, &Waiting::id)->priority);
        }
      }
      Snapshot after = s;
      apply(&after, all, now);
      s = after;
      int held = 0;
      for (const Node& n : s.nodes)
        if (n.chip == "a")
          for (const JobId h : n.holders)
            if (const auto r = std::ranges::find(s.running, h, &Running::job);
                h && r != s.running.end())
              held += r->team == "t0";
      EXPECT_LE(held, 3) << "quota";
    }
    // Nothing starves once nobody new comes, and there are hours.
    s.teams["t1"].hours_left.clear();
    for (Seconds now = 1000; !s.waiting.empty() && now < 100000; now += 1000) {
      while (!s.running.empty()) apply(&s, {{.kind = Kind::preempt, .job = s.running[0].job}}, now);
      apply(&s, decide(s, now), now);
    }
    EXPECT_TRUE(s.waiting.empty() ||
                std::ranges::all_of(s.waiting,
                                    [](const Waiting& w) {
                                      return w.team == "t0" && w.accepted[0].chip == "a" &&
                                             w.accepted[0].nodes * w.accepted[0].devices > 3;
                                    }))
        << "seed " << seed;
  }
  EXPECT_GT(stopped, 10);
}

}  // namespace
}  // namespace wellspring::cluster::policy
