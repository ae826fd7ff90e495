#include "base/process.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

ProcessOptions shell(const std::string& script) {
  ProcessOptions options;
  options.argv = {"sh", "-c", script};
  return options;
}

TEST(Process, CapturesOutputsAndStatus) {
  ProcessResult r = run_process(shell("echo out; echo err >&2; exit 3"));
  EXPECT_EQ(r.status, 3);
  EXPECT_EQ(r.output, "out\n");
  EXPECT_EQ(r.error, "err\n");
  EXPECT_FALSE(r.ok());
  ProcessOptions merged = shell("echo out; echo err >&2");
  merged.merge = true;
  EXPECT_EQ(run_process(merged).output, "out\nerr\n");
  EXPECT_EQ(run_process(shell("kill -9 $$")).signal, SIGKILL);
}

TEST(Process, EnvironmentFolderAndInput) {
  TemporaryFolder folder;
  ProcessOptions o = shell("pwd; echo $WS_X; echo ${HOME-none}; wc -c");
  o.folder = folder.path();
  o.environment = {{"WS_X", "a b"}, {"HOME", std::nullopt}};
  o.input = std::string(1000000, 'x');
  EXPECT_EQ(run_process(o).output, folder.path() + "\na b\nnone\n1000000\n");
  // A child that does not read its input does no harm.
  o.argv = {"true"};
  EXPECT_TRUE(run_process(o).ok());
}

TEST(Process, LimitAndTimeout) {
  ProcessOptions big = shell("yes | head -c 300000");
  big.output_limit = 1000;
  ProcessResult r = run_process(big);
  EXPECT_EQ(r.output.size(), 1000u);
  EXPECT_TRUE(r.cut);
  ProcessOptions slow = shell("sleep 30 & sleep 30");
  slow.timeout = 0.1;
  Stopwatch watch;
  r = run_process(slow);
  EXPECT_TRUE(r.timed_out);
  EXPECT_EQ(r.signal, SIGTERM);
  EXPECT_LT(watch.seconds(), 5);
}

TEST(Process, MissingProgram) {
  try {
    run_process({"wellspring-no-such-program"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::missing);
    EXPECT_STREQ(e.what(), "cannot run wellspring-no-such-program: No such file or directory");
  }
  ProcessOptions o = shell("true");
  o.folder = "/nowhere";
  EXPECT_THROW(run_process(o), Error);
}

TEST(Process, StartPollStop) {
  TemporaryFolder folder;
  ProcessOptions o = shell("echo begun; sleep 30 & wait");
  o.log_path = folder.path() + "/log";
  Process p = Process::start(o);
  EXPECT_FALSE(p.poll());
  Stopwatch watch;
  while (!exists(o.log_path) || read_file(o.log_path).empty()) {
    ASSERT_LT(watch.seconds(), 5);
    sleep_seconds(0.005);
  }
  EXPECT_EQ(p.stop(), 128 + SIGTERM);
  EXPECT_EQ(read_file(o.log_path), "begun\n");
  EXPECT_EQ(Process::start(shell("exit 4")).wait(5), 4);
  Process stubborn = Process::start(shell("trap '' TERM; sleep 30"));
  sleep_seconds(0.05);
  EXPECT_EQ(stubborn.stop(0.05), 128 + SIGKILL);
}

TEST(Process, DestroyedWithItsGroup) {
  TemporaryFolder folder;
  std::string file = folder.path() + "/pid";
  {
    Process p = Process::start(shell(str("sleep 30 & echo $! > ", file, "; wait")));
    Stopwatch watch;
    while (!exists(file) || file_size(file) == 0) {
      ASSERT_LT(watch.seconds(), 5);
      sleep_seconds(0.005);
    }
  }
  int64_t grandchild = parse_int(trim(read_file(file))).value();
  Stopwatch watch;
  // Ended, or a zombie that init has not collected yet.
  auto gone = [&] {
    std::string stat = str("/proc/", grandchild, "/stat");
    try {
      return read_file(stat).find(") Z") != std::string::npos;
    } catch (const Error&) {
      return true;
    }
  };
  while (!gone()) {
    ASSERT_LT(watch.seconds(), 5);
    sleep_seconds(0.005);
  }
}

}  // namespace
}  // namespace wellspring
