#pragma once
// For the sources beside it: what SlurmExecutor knows, and its two threads. One speaks with Slurm
// and may wait for it; the other watches the run folders, decides, and tells the controller.

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "cluster/slurm/account.h"
#include "cluster/slurm/executor.h"
#include "cluster/slurm/script.h"

namespace wellspring::cluster {

struct SlurmExecutor::Impl {
  /// An attempt that has not ended. Fields but the first three are under mutex_.
  struct Tracked {
    Launch launch;
    std::vector<SlurmComponent> components;  // empty: the launch's resources
    std::string folder;
    std::string output;  // of the script; known to the one who submitted

    std::string id;        // Slurm's number; empty: not submitted, as far as we know
    bool perhaps = false;  // it may have been submitted: to be looked up before it is again
    double next_try = 0;   // monotonic: not submitted before
    double submitted = 0;  // monotonic: when the id came to be known

    std::optional<SlurmJob> seen;
    double seen_at = 0;   // when that look began
    int missed = 0;       // looks in a row that did not find it
    double ended_at = 0;  // the look that first found it ended
    std::string nodes;    // that Slurm chose
    double waits_since = 0;

    bool stop = false, stop_written = false;
    double grace = 0, term_at = 0, kill_at = 0, cancel_at = 0;  // monotonic, when done; 0: not yet
    std::string stop_reason;

    bool running = false, told_running = false;
    double running_at = 0;  // monotonic: when its tasks were first seen to have begun
    SlurmStatus status;
    double status_at = 0;
    std::string told;  // as `outside`
  };
  using Item = std::shared_ptr<Tracked>;

  Impl(const SlurmOptions& options, const ChipTable& chips, Reports reports,
       std::function<std::string(const std::string&, const std::string&)> archive);
  ~Impl();

  bool add(const Launch& launch, std::vector<SlurmComponent> components, bool adopted);

  // executor_speak.cpp
  void speak();
  bool adopt();
  void submit_due();
  void submit(const std::vector<Item>& items);
  void look_up(std::vector<Item>& items);
  void write_files(const SlurmPlan& plan, const Launch& launch);
  std::string place_archive(const Launch& launch);
  std::vector<SlurmComponent> components_of(const Tracked& item);
  void stop_due();
  void look_at_jobs();
  void look_at_nodes();
  void reached();
  void not_reached(const std::string& why);
  void refuse(const std::vector<Item>& items, int status, const std::string& outcome,
              const std::string& why);
  void submitted(Tracked& item, const std::string& id);
  void tell_nodes(std::vector<Node> nodes);

  // executor_watch.cpp
  void watch();
  /// What is to be told of it now; true: it has ended.
  bool examine(Tracked& item, std::vector<Report>& reports);
  void read_files(Tracked& item);
  bool decide(Tracked& item, Report& end);

  const SlurmOptions options_;
  const ChipTable chips_;
  const Reports reports_;
  const std::function<std::string(const std::string&, const std::string&)> archive_;
  std::unique_ptr<SlurmTransport> transport_;  // of the speaking thread

  mutable std::mutex mutex_;
  std::condition_variable speak_wake_, watch_wake_;
  bool stopping_ = false, speak_due_ = false, watch_due_ = false;
  std::map<int64_t, Item> items_;  // by the attempt's serial
  std::string trouble_;
  std::vector<std::pair<std::string, std::string>>
      leftovers_;  // id, user: to be cancelled in Slurm

  // Of the speaking thread.
  bool adopted_ = false;
  int max_array_ = 0;
  double next_look_ = 0, next_nodes_ = 0, quiet_until_ = 0;
  std::vector<Node> nodes_;                     // as Slurm last listed them
  std::string nodes_told_;                      // their content, to see changes
  std::map<std::string, double> cpus_each_;     // by chip: CPUs of a device
  std::map<std::string, std::string> gres_of_;  // by chip: "gpu:a100"

  std::thread speaker_, watcher_;
};

}  // namespace wellspring::cluster
