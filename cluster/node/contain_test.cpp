// Nothing escapes, by each means; and what limits hold.
#include "cluster/node/contain.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "cluster/node/test_executions.h"

namespace wellspring::cluster {
namespace {

/// Leaves the session and its parents, as a daemon does, then writes its number (as seen outside)
/// into $PIDS: PID namespaces number their own, so it also sleeps for a time that can be looked
/// for.
const char* escapee =
    "perl -e 'use POSIX; exit if fork; POSIX::setsid(); exit if fork; %ENV = () if $ARGV[0]; "
    "open F, \">>\", $ARGV[1]; print F \"$$\\n\"; close F; sleep 60' ";

std::vector<int64_t> processes_named(const std::string& word) {
  std::vector<int64_t> found;
  for (const std::string& name : list_directory("/proc")) {
    auto pid = parse_int(name);
    if (!pid || *pid == getpid()) continue;
    try {
      if (read_file("/proc/" + name + "/cmdline").find(word) != std::string::npos && alive(*pid))
        found.push_back(*pid);
    } catch (const Error&) {
    }
  }
  return found;
}

TEST(Contain, NothingEscapes) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    EXPECT_EQ(bench.executions->containment().means, means);
    std::string mark = bench.runs + "/pids";
    for (const char* clean : {"0", "1"}) {  // with a clean environment, too
      LaunchSpec s =
          bench.spec(str("e", clean), str(escapee, clean, " ", mark, clean, "; while [ ! -s ", mark,
                                          clean, " ]; do sleep 0.01; done; echo gone"));
      Event e = bench.run(s);
      EXPECT_EQ(e.status, 0) << e.reason;
      EXPECT_EQ(bench.log(s.token), "gone\n");
      EXPECT_TRUE(exists(mark + clean));
      EXPECT_TRUE(processes_named(mark + clean).empty()) << "left when the end was told";
    }
    // And when it is stopped: the escapee does not hear SIGTERM, and holds the end until the grace
    // is over.
    LaunchSpec s = bench.spec("stopped", str(escapee, "0 ", mark, "s; echo on; exec sleep 60"));
    bench.executions->start(s);
    ASSERT_TRUE(bench.until([&] { return bench.log("stopped") == "on\n" && exists(mark + "s"); }));
    bench.executions->stop("stopped", 0.2, "cancelled");
    bench.wait("stopped");
    EXPECT_TRUE(processes_named(mark + "s").empty());
  }
}

TEST(Contain, ForkBombEnds) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    std::string mark = bench.runs + "/bomb";
    // Each process starts another and dies: the numbers change faster than a list is read.
    LaunchSpec s = bench.spec(
        "bomb", str("perl -e 'for (1..4) { last unless fork } while (1) { select(undef, undef, "
                    "undef, 0.002); exit if fork; }' ",
                    mark, " & sleep 0.2"));
    Event e = bench.run(s);
    EXPECT_EQ(e.status, 0);
    EXPECT_TRUE(processes_named(mark).empty());
  }
}

TEST(Contain, NoFoldersAreLeft) {
  std::vector<std::string> made;
  for (Means means : working_means()) {
    Bench bench(means);
    LaunchSpec s = bench.spec("a", "cat /proc/self/cgroup");
    s.memory_mb = 200;
    s.cores = {0};
    s.devices = std::vector<std::string>();
    EXPECT_EQ(bench.run(s).status, 0);
    std::string id = read_file(bench.folder.path() + "/spool/id"), log = bench.log("a");
    if (means == Means::cgroup2 || means == Means::cgroup1) {
      EXPECT_NE(log.find("wellspring-" + id), std::string::npos) << log;
    }
    bench.executions.reset();
    for (const std::string& folder : list_directory("/sys/fs/cgroup")) {
      std::string top = "/sys/fs/cgroup/" + folder;
      EXPECT_FALSE(exists(top + "/wellspring-" + id)) << top;
    }
  }
}

