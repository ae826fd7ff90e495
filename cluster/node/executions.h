#pragma once
// What runs on this machine: attempts, each started through wellspring-launch in a container that
// nothing escapes. The launchers outlive this object and its process: what they report lies in the
// spool folder, and the next Executions on that folder adopts them.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/node/beside.h"
#include "cluster/node/contain.h"

namespace wellspring::cluster {

/// One process that an attempt starts on this node.
struct TaskLaunch {
  int rank = 0;        // over all nodes; names the log: log.RANK.txt
  int local_rank = 0;  // on this node
  std::vector<std::pair<std::string, std::string>> env;  // beside LaunchSpec::env, and before it
  std::vector<int> cores;  // the task runs on these alone; empty: those of the attempt
};

/// `source` appears at `target` (both absolute, both exist) for this attempt alone.
struct BindMount {
  std::string source, target;
  bool read_only = false;
};

/// What to start. All paths are absolute.
struct LaunchSpec {
  std::string token;              // unique for ever; [A-Za-z0-9._-]{1,128}, no '.' in front
  std::vector<std::string> argv;  // argv[0] is searched in the task's PATH when it holds no '/'
  std::string folder;             // working directory, made by the user if absent
  std::string attempt_folder;     // logs go here; made by the user when the first thing is written
  /// Path and content, written (atomically) by the user before anything runs.
  std::vector<std::pair<std::string, std::string>> files;
  /// Name ([A-Za-z0-9._-]) and content: files of mode 0400 in memory, below $WELLSPRING_SECRETS;
  /// they never touch a disk, and are gone when the attempt has ended.
  std::vector<std::pair<std::string, std::string>> secrets;
  /// Every task starts with these, WELLSPRING_TOKEN, and PATH HOME USER LOGNAME SHELL LANG of its
  /// user where they are not given; nothing of the daemon's own environment.
  std::vector<std::pair<std::string, std::string>> env;
  std::string prepare;  // shell text that the user runs first (output: log.setup.txt); empty: none
  std::string user;     // a system user other than root; empty: the daemon's own
  std::vector<TaskLaunch> tasks;
  int64_t memory_mb = 0;   // of the attempt on this node; 0: no limit
  std::vector<int> cores;  // of the attempt; empty: all
  /// Beside the harmless ones (null, zero, random, terminals) only these device nodes may be
  /// opened, e.g. "/dev/nvidia0". Nullopt: all.
  std::optional<std::vector<std::string>> devices;
  std::vector<BindMount> mounts;  // needs root; without it only source == target, not read_only
  /// Where sources have to lie when all links are resolved: below one folder of each of these lists.
  std::vector<std::vector<std::string>> mounts_within;
  double grace = 30;              // seconds between SIGTERM and SIGKILL when no other are named
  int64_t log_limit = 64 << 20;   // bytes kept per rank: the head, and the tail up to its end
  bool barrier = false;           // tasks start only after go()
  double time_limit = 0;          // seconds from the start of the tasks (monotonic); 0: none
  /// A file "DEADLINE GRACE [PAUSE DEADLINE]" (monotonic seconds) that the caller keeps up to date: the
  /// attempt ends, with that grace or its own if shorter, when the deadline passes, whether the caller
  /// lives or not. It is read again when the deadline has come, or each PAUSE seconds. With the
  /// deadline repeated at its end it may be written in place. Empty: none.
  std::string lease;
};

/// Why an attempt ended.
enum class Ending {
  exited,         // all tasks ended by themselves, or one failed and the others were ended for it
  stopped,        // after stop(); the status is still the tasks' own (75: a checkpoint was written)
  time_limit,     // LaunchSpec::time_limit
  out_of_memory,  // the kernel killed a process of it for its memory limit
  setup_failed,   // `prepare` failed: status and reason are its own, no task has run
  not_started,    // folder, file, user, mount, program: `reason` says what; status 126 or 127
  lost            // the launcher was killed: status 137; the container has been cleared
};
std::string_view ending_name(Ending ending);  // "exited", ..., "lost"

/// CPU seconds of all processes; the largest resident set of one of them.
struct ProcessUsage {
  double cpu_seconds = 0;
  int64_t max_rss_bytes = 0;
};

struct Event {
  enum Kind {
    prepared,    // with a barrier alone: files, secrets and `prepare` are done, it waits for go()
    running,     // the tasks have been started (`started`)
    task_ended,  // `rank`, `status`, `signal`
    ended        // no process of the attempt is left
  };
  Kind kind = ended;
  std::string token;
  int rank = -1;   // task_ended: which; ended: the task that decided the status, or -1
  int status = 0;  // exit status; 128 + signal when a signal ended it
  int signal = 0;  // 0: it exited by itself
  Ending outcome = Ending::exited;  // of `ended`
  std::string reason;               // of `ended`, for people; "" after a plain success
  double started = 0;               // seconds since 1970, of running and ended; 0: no task has run
  double ended_at = 0;              // seconds since 1970
  double seconds = 0;  // from the start of the tasks to the end, by the monotonic clock
  ProcessUsage usage;  // of `ended`
};

enum class Phase { starting, prepared, running, stopping, ended };
std::string_view phase_name(Phase phase);

struct TaskState {
  int rank = 0;
  int pid = 0;  // 0: not started
  bool ended = false;
  int status = 0;
  int64_t log_bytes = 0;  // written so far, dropped ones included
};

struct ExecutionState {
  std::string token;
  Phase phase = Phase::starting;
  int launcher_pid = 0;
  std::string attempt_folder, user;
  double started = 0;  // seconds since 1970; 0: not yet
  std::vector<TaskState> tasks;
};

/// A part of a log. Offsets count the bytes that the task wrote, also those since dropped.
struct LogPart {
  std::string data;     // begins with the line "… N bytes dropped …" when `dropped` > 0
  int64_t next = 0;     // offset to ask for next
  int64_t total = 0;    // bytes written so far
  int64_t dropped = 0;  // bytes between the offset asked for and the first byte of `data`
};

/// The rank to ask for to read log.setup.txt.
constexpr int setup_rank = -1;

/// Not thread-safe: one thread owns it (read_log_in may be called by any).
class Executions {
 public:
  struct Options {
    std::string spool;          // made with mode 0700; on a local disk; one Executions at a time
    std::string launcher;       // empty: "wellspring-launch" beside the running program
    Means means = Means::best;  // or one of them, forced (Error when it does not work here)
    std::string secrets = "/dev/shm";  // a folder in memory (checked when a secret is given)
  };

