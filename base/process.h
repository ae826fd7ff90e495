#pragma once
// Child processes: run one to its end with captured output, or start one and watch it. A child
// leads a process group of its own, so that ending it ends what it started.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace wellspring {

/// What to run.
struct ProcessOptions {
  std::vector<std::string> argv;  // argv[0] is searched in PATH when it holds no '/'
  /// Added to this process's environment, or taken out of it (value nullopt).
  std::vector<std::pair<std::string, std::optional<std::string>>> environment;
  std::string folder;  // working directory; empty: ours
  std::string input;   // what the child reads on stdin (run_process only)
  /// Bytes kept of each output; the rest is read and dropped, and `cut` says so.
  int64_t output_limit = 64 << 20;
  double timeout = 0;    // seconds until the group gets SIGTERM (SIGKILL 2 s later); 0: none
  bool merge = false;    // stderr goes into stdout
  std::string log_path;  // start(): both outputs are appended to this file; empty: /dev/null
};

struct ProcessResult {
  int status = 0;  // exit status; 128 + signal when a signal ended it
  int signal = 0;  // 0 when it exited by itself
  bool timed_out = false;
  bool cut = false;  // output beyond output_limit was dropped
  std::string output, error;
  double seconds = 0;
  bool ok() const { return status == 0; }
};

/// Runs a child to its end. Error(Fault::missing) when the program does not exist or may not be
/// run, Error(Fault::io) when the system refuses. Does not judge the exit status. Thread-safe.
ProcessResult run_process(const ProcessOptions& options);
ProcessResult run_process(const std::vector<std::string>& argv);

/// A child that runs beside us. Movable. Destroying it while it runs kills the group.
class Process {
 public:
  /// Errors as run_process. stdin is /dev/null.
  static Process start(const ProcessOptions& options);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  /// Nullopt while it runs; afterwards the exit status (128 + signal).
  std::optional<int> poll();
  /// Waits at most `timeout` seconds (< 0: for ever).
  std::optional<int> wait(double timeout = -1);
  /// Sends `signal` to the whole group; nothing when it has ended.
  void kill(int signal);
  /// SIGTERM, then SIGKILL after `grace` seconds; returns the exit status.
  int stop(double grace = 5);
  /// Leaves it running on its own.
  void detach();

 private:
  explicit Process(pid_t pid) : pid_(pid) {}
  pid_t pid_ = -1;
  bool owned_ = true;
  std::optional<int> status_;
};

}  // namespace wellspring
