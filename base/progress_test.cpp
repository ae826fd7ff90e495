#include "base/progress.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "base/text.h"

namespace wellspring {
namespace {

TEST(Progress, PlainLinesWhenNotATerminal) {
  testing::internal::CaptureStderr();
  Progress p("read", 1000, "files");
  for (int i = 0; i <= 1000; ++i) p.update(i);
  p.finish("done well");
  std::string out = testing::internal::GetCapturedStderr();
  if (isatty(STDERR_FILENO)) GTEST_SKIP();
  EXPECT_EQ(out.rfind("read: 1k files in ", 0), 0u) << out;
  EXPECT_TRUE(ends_with(out, ", done well\n"));
  EXPECT_EQ(out.find('\r'), std::string::npos);
}

TEST(Progress, ResumedWorkCountsItsOwnPartInTheEnd) {
  testing::internal::CaptureStderr();
  Progress p("train", 0, "steps", 400);
  p.set_total(1000);
  p.message("half way");
  p.update(1000);
  p.finish();
  std::string out = testing::internal::GetCapturedStderr();
  if (isatty(STDERR_FILENO)) GTEST_SKIP();
  EXPECT_EQ(out.rfind("half way\ntrain: 600 steps in ", 0), 0u) << out;
}

TEST(Progress, TableDropsWhatSaysNothingBeforeItCuts) {
  Table table({"job", "team", "user", "why"});
  table.row({"1", "default", "ada", "waits for 4"});
  table.row({"2", "default", "bob", "waits for 2"});
  table.may_drop({1, 2});
  EXPECT_NE(table.text(0).find("default"), std::string::npos);
  EXPECT_EQ(table.text(25), "job  user  why\n---  ----  -----------\n  1  ada   waits for 4\n  2  bob   waits for 2\n");
  EXPECT_NE(table.text(40).find("default"), std::string::npos);
}

TEST(Progress, TableAlignsWideText) {
  Table table({"name", "size", "note"});
  table.row({"中文", "12.5 MB", "a"});
  table.row({"abc", "3", ""});
  EXPECT_EQ(table.text(),
            "name     size  note\n"
            "----  -------  ----\n"
            "中文  12.5 MB  a\n"
            "abc         3\n");
  EXPECT_EQ(
      table.markdown(),
      "| name | size | note |\n| --- | --- | --- |\n| 中文 | 12.5 MB | a |\n| abc | 3 |  |\n");
}

TEST(Progress, Widths) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("中文，！"), 8);
  EXPECT_EQ(display_width("e\xCC\x81"), 1);  // e and a combining accent
  EXPECT_EQ(cut_to_width("中文中文", 6), "中文…");
  EXPECT_EQ(cut_to_width("abc", 3), "abc");
}

TEST(Progress, StopSignals) {
  pid_t child = fork();
  if (child == 0) {
    install_stop_signals();
    if (stop_requested() != 0) _exit(1);
    raise(SIGTERM);
    if (stop_requested() != SIGTERM) _exit(2);
    raise(SIGINT);
    if (stop_requested() != SIGINT) _exit(3);
    raise(SIGINT);
    _exit(4);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 130);
}

}  // namespace
}  // namespace wellspring
