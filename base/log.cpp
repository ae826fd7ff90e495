#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"
#include "base/time.h"

namespace wellspring {
namespace {

constexpr const char* kNames[] = {"debug", "info", "warning", "error", "off"};

std::atomic<int> g_descriptor{STDERR_FILENO};
std::atomic<void (*)(std::string_view, std::string_view)> g_handler{nullptr};

std::atomic<LogLevel>& level_slot() {
  static std::atomic<LogLevel> level = [] {
    const char* wanted = std::getenv("WELLSPRING_LOG");
    if (!wanted || !*wanted) return LogLevel::info;
    for (int i = 0; i < 5; ++i)
      if (std::string_view(wanted) == kNames[i]) return static_cast<LogLevel>(i);
    throw Error(Fault::usage,
                str("WELLSPRING_LOG='", wanted, "': want one of debug, info, warning, error, off"));
  }();
  return level;
}

}  // namespace

void set_log_level(LogLevel level) { level_slot().store(level, std::memory_order_relaxed); }
LogLevel log_level() { return level_slot().load(std::memory_order_relaxed); }
void set_log_descriptor(int fd) { g_descriptor.store(fd, std::memory_order_relaxed); }

void set_warning_handler(void (*handler)(std::string_view part, std::string_view message)) {
  g_handler.store(handler);
}
void warn(std::string_view part, std::string_view message) {
  if (const auto handler = g_handler.load())
    handler(part, message);
  else
    log_line(LogLevel::warning, part, message);
}

void log_line(LogLevel level, std::string_view part, std::string_view message) {
  if (level == LogLevel::off || !log_enabled(level)) return;
  std::string line = str(utc_now(true), " ", kNames[static_cast<int>(level)], " [", part, "] ");
  for (char c : message) {
    if (c == '\n')
      line += " | ";
    else if (c != '\r')
      line += c;
  }
  line += '\n';
  std::string_view rest = line;
  int fd = g_descriptor.load(std::memory_order_relaxed);
  while (!rest.empty()) {
    ssize_t n = ::write(fd, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a log that cannot be written must not stop the work
    rest.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace wellspring
