#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "base/test_error.h"
#include "cluster/state/test_state.h"

namespace wellspring::cluster {
namespace {

TEST(RowTable, WhatFailsLeavesNoTrace) {
  RowTable<int, std::string> t;
  t.put(1, "a");
  t.keep_command([](int, const auto*, const auto*) {});
  t.keep_batch();
  t.edit(1) = "b";
  t.put(2, "c");
  t.undo_command();
  EXPECT_EQ(t.at(1), "a");
  EXPECT_EQ(t.find(2), nullptr);
  t.edit(1) = "b";
  t.keep_command([](int, const auto*, const auto*) {});
  t.edit(1) = "c";
  t.remove(1);
  t.put(3, "d");
  t.keep_command([](int, const auto*, const auto*) {});
  int changed = 0;
  t.each_changed([&](int key, const std::string* row) { changed += (key == 1 && !row) || (key == 3 && row); });
  EXPECT_EQ(changed, 2);
  t.undo_batch();
  EXPECT_EQ(t.at(1), "a");
  EXPECT_EQ(t.size(), 1u);
}

TEST(Transitions, AJobRunsAndSucceeds) {
  TestCluster c;
  c.node("n1", 2);
  const JobId id = c.submit(c.spec());
  EXPECT_EQ(c.state_of(id), "queued");
  EXPECT_EQ(c.round(), 1);
  EXPECT_EQ(c.state_of(id), "starting");
  EXPECT_EQ(c.effects.start.size(), 1u);
  EXPECT_EQ(c.attempt(id).run_folder, "/runs/red/1");
  c.begins(id);
  EXPECT_EQ(c.state_of(id), "running");
  c.now += 3600;
  c.ends(id, 0);
  EXPECT_EQ(c.state_of(id), "succeeded");
  EXPECT_EQ(c.effects.finished, std::vector<JobId>{id});
  EXPECT_NEAR(c.state.usage.at("red/ada//a100/2023-11").device_seconds, 3600, 1);
  EXPECT_NEAR(c.state.teams.at("red").usage, 1, 0.01);
  c.check();
}

TEST(Transitions, WhatFailedIsTriedAgainAsThePolicySays) {
  TestCluster c;
  c.node("n1", 1);
  JobSpec s = c.spec();
  s.restart.most = 2, s.restart.on_exit = {42};
  const JobId id = c.submit(s);
  const auto fails = [&](int status, PartEnd end = {}) {
    c.round(), c.begins(id);
    c.ends(id, status, end);
  };
  fails(1);
  EXPECT_EQ(c.job(id).restarts, 1);
  EXPECT_EQ(c.round(), 0) << "back-off";
  c.now += 1.1;
  fails(42);
  EXPECT_EQ(c.job(id).restarts, 1) << "42 is not counted";
  c.now += 1.1;
  fails(7);
  c.now += 1.1;
  EXPECT_EQ(c.round(), 0) << "the second back-off is twice as long";
  c.now += 1;
  fails(9);
  EXPECT_EQ(c.state_of(id), "failed");
  EXPECT_EQ(c.job(id).exit_status, 9);
  EXPECT_NE(error_of([&] { c.run([&](Change& ch) { cancel(ch, id, "ada"); }); }).find("ended already"), std::string::npos);
  c.run([&](Change& ch) { retry(ch, id); });
  EXPECT_EQ(c.state_of(id), "queued");
  c.check();
}

TEST(Transitions, StatusSeventyFiveCountsUnlessItGotOn) {
  TestCluster c;
  c.node("n1", 1);
  const JobId id = c.submit(c.spec());
  for (int i = 1; i <= 8; ++i) {  // a newer checkpoint each time: for ever
    c.now += 400, c.round(), c.begins(id);
    c.ends(id, 75, {.checkpoint = 10 * i});
    ASSERT_EQ(c.state_of(id), "queued") << i;
    ASSERT_EQ(c.job(id).restarts, 0);
  }
  for (int i = 1; i <= 6; ++i) {  // it does not get on
    c.now += 400, c.round();
    if (c.state_of(id) != "starting") break;
    c.begins(id);
    c.ends(id, 75, {.checkpoint = 80});
  }
  EXPECT_EQ(c.state_of(id), "failed");
}

TEST(Transitions, PreemptedAndDrainedJobsWaitAgainWithoutBeingCounted) {
  TestCluster c;
  c.node("n1", 1);
  const JobId low = c.submit(c.spec());
  c.round(), c.begins(low);
  JobSpec urgent = c.spec("blue");
  urgent.priority = 10;
  const JobId high = c.submit(urgent);
  c.round();
  EXPECT_EQ(c.state_of(low), "stopping");
  ASSERT_EQ(c.effects.stop.size(), 1u);
  c.ends(low, 75);
  EXPECT_EQ(c.state_of(low), "queued");
  EXPECT_EQ(c.job(low).restarts, 0);
  c.round();
  EXPECT_EQ(c.state_of(high), "starting") << "the device was kept for it";
  c.begins(high);
  c.run([&](Change& ch) { drain(ch, "n1", "repair"); });
  c.ends(high, 143);
  EXPECT_EQ(c.state_of(high), "queued");
  EXPECT_EQ(c.round(), 0) << "the node is drained";
  c.run([&](Change& ch) { resume(ch, "n1"); });
  EXPECT_EQ(c.round(), 1);
  c.check();
}

TEST(Transitions, ANodeThatIsLostGivesItsJobsAwayAndItsLateResultIsNotTaken) {
  TestCluster c;
  c.node("n1", 1), c.node("n2", 1);
  const JobId id = c.submit(c.spec());
  c.round(), c.begins(id);
  const Attempt first = c.attempt(id);
  const std::string node = first.parts[0].node;
  c.run([&](Change& ch) { node_lost(ch, node); });
  EXPECT_EQ(c.state_of(id), "queued");
  c.round();
  EXPECT_NE(c.attempt(id).parts[0].node, node);
  EXPECT_NE(c.attempt(id).token, first.token);
  c.begins(id);
  bool taken = true;
  c.run([&](Change& ch) { taken = part_ended(ch, first.serial, node, {.status = 0}); });
  EXPECT_FALSE(taken);
  EXPECT_EQ(c.state_of(id), "running");
  c.check();
}

TEST(Transitions, AJobThatGoesOnWithoutContactKeepsItsDevices) {
  TestCluster c;
  c.node("n1", 1), c.node("n2", 1);
  JobSpec s = c.spec();
  s.on_lost_contact = "continue";
  const JobId id = c.submit(s);
  c.round(), c.begins(id);
  c.run([&](Change& ch) { node_lost(ch, c.attempt(id).parts[0].node); });
  EXPECT_EQ(c.state_of(id), "running");
}

TEST(Transitions, AllNodesOfAnAttemptOrNone) {
  TestCluster c;
  c.node("n1", 2), c.node("n2", 2), c.node("n3", 2, "a100", "elsewhere");
  JobSpec s = c.spec("red", 2);
  s.accepted[0].nodes = 2;
  const JobId id = c.submit(s);
  c.round();
  const Attempt a = c.attempt(id);
  ASSERT_EQ(a.parts.size(), 2u);
  EXPECT_NE(a.parts[0].node, "n3");
  EXPECT_NE(a.parts[1].node, "n3");
  c.run([&](Change& ch) { part_prepared(ch, a.serial, "n1"); });
  EXPECT_TRUE(c.effects.go.empty());
  c.run([&](Change& ch) { part_prepared(ch, a.serial, "n2"); });
  EXPECT_EQ(c.effects.go.size(), 1u);
  c.begins(id);
  c.run([&](Change& ch) { part_ended(ch, a.serial, "n2", {.status = 3, .reason = "task 2 ended with status 3"}); });
  EXPECT_EQ(c.state_of(id), "stopping");
  EXPECT_EQ(c.effects.stop.size(), 1u);
  c.run([&](Change& ch) { part_ended(ch, a.serial, "n1", {.status = 143}); });
  EXPECT_EQ(c.state_of(id), "failed");
  EXPECT_EQ(c.job(id).exit_status, 3) << "the first failing task decides";
  c.check();
}

TEST(Transitions, DependenciesByOutcome) {
  TestCluster c;
  c.node("n1", 4);
  const JobId first = c.submit(c.spec());
  JobSpec s = c.spec();
  s.after = {{.job = first, .kind = "afterok"}};
  const JobId ok = c.submit(s);
  s.after[0].kind = "afternotok";
  const JobId not_ok = c.submit(s);
  s.after[0].kind = "afterany";
  const JobId any = c.submit(s);
  EXPECT_EQ(c.round(), 1);
  c.begins(first), c.ends(first, 1);
  c.round();
  EXPECT_EQ(c.state_of(ok), "cancelled");
  EXPECT_EQ(c.state_of(not_ok), "starting");
  EXPECT_EQ(c.state_of(any), "starting");
}

TEST(Transitions, ArraysRunSoManyAtOnceAndTellOneState) {
  TestCluster c;
  c.node("n1", 8);
  JobSpec s = c.spec();
  for (int i = 0; i < 10; ++i) s.array.push_back(i * 3);
  s.array_at_once = 3;
  const JobId id = c.submit(s);
  EXPECT_EQ(shown_id(c.job(id + 2)), "1_3");
  EXPECT_EQ(find_job(c.state, "1_3"), &c.job(id + 2));
  EXPECT_EQ(c.round(), 3);
  EXPECT_EQ(c.round(), 0);
  for (int i = 1; i <= 10; ++i) {
    c.begins(id + i);
    c.ends(id + i, i == 4 ? 1 : 0);
    c.round();
    c.check();
  }
  EXPECT_EQ(c.state_of(id), "failed");
  c.run([&](Change& ch) { retry(ch, id); });
  EXPECT_EQ(c.state_of(id), "running") << "some have succeeded, one waits";
  c.run([&](Change& ch) { cancel(ch, id, "ada"); });
  EXPECT_EQ(c.state_of(id), "cancelled");
}

TEST(Transitions, TwoSubmitsRacingForTheLastOfAQuota) {
  TestCluster c;
  c.node("n1", 8);
  c.run([&](Change& ch) { ch.state.teams.edit("red").quotas["a100"].devices = 3; });
  const JobId a = c.submit(c.spec("red", 2)), b = c.submit(c.spec("red", 2));
  EXPECT_EQ(c.round(), 1);
  c.check();
  EXPECT_EQ(c.state_of(b), "queued");
  EXPECT_NE(c.state.waits.at(b).reason.find("may hold 3 a100"), std::string::npos);
  c.begins(a), c.ends(a, 0);
  EXPECT_EQ(c.round(), 1);
}

TEST(Transitions, WhatUsesItsDeviceHoursUpIsStoppedAndWaits) {
  TestCluster c;
  c.node("n1", 4);
  c.run([&](Change& ch) { ch.state.teams.edit("red").quotas["a100"].hours = 4; });
  JobSpec limited = c.spec();
  limited.time_limit = 3600;
  const JobId endless = c.submit(c.spec("red", 2)), paid = c.submit(limited);
  limited.time_limit = 3 * 3600;
  const JobId dear = c.submit(limited);
  EXPECT_EQ(c.round(), 2);
  EXPECT_EQ(c.state.waits.at(dear).reason,
            "team red has 2.974 device-hours of a100 left this month beside what runs, and this job may take 3.008");
  c.begins(endless), c.begins(paid);
  c.now += 3600;
  c.round();
  EXPECT_EQ(c.state_of(endless), "running");
  c.ends(paid, 0);
  c.now += 1800 - 40;
  c.round();
  EXPECT_EQ(c.state_of(endless), "running");
  c.now += 9;
  c.round();
  EXPECT_EQ(c.state_of(endless), "stopping");
  EXPECT_EQ(c.effects.stop.back().grace, 30);
  c.ends(endless, 75, {.checkpoint = 10});
  EXPECT_EQ(c.state_of(endless), "queued");
  EXPECT_EQ(c.attempt(endless).cause, StopCause::quota);
  EXPECT_EQ(c.job(endless).restarts, 0);
  EXPECT_EQ(c.round(), 0);
  EXPECT_EQ(c.state.waits.at(endless).reason, "team red: device-hours of a100 used up this month");
  EXPECT_GT(c.state.waits.at(endless).expected, month_after(c.now) - 60);
  c.check();
  c.now = month_after(c.now);
  EXPECT_EQ(c.round(), 2) << "there are 4 hours again";
}

TEST(Transitions, ANodeThatCannotBeginIsNoFailureAndIsAskedWithPauses) {
  TestCluster c;
  c.node("n1", 1);
  const JobId id = c.submit(c.spec());
  double paused = 0;
  for (int i = 0; i < 12; ++i) {
    while (!c.round()) c.now += 0.5, paused += 0.5;
    c.ends(id, 126, {.outcome = "node_fault", .reason = "no room"});
    EXPECT_EQ(c.state_of(id), "queued");
  }
  EXPECT_GT(paused, 300) << "1, 2, 4 ... seconds, and at most 300";
  EXPECT_LT(paused, 1500);
  EXPECT_EQ(c.state.jobs.at(id).restarts, 0);
  while (!c.round()) c.now += 1;
  c.begins(id), c.ends(id, 0);
  EXPECT_EQ(c.state_of(id), "succeeded");
}

// Of many that are alike only some are looked at; those whose time has not come hide nobody.
TEST(Transitions, ThousandsOfJobsThatAreAlike) {
  TestCluster c;
  c.node("n1", 2);
  std::vector<JobId> jobs;
  for (int i = 0; i < 3000; ++i) jobs.push_back(c.submit(c.spec()));
  JobSpec other = c.spec("blue", 2);
  other.priority = 1;
  EXPECT_EQ(view_of(c.state, c.now).snapshot.waiting.size(), 10u);
  EXPECT_EQ(c.state.queued_alike().size(), 1u);
  EXPECT_EQ(c.round(), 2);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(c.state_of(jobs[static_cast<size_t>(i)]), "starting");
  for (int i = 0; i < 2; ++i) c.begins(jobs[static_cast<size_t>(i)]), c.ends(jobs[static_cast<size_t>(i)], 126, {.outcome = "node_fault"});
  EXPECT_EQ(c.round(), 2) << "the two that pause are the oldest";
  EXPECT_EQ(c.state_of(jobs[3]), "starting");
  const JobId first = c.submit(other);
  for (int i = 2; i < 4; ++i) c.begins(jobs[static_cast<size_t>(i)]), c.ends(jobs[static_cast<size_t>(i)], 0);
  EXPECT_EQ(c.round(), 1);
  EXPECT_EQ(c.state_of(first), "starting");
  c.run([&](Change& ch) {
    for (const JobId id : jobs)
      if (!ended(ch.state.jobs.at(id).state)) cancel(ch, id, "ada");
  });
  EXPECT_TRUE(c.state.queued_alike().empty());
}

TEST(Transitions, AnArrayOfWhichSomeMayRun) {
  TestCluster c;
  c.node("n1", 4);
  JobSpec s = c.spec();
  s.array = {0, 1, 2, 3, 4}, s.array_at_once = 2;
  const JobId id = c.submit(s), same = c.submit(s);
  EXPECT_EQ(c.round(), 4);
  EXPECT_EQ(c.state.elements(id)[static_cast<int>(JobState::starting)], 2);
  EXPECT_EQ(c.state.elements(same)[static_cast<int>(JobState::starting)], 2);
  c.begins(id + 1), c.ends(id + 1, 0);
  EXPECT_EQ(c.round(), 1);
  EXPECT_EQ(c.round(), 0);
}

TEST(Transitions, CopiesOfAService) {
  TestCluster c;
  c.node("n1", 4);
  JobSpec s = c.spec();
  s.kind = "service", s.service.port = 8000, s.service.replicas = 3;
  const JobId id = c.submit(s);
  EXPECT_EQ(c.round(), 3);
  EXPECT_EQ(service_port(c.state.jobs.at(id + 3)), 8002);
  EXPECT_EQ(find_job(c.state, str(id, "_2"))->id, id + 3);
  EXPECT_EQ(find_job(c.state, str(id, "_3")), nullptr);
  c.begins(id + 1), c.ends(id + 1, 0);
  EXPECT_EQ(c.state_of(id + 1), "queued") << "a service does not end by itself";
  c.run([&](Change& ch) { cancel(ch, id, "ada"); });
  EXPECT_EQ(c.state_of(id + 1), "cancelled");
  c.ends(id + 2, 143), c.ends(id + 3, 143);
  EXPECT_EQ(c.state_of(id), "cancelled");
}

TEST(Transitions, NothingBeginsAfterItsDeadline) {  // rounds come oftener than pass_time()
  TestCluster c;
  c.node("n1", 1);
  JobSpec s = c.spec();
  s.deadline = c.now + 10;
  const JobId id = c.submit(s);
  c.now += 11;
  c.run([&](Change& change) { EXPECT_EQ(schedule(change, {}), 0); });
  EXPECT_EQ(c.round(), 0);
  EXPECT_EQ(c.job(id).state, JobState::cancelled);
}

TEST(Transitions, DeadlinesPassAndOldJobsGo) {
  TestCluster c;
  JobSpec s = c.spec();
  s.deadline = c.now + 10;
  const JobId id = c.submit(s);
  c.round();
  c.now += 11;
  c.round();
  EXPECT_EQ(c.state_of(id), "cancelled");
  c.now += 91 * 86400.0;
  c.round();
  EXPECT_EQ(c.state.jobs.find(id), nullptr);
  EXPECT_EQ(c.state.jobs.size(), 0u);
}

TEST(Transitions, UsageIsSplitAtTheTurnOfTheMonth) {
  TestCluster c;
  c.node("n1", 2);
  c.now = 1701388800 - 1800;  // half an hour before 2023-12-01
  const JobId id = c.submit(c.spec("red", 2));
  c.round(), c.begins(id);
  c.now += 5400;
  EXPECT_NEAR(used_this_month(c.state, "red", "a100", c.now), 7200, 1) << "what runs is of two months, too";
  c.ends(id, 0);
  EXPECT_NEAR(c.state.usage.at("red/ada//a100/2023-11").device_seconds, 3600, 4);
  EXPECT_NEAR(c.state.usage.at("red/ada//a100/2023-12").device_seconds, 7200, 4);
}

// A day of a busy cluster in accelerated time, with the turn of a month: jobs of two teams, nodes that
// go and come, drains, cancels, preemption, quotas. What must hold is looked at after every step.
TEST(Transitions, ADayOfChurn) {
  TestCluster c;
  c.now = 1701388800 - 43200;  // 2023-11-30, noon
  Random random(7);
  const auto pick = [&](int n) { return static_cast<int>(random.below(static_cast<uint64_t>(n))); };
  for (int i = 0; i < 4; ++i) c.node(str("n", i), 4);
  for (int i = 4; i < 6; ++i) c.node(str("n", i), 8, "mlu370");
  c.run([&](Change& ch) {
    ch.state.teams.edit("red").quotas["a100"].devices = 9;
    ch.state.teams.edit("blue").quotas["mlu370"].devices = 10;
    ch.state.teams.edit("blue").quotas["a100"].hours = 40;
    ch.state.teams.edit("red").quotas["mlu370"].hours = 30;
  });
  std::vector<JobId> all;
  std::map<std::string, double> away;  // node, until
  std::set<int64_t> out_of_hours;
  double end = c.now + 86400;
  while (c.now < end || c.state.waiting_count() || !c.state.active().empty()) {
    c.now += 1 + pick(120);
    ASSERT_LT(c.now, end + 20 * 86400.0) << "jobs starve";
    const bool closing = c.now > end;
    if (closing && c.state.teams.at("blue").quotas.contains("a100"))
      c.run([&](Change& ch) {
        ch.state.teams.edit("blue").quotas.erase("a100"), ch.state.teams.edit("red").quotas.erase("mlu370");
      });
    if (!closing && pick(3) == 0) {
      JobSpec s = c.spec(pick(2) ? "red" : "blue", 1 + pick(4), pick(3) ? "a100" : "mlu370");
      s.accepted[0].nodes = pick(8) ? 1 : 2;
      if (pick(4) == 0) s.accepted.push_back({.chip = "mlu370", .count = 1 + pick(4)});
      s.priority = pick(5) ? 0 : pick(3);
      s.restart.most = pick(3);
      s.checkpoint.grace = 300;  // more than the steps in which it is seen, and ends
      if (pick(3)) s.time_limit = 600 + pick(7200);
      if (pick(6) == 0)
        for (int i = 0; i < 1 + pick(12); ++i) s.array.push_back(i);
      if (pick(8) == 0 && !all.empty() && c.state.jobs.find(all.back()))
        s.after = {{.job = all.back(), .kind = pick(2) ? "afterany" : "afterok"}};
      all.push_back(c.submit(s));
    }
    for (auto it = away.begin(); it != away.end();)
      if (c.now > it->second || closing) {
        const std::string name = it->first;
        c.state.connected.insert(name);
        c.run([&](Change& ch) {
          ch.state.nodes.edit(name).down = false;
          resume(ch, name);
        });
        it = away.erase(it);
      } else {
        ++it;
      }
    const std::string node = str("n", pick(6));
    if (!closing && !away.contains(node) && pick(60) == 0) {
      away[node] = c.now + 60 + pick(3600);
      if (pick(2)) {
        c.state.connected.erase(node);
        c.run([&](Change& ch) { node_lost(ch, node); });
      } else {
        c.run([&](Change& ch) { drain(ch, node, ""); });
      }
    }
    if (!closing && !all.empty() && pick(25) == 0) {
      const JobId id = all[static_cast<size_t>(pick(static_cast<int>(all.size())))];
      if (c.state.jobs.find(id)) try {
          c.run([&](Change& ch) { pick(2) ? cancel(ch, id, "ada") : retry(ch, id); });
        } catch (const Error&) {
        }  // it has ended, or has not
    }
    const std::set<int64_t> active_now = c.state.active();
    for (const int64_t serial : active_now) {
      const Attempt a = c.state.attempts.at(serial);
      if (a.state == AttemptState::ended) continue;
      for (const auto& part : a.parts) {
        if (part.state == AttemptState::ended) continue;
        c.run([&](Change& ch) {
          if (part.state == AttemptState::starting && pick(2)) part_running(ch, serial, part.node);
          const bool stopping = ch.state.attempts.at(serial).state == AttemptState::stopping;
          const Job& job = ch.state.jobs.at(a.job);
          const bool late = job.spec->time_limit && c.now > a.created + job.spec->time_limit;
          if (late)
            part_ended(ch, serial, part.node, {.status = 143, .outcome = "time_limit", .reason = "time limit"});
          else if (stopping ? pick(2) || c.now > ch.state.attempts.at(serial).stop_sent + 30 : pick(30) == 0)
            part_ended(ch, serial, part.node,
                       {.status = stopping ? 75 : pick(5) ? 0 : 1 + pick(3), .checkpoint = pick(1000)});
        });
      }
    }
    c.round();
    for (const int64_t serial : c.state.active())
      if (c.state.attempts.at(serial).cause == StopCause::quota) out_of_hours.insert(serial);
    c.check();
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(out_of_hours.size(), 5u);
  std::map<std::string, int> states;
  for (const auto& [id, j] : c.state.jobs.rows())
    if (j.array || j.spec->array.empty()) ++states[name_of(j.state)];
  EXPECT_GT(states["succeeded"], 300);
  EXPECT_GT(states["failed"], 10);
  EXPECT_GT(states["cancelled"], 10);
  EXPECT_EQ(states["succeeded"] + states["failed"] + states["cancelled"],
            static_cast<int>(c.state.jobs.size()) - static_cast<int>(std::ranges::count_if(c.state.jobs.rows(), [](const auto& j) {
              return !j.second.array && !j.second.spec->array.empty();
            })));
}

}  // namespace
}  // namespace wellspring::cluster