TEST(Contain, MemoryLimit) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    if (!bench.executions->containment().limits_memory)
      GTEST_SKIP() << bench.executions->containment().limits;
    LaunchSpec s = bench.spec("big", "exec perl -e '$x = \"a\" x (200 << 20); print length $x'");
    s.memory_mb = 64;
    Event e = bench.run(s);
    EXPECT_EQ(e.outcome, Ending::out_of_memory) << e.reason;
    EXPECT_EQ(e.status, 137);
    EXPECT_NE(e.reason.find("memory"), std::string::npos) << e.reason;
    s = bench.spec("small", "exec perl -e '$x = \"a\" x (10 << 20); print length $x'");
    s.memory_mb = 64;
    EXPECT_EQ(bench.run(s).status, 0);
    // The launcher serves on, without the limit.
    EXPECT_EQ(
        bench.run(bench.spec("free", "exec perl -e '$x = \"a\" x (100 << 20); print length $x'"))
            .status,
        0);
  }
}

TEST(Contain, CoresAndDevices) {
  Bench bench;
  const ContainInfo& info = bench.executions->containment();
  LaunchSpec s =
      bench.spec("limits",
                 "grep Cpus_allowed_list /proc/self/status; taskset -pc 0,1 $$ >/dev/null 2>&1; "
                 "grep Cpus_allowed_list /proc/self/status; head -c 1 /dev/zero | wc -c; "
                 "if head -c 0 /dev/kmsg 2>&1; then echo open; fi");
  s.cores = {0};
  s.devices = std::vector<std::string>{"/dev/full"};
  ASSERT_EQ(bench.run(s).status, 0);
  std::string log = bench.log("limits");
  EXPECT_TRUE(starts_with(log, "Cpus_allowed_list:\t0\n")) << log;
  if (info.limits_cores) {
    EXPECT_NE(log.find("Cpus_allowed_list:\t0\nCpus_allowed_list:\t0\n"), std::string::npos) << log;
  }
  EXPECT_NE(log.find("\n1\n"), std::string::npos) << log;
  if (info.limits_devices && geteuid() == 0) {
    EXPECT_NE(log.find("Operation not permitted"), std::string::npos) << log;
  }
  LaunchSpec bad = bench.spec("bad", "true");
  bad.devices = std::vector<std::string>{"/dev/no-such-device"};
  if (info.limits_devices)
    expect_error([&] { bench.executions->start(bad); }, Fault::config, "no-such-device");
}

TEST(Contain, Names) {
  for (Means means :
       {Means::best, Means::cgroup2, Means::cgroup1, Means::pid_namespace, Means::subreaper})
    EXPECT_EQ(parse_means(means_name(means)), means);
  expect_error([] { parse_means("jail"); }, Fault::config, "jail");
}

TEST(Contain, SaysWhyNotABetterOne) {
  Bench bench;
  const ContainInfo& info = bench.executions->containment();
  EXPECT_EQ(info.passed_over.size(), static_cast<size_t>(info.means) - 1);
  EXPECT_NE(info.limits.find("memory"), std::string::npos);
}

TEST(Contain, Mounts) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    make_directories(bench.runs + "/source");
    make_directories(bench.runs + "/target");
    write_file_atomic(bench.runs + "/source/data", "mounted\n");
    LaunchSpec s =
        bench.spec("m", "cat $T/data; if touch $T/x 2>/dev/null; then echo writable; fi");
    s.env = {{"T", bench.runs + "/target"}};
    s.mounts = {{bench.runs + "/source", bench.runs + "/target", true}};
    ASSERT_EQ(bench.run(s).status, 0) << bench.events["m"].back().reason;
    EXPECT_EQ(bench.log("m"), "mounted\n");
    EXPECT_FALSE(exists(bench.runs + "/target/data"));
    s.token = "n";
    s.mounts[0].source += "/absent";
    Event e = bench.run(s);
    EXPECT_EQ(e.outcome, Ending::not_started);
    EXPECT_NE(e.reason.find("absent"), std::string::npos) << e.reason;
  }
}

}  // namespace
}  // namespace wellspring::cluster
