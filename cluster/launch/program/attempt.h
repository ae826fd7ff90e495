#pragma once
// One attempt from its specification to its end.

#include <poll.h>
#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "cluster/launch/program/log_writer.h"
#include "cluster/launch/program/spawn.h"
#include "cluster/launch/spec.h"

namespace wellspring::cluster::launch {

extern volatile sig_atomic_t child_ended;   // SIGCHLD came
extern volatile sig_atomic_t command_came;  // SIGUSR1 came

/// The cgroup that an idle launcher keeps for its next attempt.
struct KeptCgroup {
  std::string folder;
  int fd = -1, events = -1, procs = -1;
  std::string open(const std::string& path);  // makes it when it is another one
  void drop();                                // and removes the folder
};

class Attempt {
 public:
  /// `spool` is the attempt's file (locked; closed at the end), `socket` the daemon's ear.
  Attempt(Spec spec, int spool, int socket, KeptCgroup* kept);
  ~Attempt();
  /// Returns when no process of it is left and its end is written.
  void run();
  /// May this process serve another attempt?
  bool reusable() const { return !spoiled_; }

 private:
  struct Stream {
    int fd = -1;
    std::unique_ptr<LogWriter> log;
  };
  struct Running {
    int rank = 0;
    pid_t pid = -1;
    bool ended = false;
    int status = 0, signal = 0;
  };
  /// A command beside the tasks, and the daemon's end of it.
  struct Guest {
    int socket = -1;
    pid_t pid = -1;      // -1: not started, or taken
    double kill_at = 0;  // the client has gone: SIGKILL then
  };
  enum class Cause { none, asked, time_limit, failure };

  // attempt.cpp
  std::string set_up();
  std::string set_up_cgroups();
  std::string set_up_files();
  bool prepare();
  bool start_tasks();
  pid_t start(const std::vector<std::string>& argv, const std::vector<std::string>& env,
              const std::vector<int>& cores, const std::string& log, std::string* error,
              int* status);
  void settle_status();
  void tell_end();
  void record(Record key, const std::string& value);
  // attempt_wait.cpp
  void wait_some(double seconds);
  double patience(double seconds) const;
  void drain(Stream& stream);
  void reap();
  void took(pid_t pid, int wait_status, pid_t group);
  void read_commands();
  void begin_stop(Cause cause, double grace, const std::string& reason);
  void signal_groups(int signal);
  void enforce();
  void check_lease(double now);
  bool all_ended() const;
  bool others_left();
  void clear_container();
  // beside.cpp
  void meet_guest(const std::string& folder, const std::string& name);
  void hear_guest(Guest& guest);
  void start_guest(Guest& guest, const Beside& wanted, const int streams[3]);
  void tell_guest(Guest& guest, int status, const std::string& reason);
  void guests_ended(pid_t pid, int status);
  void end_guests(double now);
  void dismiss_guests();

  Spec spec_;
  int spool_, socket_;
  KeptCgroup* kept_;
  std::string cgroup2_;  // in use by this attempt
  std::vector<int> cgroup1_procs_;
  std::vector<Stream> streams_;
  std::vector<Guest> guests_;
  std::vector<pollfd> polled_;
  std::vector<Running> tasks_;
  Running setup_;
  bool spoiled_ = false, init_lives_ = false, go_ = false, launched_ = false, killed_ = false;
  int64_t command_offset_ = 0;
  uint32_t records_ = 0;
  int torn_leases_ = 0;
  Cause cause_ = Cause::none;
  double stop_deadline_ = 0, next_kill_ = 0, began_ = 0, lease_end_ = 0;
  std::string stop_reason_;
  int deciding_ = -1;  // index of the task that failed first
  End end_;
};

double monotonic_now();
double wall_now();

}  // namespace wellspring::cluster::launch
