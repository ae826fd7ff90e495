#include "base/time.h"

#include <time.h>

#include <cerrno>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {

double read_clock(clockid_t clock) {
  timespec t{};
  ::clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

double monotonic_seconds() { return read_clock(CLOCK_MONOTONIC); }
double unix_seconds() { return read_clock(CLOCK_REALTIME); }
double cpu_seconds() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

std::string format_utc(double unix_time, bool milliseconds) {
  // The millisecond is rounded first, so that .9996 does not print as .1000.
  double ticks = milliseconds ? std::round(unix_time * 1e3) : std::floor(unix_time) * 1e3;
  auto seconds = static_cast<time_t>(std::floor(ticks / 1e3));
  int rest = static_cast<int>(ticks - static_cast<double>(seconds) * 1e3);
  tm t{};
  ::gmtime_r(&seconds, &t);
  char text[64];
  size_t n = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t);
  if (milliseconds)
    n += static_cast<size_t>(std::snprintf(text + n, sizeof text - n, ".%03d", rest));
  return std::string(text, n) + "Z";
}

std::string utc_now(bool milliseconds) { return format_utc(unix_seconds(), milliseconds); }

double parse_utc(const std::string& text) {
  tm t{};
  int length = 0;
  int fields = std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &t.tm_year, &t.tm_mon,
                           &t.tm_mday, &t.tm_hour, &t.tm_min, &t.tm_sec, &length);
  std::string rest = fields == 6 ? text.substr(static_cast<size_t>(length)) : "";
  double fraction = 0;
  if (rest.size() == 5 && rest[0] == '.' && rest[4] == 'Z') {
    auto value = parse_double("0" + rest.substr(0, 4));
    fraction = value ? *value : -1;
  } else if (rest != "Z") {
    fraction = -1;
  }
  t.tm_year -= 1900;
  t.tm_mon -= 1;
  time_t seconds = ::timegm(&t);
  double out = static_cast<double>(seconds) + fraction;
  // Written again it must be the same: that refuses month 13, 31 April, signs and spaces.
  if (fraction < 0 || format_utc(out, rest.size() == 5) != text)
    throw Error(Fault::data, str("'", text, "' is not a time like 2026-03-14T15:09:26Z"));
  return out;
}

void sleep_seconds(double seconds) {
  if (!(seconds > 0)) return;
  timespec t{};
  t.tv_sec = static_cast<time_t>(seconds);
  t.tv_nsec = static_cast<long>((seconds - std::floor(seconds)) * 1e9);
  while (::nanosleep(&t, &t) != 0 && errno == EINTR) {
  }
}

}  // namespace wellspring
