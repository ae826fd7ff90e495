#pragma once
// Log lines for people who run a program: "2026-03-14T15:09:26.535Z warning [serve] message", to
// stderr. Each line is one write(2), so threads and processes do not mix within a line. All
// functions are thread-safe. (Own code: a logging library would cost more at start than it saves.)

#include <string_view>

#include "base/text.h"

namespace wellspring {

enum class LogLevel { debug, info, warning, error, off };

/// Lines below it are dropped. Default info, or WELLSPRING_LOG=debug|info|warning|error|off.
void set_log_level(LogLevel level);
LogLevel log_level();
inline bool log_enabled(LogLevel level) { return level >= log_level(); }

/// Writes one line; newlines in `message` become " | ". `part` names who speaks ("serve").
void log_line(LogLevel level, std::string_view part, std::string_view message);
/// Where lines go from now on: a file descriptor (default 2), which the caller keeps open.
void set_log_descriptor(int fd);

/// A caller did what is allowed but most likely not meant: a warning of `part`, or what the handler
/// makes of it (Python: a UserWarning, which may be raised as an exception).
void warn(std::string_view part, std::string_view message);
/// Null: log lines again.
void set_warning_handler(void (*handler)(std::string_view part, std::string_view message));

/// log_info("serve", "listening on port ", port);
template <class... Args>
void log_debug(std::string_view part, const Args&... args) {
  if (log_enabled(LogLevel::debug)) log_line(LogLevel::debug, part, str(args...));
}
template <class... Args>
void log_info(std::string_view part, const Args&... args) {
  if (log_enabled(LogLevel::info)) log_line(LogLevel::info, part, str(args...));
}
template <class... Args>
void log_warning(std::string_view part, const Args&... args) {
  if (log_enabled(LogLevel::warning)) log_line(LogLevel::warning, part, str(args...));
}
template <class... Args>
void log_error(std::string_view part, const Args&... args) {
  if (log_enabled(LogLevel::error)) log_line(LogLevel::error, part, str(args...));
}

}  // namespace wellspring
