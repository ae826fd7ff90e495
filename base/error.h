#pragma once
// Errors by whose fault they are.
//   wrong input of a user  -> throw Error(tag, "what, where, and what to do")
//   our own bug            -> WS_CHECK(condition, "what was expected")
// Nothing below cli/ calls exit().

#include <sysexits.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace wellspring {

/// What kind of fault an Error is. Each has one exit status of the program (sysexits.h).
enum class Fault {
  usage = EX_USAGE,          // 64: a command line or a call that makes no sense (shapes, dtypes)
  data = EX_DATAERR,         // 65: a file or request whose content is wrong
  missing = EX_UNAVAILABLE,  // 69: a component that is not installed or not present
  internal = EX_SOFTWARE,    // 70: a bug of ours
  io = EX_IOERR,             // 74: reading or writing failed
  try_again = EX_TEMPFAIL,   // 75: stopped on purpose, can go on later
  config = EX_CONFIG         // 78: a configuration that cannot work
};

/// The one exception type of Wellspring. `what()` names the place (file, field, line or shapes) and
/// says what to do; it is shown to users as it stands, after "error: ".
class Error : public std::runtime_error {
 public:
  Error(Fault fault, const std::string& message) : std::runtime_error(message), fault_(fault) {}
  Fault fault() const { return fault_; }
  /// Exit status of a program that ends with this error.
  int exit_status() const { return static_cast<int>(fault_); }

 private:
  Fault fault_;
};

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message);

}  // namespace wellspring

/// Throws Error(Fault::internal) with file and line: only for bugs of ours, never for user input.
#define WS_CHECK(condition, message)                                         \
  do {                                                                       \
    if (!(condition)) [[unlikely]]                                           \
      ::wellspring::check_failed(__FILE__, __LINE__, #condition, (message)); \
  } while (0)
