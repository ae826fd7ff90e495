#pragma once
// The one thread that changes the state. Commands that arrive while a batch is being written make
// the next batch; each batch is one transaction, and what a command does is acknowledged and takes
// effect outside only when it is on disk.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>

#include "cluster/state/store.h"
#include "cluster/state/transitions.h"

namespace wellspring::cluster {

/// Unix time that neither stands still nor goes back nor jumps when the system's clock is set: it
/// follows it by at most a tenth of the time that passes. Thread-safe.
class SteadyClock {
 public:
  SteadyClock();
  double now();

 private:
  std::mutex mutex_;
  double at_, value_;  // monotonic, unix
};

class Core {
 public:
  using Command = std::function<void(Change&)>;
  struct Options {
    policy::PolicyOptions policy;
    double keep = 90 * 86400.0;  // seconds that ended jobs stay
    double tick = 0.1;           // seconds between calls of Hooks::tick
  };
  struct Hooks {
    /// On the core's thread after a batch is on disk.
    std::function<void(const State&, const Effects&)> effects;
    /// On the core's thread, now and then: may post commands.
    std::function<void(const State&)> tick;
  };

  /// Loads the state. Nothing happens until start().
  Core(const std::string& url, Options options);
  ~Core();
  void start(Hooks hooks);
  /// Writes what was asked for, then ends the thread.
  void stop();

  /// Runs a command and waits until it is on disk. Throws what the command threw (it then left no
  /// trace), or Error(Fault::try_again) when the state cannot be written: nothing has happened then.
  void call(const Command& command);
  /// Does not wait; `done`, if given, is called on the core's thread with null or what went wrong.
  void post(Command command, std::function<void(std::exception_ptr)> done = {});
  /// Reads the state; what is seen may be on its way to the disk still.
  template <class F>
  auto read(F&& f) {
    std::shared_lock lock(state_mutex_);
    return f(static_cast<const State&>(state_));
  }

  double now() { return clock_.now(); }
  /// Asks for a round of scheduling.
  void wake();
  /// Names that change with each change of the state: for those who wait for one.
  uint64_t version() const { return version_; }
  /// Waits until version() is another one than `seen`, at most so many seconds.
  void wait_change(uint64_t seen, double seconds);
  /// Why the last batch could not be written; "" when it could.
  std::string trouble() const;
  struct Counters {
    std::atomic<int64_t> batches{0}, commands{0}, rounds{0};
    std::atomic<double> write_seconds{0}, round_seconds{0};
  };
  const Counters& counters() const { return counters_; }
  const std::string& store_name() const { return store_.name(); }

 private:
  struct Job {
    Command command;
    std::function<void(std::exception_ptr)> done;
    std::exception_ptr error;
    bool waited_for = false;  // somebody waits for it in call()
  };
  void add(Job job);
  void loop();
  void batch(std::deque<Job>& jobs, bool round, bool second);
  bool find_out(const std::string& why);
  void set_trouble(const std::string& trouble);

  Options options_;
  Store store_;
  State state_;
  std::shared_mutex state_mutex_;
  SteadyClock clock_;
  Hooks hooks_;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::condition_variable work_, changed_;
  std::deque<Job> queue_;
  bool stopping_ = false, wanted_ = true;
  std::string trouble_;
  std::atomic<uint64_t> version_{1};
  int waited_for_ = 0;  // of those in the queue
  double round_cost_ = 0, last_round_ = 0, last_batch_ = 0;
  Counters counters_;
};

}  // namespace wellspring::cluster
