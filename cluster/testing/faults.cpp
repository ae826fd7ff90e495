// Loaded into the program under test (LD_PRELOAD): ends it at a fault point, as a crash would.
// WELLSPRING_FAULT=N or NAME: SIGKILL at the Nth fault point, or at the first of that name.
// WELLSPRING_FAULT_LOG=FILE: a line for each.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/fault_point.h"

namespace {

std::atomic<long> passed{0};
long fatal = 0;
const char* fatal_name = "";
int log_fd = -1;

void at_fault_point(const char* place) {
  const long n = ++passed;
  if (log_fd >= 0) {
    const std::string line = std::to_string(n) + " " + place + "\n";
    if (::write(log_fd, line.data(), line.size()) < 0) std::abort();
  }
  if (n == fatal || std::strcmp(place, fatal_name) == 0) ::raise(SIGKILL);
}

[[gnu::constructor]] void install() {
  const char* wanted = std::getenv("WELLSPRING_FAULT");
  const char* log = std::getenv("WELLSPRING_FAULT_LOG");
  if (wanted) fatal = std::atol(wanted), fatal_name = wanted;
  if (log) log_fd = ::open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (wanted || log) wellspring::set_fault_hook(at_fault_point);
}

}  // namespace
