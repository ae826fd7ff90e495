// One attempt after the other: statuses, logs, commands, bounds.
#include "cluster/node/executions.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <functional>

#include "cluster/node/test_executions.h"

namespace wellspring::cluster {
namespace {

TEST(Executions, ExitStatusesAndSignals) {
  Bench bench;
  Event ok = bench.run(bench.spec("ok", "echo hello; echo wrong >&2"));
  EXPECT_EQ(ok.status, 0);
  EXPECT_EQ(ok.outcome, Ending::exited);
  EXPECT_EQ(ok.reason, "");
  EXPECT_GT(ok.started, 1e9);
  EXPECT_GE(ok.ended_at, ok.started);
  EXPECT_GT(ok.usage.max_rss_bytes, 1 << 18);
  EXPECT_EQ(bench.log("ok"), "hello\nwrong\n");
  Event three = bench.run(bench.spec("three", "exit 3"));
  EXPECT_EQ(three.status, 3);
  EXPECT_EQ(three.signal, 0);
  EXPECT_EQ(three.rank, 0);
  EXPECT_EQ(three.reason, "task 0 ended with status 3");
  Event killed = bench.run(bench.spec("killed", "kill -SEGV $$"));
  EXPECT_EQ(killed.status, 128 + SIGSEGV);
  EXPECT_EQ(killed.signal, SIGSEGV);
  EXPECT_NE(killed.reason.find("signal 11"), std::string::npos) << killed.reason;
  Event busy = bench.run(bench.spec("busy", "i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done"));
  EXPECT_GT(busy.usage.cpu_seconds, 0.005);
}

TEST(Executions, WhatCannotStartSaysWhy) {
  Bench bench;
  LaunchSpec absent = bench.spec("absent", "");
  absent.argv = {"no-such-program-here"};
  Event e = bench.run(absent);
  EXPECT_EQ(e.outcome, Ending::not_started);
  EXPECT_EQ(e.status, 127);
  EXPECT_NE(e.reason.find("no-such-program-here"), std::string::npos) << e.reason;
  LaunchSpec data = bench.spec("data", "");
  write_file_atomic(bench.runs + "/data.txt", "x");
  data.argv = {bench.runs + "/data.txt"};
  EXPECT_EQ(bench.run(data).status, 126);
  LaunchSpec folder = bench.spec("folder", "true");
  folder.folder = bench.runs + "/data.txt/below";
  Event f = bench.run(folder);
  EXPECT_EQ(f.outcome, Ending::not_started);
  EXPECT_NE(f.reason.find("data.txt"), std::string::npos) << f.reason;
  LaunchSpec searched = bench.spec("searched", "");
  searched.argv = {"true"};
  EXPECT_EQ(bench.run(searched).status, 0);
}

TEST(Executions, RefusesNamesThatCannotBe) {
  Bench bench;
  auto refused = [&](const std::function<void(LaunchSpec&)>& change, const std::string& word) {
    LaunchSpec s = bench.spec("fine", "true");
    change(s);
    expect_error([&] { bench.executions->start(s); }, Fault::usage, word);
  };
  for (const char* token : {"", "../x", ".hidden", "a b", "a/b", "a\nb"})
    refused([&](LaunchSpec& s) { s.token = token; }, "token");
  refused([](LaunchSpec& s) { s.token = std::string(129, 'a'); }, "token");
  refused([](LaunchSpec& s) { s.folder = "relative"; }, "relative");
  refused([](LaunchSpec& s) { s.attempt_folder = "/tmp/../etc"; }, "..");
  refused([](LaunchSpec& s) { s.files = {{"/tmp/a/../b", ""}}; }, "..");
  refused([](LaunchSpec& s) { s.secrets = {{"../a", ""}}; }, "secret");
  refused([](LaunchSpec& s) { s.env = {{"A=B", ""}}; }, "A=B");
  refused([](LaunchSpec& s) { s.tasks.clear(); }, "task");
  refused([](LaunchSpec& s) { s.tasks.resize(2); }, "rank");
  refused([](LaunchSpec& s) { s.argv.clear(); }, "program");
  refused([](LaunchSpec& s) { s.argv.push_back(std::string("a\0b", 3)); }, "NUL");
  refused([](LaunchSpec& s) { s.cores = {-1}; }, "core");
  refused([](LaunchSpec& s) { s.grace = -1; }, "grace");
  EXPECT_EQ(bench.run(bench.spec("fine", "true")).status, 0);  // none of these has spent the token
}

TEST(Executions, EnvironmentIsClean) {
  setenv("WELLSPRING_LEAK", "leaked", 1);
  Bench bench;
  LaunchSpec s = bench.spec("env", "env; ls -l /proc/self/fd | wc -l; umask");
  s.env = {{"BOTH", "common"}, {"COMMON", "1"}, {"HOME", "/nowhere"}};
  s.tasks[0].env = {{"BOTH", "task"}, {"RANK", "0"}};
  ASSERT_EQ(bench.run(s).status, 0);
  unsetenv("WELLSPRING_LEAK");
  std::string log = bench.log("env");
  EXPECT_EQ(log.find("leaked"), std::string::npos) << log;
  for (const char* line : {"BOTH=task\n", "COMMON=1\n", "HOME=/nowhere\n", "RANK=0\n",
                           "WELLSPRING_TOKEN=env\n", "LANG=C.UTF-8\n", "PATH=/"})
    EXPECT_NE(log.find(line), std::string::npos) << line << log;
  EXPECT_NE(log.find("\n5\n"), std::string::npos)
      << "0, 1, 2, the folder itself and a title: " << log;
}

TEST(Executions, FilesAndSecrets) {
  Bench bench;
  LaunchSpec s = bench.spec("secret",
                            "pwd; cat ../secret/owner; stat -c '%a %n' $WELLSPRING_SECRETS/key; "
                            "cat $WELLSPRING_SECRETS/key; echo $WELLSPRING_SECRETS");
  s.files = {{s.folder + "/owner", "the owner\n"}, {s.attempt_folder + "/placement.json", "{}"}};
  s.secrets = {{"key", "s3cr3t\n"}, {"big", std::string(300000, 'x')}};
  ASSERT_EQ(bench.run(s).status, 0);
  std::string log = bench.log("secret");
  EXPECT_NE(log.find(s.folder + "\nthe owner\n400 "), std::string::npos) << log;
  EXPECT_NE(log.find("s3cr3t"), std::string::npos);
  size_t at = log.find("/dev/shm/", log.find("s3cr3t"));
  ASSERT_NE(at, std::string::npos);
  EXPECT_FALSE(exists(std::string(trim(log.substr(at)))));
  EXPECT_EQ(read_file(s.attempt_folder + "/placement.json"), "{}");
  for (const std::string& name : list_directory(bench.folder.path() + "/spool/attempts"))
    EXPECT_EQ(read_file(bench.folder.path() + "/spool/attempts/" + name).find("s3cr3t"),
              std::string::npos);
}

TEST(Executions, FirstFailingTaskDecides) {
  Bench bench;
  LaunchSpec s = bench.spec("two", "if [ $RANK = 1 ]; then sleep 0.1; exit 7; fi; exec sleep 30");
  s.tasks = {{0, 0, {{"RANK", "0"}}, {}}, {1, 1, {{"RANK", "1"}}, {}}};
  Event e = bench.run(s);
  EXPECT_EQ(e.status, 7);
  EXPECT_EQ(e.rank, 1);
  EXPECT_EQ(e.outcome, Ending::exited);
  EXPECT_LT(e.seconds, 10);
  int seen = 0;
  for (const Event& event : bench.events["two"])
    if (event.kind == Event::task_ended) {
      EXPECT_EQ(event.status, seen++ == 0 ? 7 : 143);
    }
  EXPECT_EQ(seen, 2);
}

TEST(Executions, StopWithGrace) {
  Bench bench;
  bench.executions->start(
      bench.spec("polite", "trap 'exit 75' TERM; echo on; while :; do sleep 0.02; done"));
  bench.executions->start(
      bench.spec("deaf", "trap '' TERM; echo on; while :; do sleep 0.02; done"));
  // The shell does not wait for what it runs; the checkpoint is written all the same.
  bench.executions->start(
      bench.spec("shell",
                 "perl -e '$|=1; $SIG{TERM}=sub{select(undef,undef,undef,0.3);exit 75}; print "
                 "\"on\\n\"; sleep 30'; echo no"));
  for (const char* token : {"polite", "deaf", "shell"})
    ASSERT_TRUE(bench.until([&] { return bench.log(token) == "on\n"; })) << token;
  for (const char* token : {"polite", "shell"}) bench.executions->stop(token, 10, "preempted");
  for (int i = 0; i < 3; i++) bench.executions->stop("deaf", 0.2, "preempted");
  Event polite = bench.wait("polite"), deaf = bench.wait("deaf"), shell = bench.wait("shell");
  EXPECT_EQ(polite.status, 75);
  EXPECT_EQ(polite.outcome, Ending::stopped);
  EXPECT_EQ(polite.reason, "preempted");
  EXPECT_EQ(deaf.status, 137);
  EXPECT_EQ(deaf.outcome, Ending::stopped);
  EXPECT_LT(deaf.seconds, 5);
  if (bench.executions->containment().means != Means::pid_namespace) {
    EXPECT_EQ(shell.status, 75);
  }
  EXPECT_GE(shell.seconds, 0.3);
  bench.executions->stop("polite", 1, "again");
  bench.executions->stop("unknown", 1, "");
}

TEST(Executions, StopCanOnlyBeShortened) {
  Bench bench;
  bench.executions->start(
      bench.spec("deaf", "trap '' TERM; echo on; while :; do sleep 0.02; done"));
  ASSERT_TRUE(bench.until([&] { return bench.log("deaf") == "on\n"; }));
  bench.executions->stop("deaf", 60, "first");
  EXPECT_EQ(bench.executions->state("deaf")->phase, Phase::stopping);
  bench.executions->stop("deaf", 0, "fence");
  Event e = bench.wait("deaf");
  EXPECT_EQ(e.status, 137);
  EXPECT_EQ(e.reason, "first");
}

TEST(Executions, Barrier) {
  Bench bench;
  LaunchSpec s = bench.spec("barrier", "echo ran");
  s.barrier = true;
  bench.executions->start(s);
  bench.wait("barrier", Event::prepared);
  bench.pump(0.1);
  EXPECT_EQ(bench.find("barrier", Event::running), nullptr);
  bench.executions->go("barrier");
  EXPECT_EQ(bench.wait("barrier").status, 0);
  s = bench.spec("early", "echo ran");
  s.barrier = true;
  bench.executions->start(s);
  bench.executions->go("early");  // before it is prepared
  EXPECT_EQ(bench.wait("early").status, 0);
  s = bench.spec("never", "echo ran");
  s.barrier = true;
  bench.executions->start(s);
  bench.wait("never", Event::prepared);
  bench.executions->stop("never", 5, "cancelled");
  Event e = bench.wait("never");
  EXPECT_EQ(e.outcome, Ending::stopped);
  EXPECT_EQ(e.started, 0);
  EXPECT_EQ(bench.log("never"), "");
}

TEST(Executions, Prepare) {
  Bench bench;
  LaunchSpec s = bench.spec("good", "cat made");
  s.prepare = "echo preparing; echo content > made";
  ASSERT_EQ(bench.run(s).status, 0);
  EXPECT_EQ(bench.log("good"), "content\n");
  EXPECT_EQ(bench.log("good", setup_rank), "preparing\n");
  s = bench.spec("bad", "echo ran");
  s.prepare = "echo no network >&2; exit 9";
  Event e = bench.run(s);
  EXPECT_EQ(e.outcome, Ending::setup_failed);
  EXPECT_EQ(e.status, 9);
  EXPECT_NE(e.reason.find("setup"), std::string::npos);
  EXPECT_EQ(e.started, 0);
  EXPECT_EQ(bench.log("bad"), "");
  EXPECT_EQ(bench.log("bad", setup_rank), "no network\n");
  s = bench.spec("long", "echo ran");
  s.prepare = "echo on; exec sleep 30";
  bench.executions->start(s);
  ASSERT_TRUE(bench.until([&] { return bench.log("long", setup_rank) == "on\n"; }));
  bench.executions->stop("long", 5, "cancelled");
  EXPECT_EQ(bench.wait("long").outcome, Ending::stopped);
}

TEST(Executions, TimeLimit) {
  Bench bench;
  LaunchSpec s = bench.spec("long", "exec sleep 30");
  s.time_limit = 0.2;
  Event e = bench.run(s);
  EXPECT_EQ(e.outcome, Ending::time_limit);
  EXPECT_EQ(e.status, 143);
  EXPECT_GE(e.seconds, 0.2);
  EXPECT_LT(e.seconds, 5);
  EXPECT_NE(e.reason.find("time limit"), std::string::npos);
}

TEST(Executions, LeaseEndsWithoutTheDaemon) {
  Bench bench;
  std::string lease = bench.folder.path() + "/lease";
  auto renew = [&](double seconds) {
    write_file_atomic(lease, str(monotonic_seconds() + seconds, " 0.1"));
  };
  renew(0.3);
  LaunchSpec s = bench.spec("leased", "trap '' TERM; while :; do sleep 0.02; done");
  s.lease = lease;
  bench.executions->start(s);
  bench.wait("leased", Event::running);
  renew(0.8);  // read again when the first is over
  bench.executions.reset();
  sleep_seconds(0.5);
  bench.open();
  EXPECT_NE(bench.executions->state("leased")->phase, Phase::ended);
  Event e = bench.wait("leased");
  EXPECT_EQ(e.outcome, Ending::stopped);
  EXPECT_EQ(e.status, 137);
  EXPECT_NE(e.reason.find("lease"), std::string::npos) << e.reason;
  EXPECT_GE(e.seconds, 0.7);
}

TEST(Executions, ALeaseMayBecomeShorterAndIsReadWhole) {
  Bench bench;
  std::string lease = bench.folder.path() + "/lease";
  double now = monotonic_seconds();
  auto write = [&](double end, double again) {
    write_file_atomic(lease, str(end, " 0 0.05 ", again, "\n"));
  };
  write(now + 600, now + 600);
  LaunchSpec s = bench.spec("shortened", "while :; do sleep 0.02; done");
  s.lease = lease;
  bench.executions->start(s);
  bench.wait("shortened", Event::running);
  write(now - 1, now + 600);  // half written: the old end is not taken for the new one
  sleep_seconds(0.12);
  bench.executions->poll();
  EXPECT_EQ(bench.executions->state("shortened")->phase, Phase::running);
  write(now + 0.1, now + 0.1);
  Event e = bench.wait("shortened");
  EXPECT_EQ(e.outcome, Ending::stopped);
  EXPECT_LT(monotonic_seconds() - now, 60);
}

TEST(Executions, CoresOfTasks) {
  Bench bench;
  LaunchSpec s = bench.spec("cores", "grep Cpus_allowed_list /proc/self/status");
  s.tasks[0].cores = {0};
  ASSERT_EQ(bench.run(s).status, 0);
  EXPECT_EQ(bench.log("cores"), "Cpus_allowed_list:\t0\n");
}

TEST(Executions, ReplayedTokenIsRefused) {
  Bench bench;
  bench.run(bench.spec("once", "true"));
  auto again = [&] { bench.executions->start(bench.spec("once", "echo twice")); };
  expect_error(again, Fault::usage, "used");
  bench.executions->forget("once");
  EXPECT_TRUE(bench.executions->used("once"));
  expect_error(again, Fault::usage, "used");
  bench.executions.reset();
  bench.open();
  expect_error(again, Fault::usage, "used");
  EXPECT_FALSE(bench.executions->used("other"));
}

TEST(Executions, ManyAtOnce) {
  Bench bench;
  for (int i = 0; i < 60; i++)
    bench.executions->start(bench.spec(str("m", i), str("exit ", i % 5)));
  for (int i = 0; i < 60; i++) {
    EXPECT_EQ(bench.wait(str("m", i)).status, i % 5);
    bench.executions->forget(str("m", i));
  }
  EXPECT_TRUE(bench.executions->list().empty());
}

TEST(Logs, FloodIsBoundedAndTheTailIsWhole) {
  Bench bench;
  LaunchSpec s = bench.spec("flood", "seq 1 400000; echo the last line");  // 2.7 MB
  s.log_limit = 200000;
  ASSERT_EQ(bench.run(s).status, 0);
  int64_t on_disk = 0;
  for (const std::string& name : list_directory(s.attempt_folder))
    on_disk += file_size(s.attempt_folder + "/" + name);
  EXPECT_LE(on_disk, 200000);
  EXPECT_GE(on_disk, 140000);
  std::string log = bench.log("flood");
  EXPECT_TRUE(starts_with(log, "1\n2\n3\n"));
  EXPECT_TRUE(ends_with(log, "399999\n400000\nthe last line\n"));
  int64_t whole = 2688895 + 14;
  EXPECT_EQ(bench.executions->state("flood")->tasks[0].log_bytes, whole);
  // In small parts as a follower reads it: the same, with one line that tells of the gap.
  std::string text;
  int64_t offset = 0, dropped = 0;
  for (;;) {
    LogPart part = bench.executions->read_log("flood", 0, offset, 7777);
    EXPECT_EQ(part.total, whole);
    if (part.data.empty()) break;
    if (part.dropped > 0) {
      dropped += part.dropped;
      std::string line = str("… ", part.dropped, " bytes dropped …\n");
      ASSERT_TRUE(starts_with(part.data, line));
      part.data.erase(0, line.size());
    }
    text += part.data;
    offset = part.next;
  }
  EXPECT_EQ(offset, whole);
  EXPECT_EQ(static_cast<int64_t>(text.size()) + dropped, whole);
  EXPECT_EQ(static_cast<int64_t>(text.size()), on_disk);
}

TEST(Logs, AnEarlierLogInTheFolderIsReplaced) {
  Bench bench;
  LaunchSpec s = bench.spec("again", "echo new");
  make_directories(s.attempt_folder);
  write_file_atomic(s.attempt_folder + "/log.0.txt", "old\n");
  write_file_atomic(s.attempt_folder + "/log.0.from4.txt", "old tail\n");
  ASSERT_EQ(bench.run(s).status, 0);
  EXPECT_EQ(bench.log("again"), "new\n");
}

TEST(Logs, FullDisk) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to mount a small file system";
  Bench bench;
  std::string small = bench.runs + "/small";
  make_directories(small);
  ASSERT_EQ(system(str("mount -t tmpfs -o size=64k tmpfs ", small).c_str()), 0);
  LaunchSpec s = bench.spec("full", str("seq 1 40000; sleep 0.2; rm ", small,
                                        "/filler; echo after; sleep 0.1; echo the end"));
  s.attempt_folder = small + "/attempt";
  write_file_atomic(small + "/filler", std::string(20000, 'x'));
  Event e = bench.run(s);
  std::string log = bench.log("full");
  system(str("umount ", small).c_str());
  EXPECT_EQ(e.status, 0);
  EXPECT_TRUE(starts_with(log, "1\n2\n"));
  EXPECT_NE(log.find("bytes dropped"), std::string::npos);
  EXPECT_TRUE(ends_with(log, "after\nthe end\n")) << log.substr(log.size() - 100);
}

}  // namespace
}  // namespace wellspring::cluster
