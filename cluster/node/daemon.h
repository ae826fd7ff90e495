#pragma once
// The node daemon: dials the controller, starts what it is told to, says what became of it.

#include <atomic>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/json_fwd.h"
#include "cluster/link/link.h"
#include "cluster/node/executions.h"
#include "cluster/node/options.h"

namespace wellspring::cluster {

/// Joins a cluster with an invitation: gets the node's own key, and pins the controller's CA. Writes
/// FOLDER/node.json (0600). Error(Fault::config) when the controller refuses.
void join_cluster(const NodeOptions& options, const std::string& invitation,
                  const std::string& ca_fingerprint);
/// Whether FOLDER/node.json is there.
bool has_joined(const NodeOptions& options);

/// One daemon on one folder. Everything that must outlive it lies there.
class NodeDaemon {
 public:
  explicit NodeDaemon(NodeOptions options);
  ~NodeDaemon();
  /// Works until `stop` says so (looked at ten times a second). Attempts go on afterwards.
  void run(const std::function<bool()>& stop);

 private:
  struct Attempt;
  void dial();
  void take(const Json& message);
  void start(const Json& message);
  void fetch(const Json& message, const std::string& user);
  void begin(const Json& message, const std::string& archive);
  void not_started(const std::string& token, const std::string& outcome, const std::string& reason);
  void not_started(const std::string& token, const std::exception& e);
  /// Whether the message stopped one whose archive is being fetched.
  bool stop_fetching(const std::string& token, const std::string& reason);
  /// The system user whose rights an attempt of a message has; "": our own. Error(Fault::config) where
  /// that would be root's.
  std::string user_of(const Json& message) const;
  void check_start(const Json& message) const;
  void send_events();
  void send_attempts();
  void beat();
  void opened(std::shared_ptr<Channel> channel, const Json& what);
  void serve_log(Channel& channel, const Json& what);
  void serve_forward(Channel& channel, const Json& what);
  void serve_exec(Channel& channel, const Json& what);
  /// Runs f between messages and waits for it; what it throws comes out.
  void on_own_thread(const std::function<void()>& f);
  void run_calls();
  void wake();
  void watch_services();
  void service_known(const std::string& token, bool ready);
  void help(const std::string& token, std::function<void()> f);
  void write_lease();
  void clean();
  double beat_pause() const;
  std::string service_note(const std::string& token) const;
  Json hello() const;
  void send(const Json& message);

  const NodeOptions options_;
  std::string key_, ca_;
  std::unique_ptr<Executions> executions_;
  int wake_ = -1, lease_ = -1;
  std::atomic<bool> stopping_{false};

  std::mutex mutex_;  // of what follows
  std::shared_ptr<Link> link_;
  std::vector<Json> inbox_;
  std::vector<std::shared_ptr<std::packaged_task<void()>>> calls_;
  std::map<std::string, std::unique_ptr<Attempt>> attempts_;  // not forgotten
  std::set<std::string> running_;                             // tokens whose tasks may still write
  std::thread dialler_, watcher_;
  std::map<std::string, int> busy_;  // helpers by token
  std::atomic<int> helpers_{0};      // threads that serve channels, fetch archives, ask services

  std::atomic<double> fence_after_{0};  // seconds; 0: the controller has not said it yet
  double lost_after_ = 0, lease_until_ = 0;  // seconds; the last monotonic
  std::vector<Json> untold_;  // events
  double told_ = 0;           // when the last ones were, monotonic
  std::atomic<double> keep_runs_{0};  // seconds; 0: run folders stay
  double next_clean_ = 0;
  double seen_ = 0;  // when we sent what the last lease answers
  double next_beat_ = 0;
};

/// What a message of the controller means on this node: folders, environment, limits.
LaunchSpec launch_spec(const Json& start, const NodeOptions& options, const std::string& archive);

}  // namespace wellspring::cluster
