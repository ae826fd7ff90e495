// Daemons and launchers that are killed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include "cluster/node/test_executions.h"

namespace wellspring::cluster {
namespace {

/// A daemon in a process of its own that starts `specs` and says when all run.
pid_t daemon_with(const Bench& bench, Means means, const std::vector<LaunchSpec>& specs) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  pid_t pid = fork();
  if (pid == 0) {
    try {
      Executions e(
          {.spool = bench.folder.path() + "/spool", .launcher = launcher_path(), .means = means});
      for (const LaunchSpec& s : specs) e.start(s);
      size_t running = 0;
      while (running < specs.size()) {
        pollfd p = {e.descriptor(), POLLIN, 0};
        ::poll(&p, 1, 1000);
        for (const Event& event : e.poll()) running += event.kind == Event::running;
      }
      if (write(ends[1], "x", 1) != 1) _exit(1);
      for (;;) pause();
    } catch (const Error& error) {
      fprintf(stderr, "%s\n", error.what());
      _exit(1);
    }
  }
  close(ends[1]);
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 1);
  close(ends[0]);
  return pid;
}

void kill_hard(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

TEST(Survive, DaemonKilledWithTenJobs) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    bench.executions.reset();
    std::vector<LaunchSpec> specs;
    for (int i = 0; i < 10; i++) {
      LaunchSpec s =
          bench.spec(str("j", i),
                     "echo before; while [ ! -s $GATE ]; do sleep 0.02; done; echo after; exit $N");
      s.env = {{"GATE", str(bench.runs, "/gate", i % 2)}, {"N", str(i)}};
      s.secrets = {{"key", "k"}};
      specs.push_back(s);
    }
    pid_t daemon = daemon_with(bench, means, specs);
    ASSERT_GT(daemon, 0);
    kill_hard(daemon);
    write_file_atomic(bench.runs + "/gate0", "open");  // these end while nobody listens
    sleep_seconds(0.3);
    bench.open();
    EXPECT_EQ(bench.executions->list().size(), 10u);
    for (int i = 0; i < 10; i += 2) EXPECT_EQ(bench.wait(str("j", i)).status, i);
    for (int i = 1; i < 10; i += 2) {
      bench.wait(str("j", i), Event::running);
      EXPECT_EQ(bench.find(str("j", i), Event::ended), nullptr);
      EXPECT_EQ(bench.executions->state(str("j", i))->phase, Phase::running);
      EXPECT_GT(bench.executions->state(str("j", i))->tasks[0].pid, 0);
    }
    bench.executions->stop("j9", 5, "preempted");  // commands reach adopted ones
    write_file_atomic(bench.runs + "/gate1", "open");
    for (int i = 1; i < 9; i += 2) {
      Event e = bench.wait(str("j", i));
      EXPECT_EQ(e.status, i);
      EXPECT_EQ(e.outcome, Ending::exited);
      EXPECT_EQ(bench.log(str("j", i)), "before\nafter\n");
    }
    EXPECT_EQ(bench.wait("j9").outcome, Ending::stopped);
    // An end is told again after each restart, until it is forgotten.
    bench.executions->forget("j0");
    bench.executions.reset();
    bench.events.clear();
    bench.open();
    EXPECT_EQ(bench.wait("j1").status, 1);
    EXPECT_EQ(bench.find("j0", Event::ended), nullptr);
  }
}

TEST(Survive, BarrierOverARestart) {
  Bench bench;
  LaunchSpec s = bench.spec("b", "echo ran");
  s.barrier = true;
  bench.executions->start(s);
  bench.wait("b", Event::prepared);
  bench.executions.reset();
  bench.events.clear();
  bench.open();
  bench.wait("b", Event::prepared);
  bench.executions->go("b");
  EXPECT_EQ(bench.wait("b").status, 0);
}

TEST(Survive, LauncherKilled) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    std::string pids = bench.runs + "/pids";
    LaunchSpec s = bench.spec(
        "victim",
        str("echo $$; (setsid sleep 60 & echo $!); setsid sh -c 'sleep 61 & sleep 62' & wait"));
    s.secrets = {{"key", "k"}};
    bench.executions->start(s);
    ASSERT_TRUE(bench.until([&] { return split(bench.log("victim"), '\n').size() == 3; }));
    bench.wait("victim", Event::running);
    int task = bench.executions->state("victim")->tasks[0].pid;
    int launcher = bench.executions->state("victim")->launcher_pid;
    ASSERT_TRUE(alive(task));
    double before = monotonic_seconds();
    kill(launcher, SIGKILL);
    Event e = bench.wait("victim");
    // A PID namespace ends when the machine's first process has reaped what was in it.
    EXPECT_LT(monotonic_seconds() - before, means == Means::pid_namespace ? 15 : 2);
    EXPECT_EQ(e.outcome, Ending::lost);
    EXPECT_EQ(e.status, 137);
    EXPECT_EQ(e.reason, "the launcher was killed");
    EXPECT_FALSE(alive(task));
    for (const std::string& name : list_directory("/dev/shm"))
      EXPECT_EQ(name.find("-victim"), std::string::npos);
    EXPECT_EQ(bench.run(bench.spec("next", "true")).status, 0);
  }
}

TEST(Survive, LauncherKilledWhileNoDaemonRuns) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    bench.executions->start(bench.spec("victim", "sleep 60 & sleep 61"));
    bench.wait("victim", Event::running);
    ExecutionState state = *bench.executions->state("victim");
    bench.executions.reset();
    kill(state.launcher_pid, SIGKILL);
    waitpid(state.launcher_pid, nullptr, 0);
    bench.events.clear();
    bench.open();
    EXPECT_EQ(bench.wait("victim").outcome, Ending::lost);
    EXPECT_FALSE(alive(state.tasks[0].pid));
  }
}

TEST(Survive, IdleLauncherKilled) {
  Bench bench;
  bench.executions->start(bench.spec("a", "true"));
  int launcher = bench.executions->state("a")->launcher_pid;
  bench.wait("a");
  kill(launcher, SIGKILL);
  ASSERT_TRUE(soon_dead(launcher));
  EXPECT_EQ(bench.run(bench.spec("b", "exit 4")).status,
            4);  // handed to a dead one, then to another
  EXPECT_NE(bench.executions->state("b")->launcher_pid, launcher);
}

TEST(Survive, OneDaemonPerSpool) {
  Bench bench;
  expect_error(
      [&] {
        Executions second({.spool = bench.folder.path() + "/spool", .launcher = launcher_path()});
      },
      Fault::config, "in use");
}

TEST(Survive, SpoolIsPrivate) {
  Bench bench;
  struct stat s;
  ASSERT_EQ(stat((bench.folder.path() + "/spool").c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777, 0700u);
}

}  // namespace
}  // namespace wellspring::cluster