  /// Adopts what the spool holds: attempts that still run, and ends that are not forgotten yet.
  /// Error: config (another process has the spool; the forced means does not work), missing (the
  /// launcher), io.
  explicit Executions(const Options& options);
  /// Leaves everything running.
  ~Executions();
  Executions(const Executions&) = delete;
  Executions& operator=(const Executions&) = delete;

  /// Starts an attempt and returns at once; what comes of it, failure included, comes as events.
  /// Error: usage (the token was ever used here, also before a restart; a name or path that cannot
  /// be), config (the user does not exist, is root, or cannot be switched to), io (the spool).
  void start(const LaunchSpec& spec);
  /// Lets the tasks of an attempt with a barrier start; may come before `prepared`. Unknown or
  /// ended tokens: nothing.
  void go(const std::string& token);
  /// SIGTERM to the tasks (their process groups), SIGKILL to everything after `grace` seconds (< 0:
  /// the attempt's own). May be repeated: a repetition can only shorten the time left. Unknown or
  /// ended tokens: nothing.
  void stop(const std::string& token, double grace, const std::string& reason);

  /// A command beside the tasks of a running attempt, to be started by Beside::start() (on another
  /// thread). It does not keep the attempt from ending, and ends with it. Error(Fault::usage) when the
  /// attempt does not run or the command is longer than 60 KB, (io).
  std::unique_ptr<Beside> beside(const std::string& token, const CommandBeside& command);

  /// Events since the last call, per attempt in their order. After a restart the last state of each
  /// attempt comes again (running, or prepared), and each `ended` until forget().
  std::vector<Event> poll();
  /// Readable (poll, epoll) when poll() has something to say or something to do.
  int descriptor() const;

  /// All attempts that are not forgotten.
  std::vector<ExecutionState> list() const;
  /// Of one attempt; nullopt: not known here, or forgotten.
  std::optional<ExecutionState> state(const std::string& token) const;
  /// Was the token ever started here?
  bool used(const std::string& token) const;

  /// At most `max` bytes of the log of a rank from `offset` on. An absent log is an empty one.
  /// Error (usage) for an unknown token, (io).
  LogPart read_log(const std::string& token, int rank, int64_t offset, int64_t max) const;
  /// The same for a forgotten attempt. Read with the rights of `user` (empty: ours): a link laid in
  /// the folder gives nothing that the user could not read. Thread-safe.
  static LogPart read_log_in(const std::string& attempt_folder, const std::string& user, int rank,
                             int64_t offset, int64_t max);

  /// The end is stored elsewhere: it is not repeated any more. Nothing for an attempt that runs.
  void forget(const std::string& token);

  /// Which means of containment is in use, what it limits, and why not a better one.
  const ContainInfo& containment() const;
  /// May attempts run as other users here (are we root)?
  bool switches_users() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wellspring::cluster
