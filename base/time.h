#pragma once
// Clocks and dates. All functions are thread-safe.

#include <cstdint>
#include <string>

namespace wellspring {

/// Seconds of a clock that never goes back, from an arbitrary start: for durations.
double monotonic_seconds();
/// Seconds since 1970-01-01 UTC.
double unix_seconds();
/// CPU seconds that this process has used, all threads together.
double cpu_seconds();
/// "2026-03-14T15:09:26Z"; with `milliseconds` "2026-03-14T15:09:26.535Z".
std::string format_utc(double unix_time, bool milliseconds = false);
/// format_utc of now.
std::string utc_now(bool milliseconds = false);
/// Seconds since 1970 of what format_utc wrote. Error(Fault::data) for anything else.
double parse_utc(const std::string& text);
/// Sleeps at least so long (negative: not at all).
void sleep_seconds(double seconds);

/// Seconds since it was made or last restarted.
class Stopwatch {
 public:
  Stopwatch() : start_(monotonic_seconds()) {}
  double seconds() const { return monotonic_seconds() - start_; }
  void restart() { start_ = monotonic_seconds(); }

 private:
  double start_;
};

}  // namespace wellspring
