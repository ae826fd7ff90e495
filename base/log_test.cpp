#include "base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/time.h"

namespace wellspring {
namespace {

TEST(Log, WritesWholeLinesAboveTheLevel) {
  TemporaryFolder folder;
  std::string path = folder.path() + "/log";
  int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
  LogLevel before = log_level();
  set_log_descriptor(fd);
  set_log_level(LogLevel::warning);
  log_info("serve", "not this");
  log_warning("serve", "line one\nline two ", 3);
  set_log_level(LogLevel::off);
  log_error("serve", "nor this");
  set_log_descriptor(STDERR_FILENO);
  set_log_level(before);
  ::close(fd);
  std::string text = read_file(path);
  EXPECT_EQ(text.substr(24), " warning [serve] line one | line two 3\n");
  EXPECT_NEAR(parse_utc(text.substr(0, 24)), unix_seconds(), 10);
}

TEST(Log, WarningsGoToTheHandler) {
  static std::string told;
  set_warning_handler(
      [](std::string_view part, std::string_view message) { told = str(part, ": ", message); });
  warn("sum", "resized");
  set_warning_handler(nullptr);
  EXPECT_EQ(told, "sum: resized");
}

}  // namespace
}  // namespace wellspring
