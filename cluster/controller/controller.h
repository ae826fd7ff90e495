#pragma once
// The controller: state, queueing, executors and the HTTP API in one process.

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/http.h"
#include "cluster/controller/access.h"
#include "cluster/controller/archives.h"
#include "cluster/controller/core.h"
#include "cluster/controller/executor.h"
#include "cluster/controller/nodes.h"
#include "cluster/controller/notify.h"
#include "cluster/controller/options.h"
#include "cluster/controller/turns.h"
#include "perf/records.h"

namespace wellspring::cluster {

class Controller {
 public:
  /// Loads and checks the state (Error as Store) and binds the port; start() begins to work.
  explicit Controller(ControllerOptions options);
  ~Controller();
  void start();
  /// Lets requests end, writes what was asked for; attempts go on.
  void stop();

  int port() const { return server_->port(); }
  /// "http://127.0.0.1:8930"
  std::string url() const;
  bool secure() const { return secure_; }
  const ControllerOptions& options() const { return options_; }
  Core& core() { return *core_; }
  Nodes& nodes() { return *nodes_; }
  Access& access() { return *access_; }
  /// The executor of a name; null: there is none.
  Executor* executor(const std::string& name);

  // What the API does; from any thread.

  /// Checks a job against teams, queues, chips, mounts and quotas, and completes it: its chips'
  /// names, its team. ApiError 400 or 403.
  JobSpec checked(JobSpec spec, const Caller& caller);
  /// Invites a node: a token that lets in once, for `seconds`.
  std::string invite(double seconds, const std::string& note);
  /// A node joins: makes its row and gives its key. ApiError 401, 409.
  std::string join(const std::string& token, const std::string& name);
  /// What an attempt's run folder says: `what` is "progress" or "curve", `question` as in
  /// run_files.h; `user` its team's. Error when nobody who can see it can be asked.
  Json ask_run(const Attempt& attempt, const std::string& user, const char* what, Json question, double wait);
  /// A verified backup now; its path.
  std::string backup();
  std::string seal_secret(const std::string& team, const std::string& name,
                          const std::string& content) const;
  /// PEM of the CA; "" without TLS.
  const std::string& ca() const { return ca_; }
  Archives& archives() { return *archives_; }
  Turns& turns() { return turns_; }
  /// Requests refused without a valid token.
  std::atomic<int64_t> strangers{0};
  /// Prometheus' text form; of one team's figures beside those of all together.
  std::string metrics(const std::optional<std::string>& team);

 private:
  void effects(const State& state, const Effects& effects);
  Launch launch_of(const State& state, int64_t attempt) const;
  void tell_ended(const State& state, const std::vector<JobId>& jobs);
  void clean_archives();
  void tick(const State& state);
  void add_slurm(const SlurmOptions& options);
  void housekeeping();
  void find_unwritten(const std::map<int64_t, double>& ended);
  Record record_of(const State& state, const Attempt& attempt) const;
  void write_records();
  void keys();

  ControllerOptions options_;
  bool secure_ = false;
  std::string ca_, secrets_key_;
  double started_ = 0;  // monotonic
  std::unique_ptr<Core> core_;
  std::unique_ptr<Nodes> nodes_;
  std::map<std::string, std::unique_ptr<Executor>> others_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<Archives> archives_;
  Turns turns_{256};
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<Notifier> notifier_;
  std::thread keeper_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::atomic<double> last_backup_{0};
  std::unique_ptr<RecordStore> records_;
  std::vector<Record> unwritten_;  // of attempts that have ended; by mutex_
};

/// The routes under /api/v1 and the console's files.
void add_routes(Controller& controller, HttpServer& server);

}  // namespace wellspring::cluster
