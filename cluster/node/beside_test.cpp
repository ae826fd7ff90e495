// Commands beside the tasks of an attempt, with each means of containment.
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "cluster/node/test_executions.h"

namespace wellspring::cluster {
namespace {

struct Outcome {
  std::string output, error;
  Beside::End end;
};

/// Reads until the command has ended; the bench goes on meanwhile.
Outcome run_beside(Bench& bench, const std::string& token, const CommandBeside& command,
                   const std::string& input = "") {
  auto beside = bench.executions->beside(token, command);
  beside->start();
  Outcome out;
  if (!input.empty()) {
    EXPECT_EQ(write(beside->input(), input.data(), input.size()), static_cast<ssize_t>(input.size()));
  }
  if (!command.terminal) beside->end_input();
  const auto drain = [&](int fd, std::string& to) {
    char buffer[4096];
    for (ssize_t n; fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0;) to.append(buffer, static_cast<size_t>(n));
  };
  std::optional<Beside::End> end;
  EXPECT_TRUE(bench.until([&] {
    if (!end) end = beside->ended();
    drain(beside->output(), out.output);
    drain(beside->error(), out.error);
    return end.has_value();
  }));
  if (end) out.end = *end;
  return out;
}

TEST(Beside, RunsInTheContainerOfTheTasks) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    LaunchSpec s = bench.spec("a", "sleep 60");
    s.env = {{"COLOUR", "blue"}};
    bench.executions->start(s);
    bench.wait("a", Event::running);
    Outcome o = run_beside(bench, "a", {.command = "cat; echo $COLOUR $WELLSPRING_TOKEN; pwd; echo bad >&2; "
                                                   "cat /proc/self/cgroup > mine; exit 7"},
                           "given\n");
    EXPECT_EQ(o.output, str("given\nblue a\n", s.folder, "\n"));
    EXPECT_EQ(o.error, "bad\n");
    EXPECT_EQ(o.end.status, 7);
    EXPECT_EQ(o.end.reason, "");
    if (means == Means::cgroup2) {
      EXPECT_NE(read_file(s.folder + "/mine").find("wellspring-"), std::string::npos);
    }
    o = run_beside(bench, "a", {.command = "test -t 0 && stty size && exit 4", .terminal = true, .rows = 30, .columns = 90});
    EXPECT_EQ(o.output, "30 90\r\n");
    EXPECT_EQ(o.end.status, 4);
    EXPECT_EQ(run_beside(bench, "a", {.command = "kill -9 $$"}).end.status, 137);
    bench.executions->stop("a", 5, "");
    bench.wait("a");
  }
}

TEST(Beside, EndsWithTheAttempt) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    bench.executions->start(bench.spec("a", "read x < go"));
    bench.wait("a", Event::running);
    LaunchSpec s = bench.spec("a", "");
    ASSERT_TRUE(bench.until([&] { return exists(s.folder); }));
    bench.executions->start(bench.spec("b", "sleep 60"));
    bench.wait("b", Event::running);
    auto beside = bench.executions->beside("b", {.command = "echo $$; sleep 60 & exec sleep 60"});
    beside->start();
    std::string pid;
    ASSERT_TRUE(bench.until([&] {
      char buffer[64];
      ssize_t n = read(beside->output(), buffer, sizeof buffer);
      if (n > 0) pid.append(buffer, static_cast<size_t>(n));
      return ends_with(pid, "\n");
    }));
    const double begin = monotonic_seconds();
    bench.executions->stop("b", 20, "");
    Event e = bench.wait("b");
    EXPECT_LT(monotonic_seconds() - begin, 10) << "a command beside it kept the attempt";
    EXPECT_EQ(e.outcome, Ending::stopped);
    std::optional<Beside::End> end;
    ASSERT_TRUE(bench.until([&] { return (end = beside->ended()).has_value(); }));
    EXPECT_EQ(end->status, 137);
    bench.executions->stop("a", 1, "");
    bench.wait("a");
    // Its status is not the attempt's, and there is no way in any more.
    expect_error([&] { bench.executions->beside("b", {.command = "true"}); }, Fault::usage, "not running");
    expect_error([&] { bench.executions->beside("unknown", {.command = "true"}); }, Fault::usage, "not running");
  }
}

TEST(Beside, EndsWithItsClient) {
  Bench bench;
  bench.executions->start(bench.spec("a", "sleep 60"));
  bench.wait("a", Event::running);
  const std::string note = bench.runs + "/a/pid";
  {
    auto beside = bench.executions->beside("a", {.command = str("trap '' HUP; echo $$ > ", note, "; while :; do sleep 1; done")});
    beside->start();
    ASSERT_TRUE(bench.until([&] { return exists(note) && file_size(note) > 0; }));
  }
  const int64_t pid = parse_int(trim(read_file(note))).value_or(0);
  EXPECT_TRUE(bench.until([&] { return !alive(pid); }));  // SIGKILL after SIGHUP
  EXPECT_EQ(bench.executions->state("a")->phase, Phase::running);
  EXPECT_EQ(run_beside(bench, "a", {.command = "exit 9"}).end.status, 9);  // the way in stays
  EXPECT_EQ(list_directory(bench.folder.path() + "/spool").size(), 4u) << "a socket is left";
}

TEST(Beside, ReachesAttemptsOfAnEarlierDaemon) {
  Bench bench;
  bench.executions->start(bench.spec("a", "sleep 60"));
  bench.wait("a", Event::running);
  bench.executions = nullptr;
  bench.open();
  bench.wait("a", Event::running);
  EXPECT_EQ(run_beside(bench, "a", {.command = "exit 6"}).end.status, 6);
  // A record of that kind is none of the launcher's: the next daemon counts as before.
  bench.executions = nullptr;
  bench.events.clear();
  bench.open();
  bench.executions->stop("a", 5, "enough");
  EXPECT_EQ(bench.wait("a").reason, "enough");
}

TEST(Beside, TheNumberOfThemIsLimited) {
  Bench bench;
  bench.executions->start(bench.spec("a", "sleep 60"));
  bench.wait("a", Event::running);
  std::vector<std::unique_ptr<Beside>> all;
  std::optional<Beside::End> refused;
  for (int i = 0; i < 40; ++i) {
    all.push_back(bench.executions->beside("a", {.command = "sleep 60"}));
    all.back()->start();
  }
  EXPECT_TRUE(bench.until([&] { return (refused = all.back()->ended()).has_value(); }));
  EXPECT_EQ(refused->status, 126);
  EXPECT_NE(refused->reason.find("too many"), std::string::npos);
  expect_error([&] { bench.executions->beside("a", {.command = std::string(70'000, 'x')}); }, Fault::usage, "60 KB");
  expect_error([&] { bench.executions->beside("a", {.command = std::string("a\0b", 3)}); }, Fault::usage, "NUL");
  bench.executions->stop("a", 5, "");
  bench.wait("a");
}

}  // namespace
}  // namespace wellspring::cluster
