#pragma once
// For the sources beside it: accounts, launchers, and the state behind Executions.

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cluster/launch/spec.h"
#include "cluster/node/contain_plan.h"
#include "cluster/node/executions.h"

namespace wellspring::cluster {

/// A system user as attempts need it.
struct Account {
  std::string name, home, shell;
  launch::Identity identity;  // uid < 0: the one that we are
};
/// Empty: our own. Error(Fault::config) when it does not exist, is root, or cannot be switched to.
Account find_account(const std::string& name);

int64_t log_total(const std::string& attempt_folder, const launch::Identity& identity, int rank);
LogPart read_log_as(const std::string& attempt_folder, const launch::Identity& identity, int rank,
                    int64_t offset, int64_t max);

/// The tokens that were ever started here: a file of hashes, appended to before each start.
class UsedTokens {
 public:
  explicit UsedTokens(const std::string& path);
  ~UsedTokens();
  UsedTokens(const UsedTokens&) = delete;
  bool has(const std::string& token) const;
  void add(const std::string& token);  // Error(Fault::io)

 private:
  std::string path_;
  int fd_ = -1;
  std::vector<uint64_t> old_;  // sorted, of earlier lives
  std::unordered_set<uint64_t> fresh_;
};

/// A launcher that this process started.
struct Launcher {
  uint32_t id = 0;
  pid_t pid = -1;
  int socket = -1;
  std::string slot;   // name of its cgroup folders
  std::string token;  // what it serves; empty: idle
  bool closing = false;
};

/// Starts one; Error(Fault::io, missing).
Launcher spawn_launcher(const std::string& program);
/// Hands an attempt over. False when the launcher has died.
bool send_spec(const Launcher& launcher, const launch::Spec& spec, int spool_file);

struct KnownAttempt {
  launch::Header header;
  Phase phase = Phase::starting;
  double started = 0;
  std::vector<TaskState> tasks;
  launch::End end;
  uint32_t records = 0;   // of the launcher, handled
  uint32_t launcher = 0;  // id; 0: adopted, or ended
  int pidfd = -1;         // adopted, and its launcher lives
  uint64_t pidfd_tag = 0;
};

struct Executions::Impl {
  explicit Impl(const Options& options);
  ~Impl();

  // executions.cpp
  void start(const LaunchSpec& spec);
  const Account& account_of(const std::string& user);
  launch::Spec resolve(const LaunchSpec& spec, const Account& account) const;
  void command(const std::string& token, launch::Record key, const std::string& value);
  void hand_over(KnownAttempt& attempt, launch::Spec& spec, int spool_file);
  std::string path_of(const std::string& token) const { return attempts_ + "/" + token; }
  // executions_poll.cpp
  std::vector<Event> poll();
  void adopt();
  void adopt_file(const std::string& token);
  void watch(int fd, uint64_t tag);
  void launcher_speaks(Launcher& launcher);
  void launcher_ended(uint32_t id);
  void heard(KnownAttempt& attempt, launch::Record key, std::string_view value);
  bool catch_up(KnownAttempt& attempt);
  void lose(KnownAttempt& attempt);
  void clear_lost();
  void trim_idle();
  void reap();
  void set_timer();
  void emit(Event event) { events_.push_back(std::move(event)); }

  Options options_;
  std::string attempts_, spool_id_;
  int lock_ = -1, epoll_ = -1, timer_ = -1, soon_ = -1;
  double timer_pause_ = 0;
  bool timer_due_ = false;
  std::map<std::string, Account> accounts_;
  double accounts_since_ = 0;
  ContainPlan plan_;
  std::unique_ptr<UsedTokens> used_;
  std::unordered_map<std::string, KnownAttempt> known_;
  std::unordered_map<uint32_t, Launcher> launchers_;
  std::vector<uint32_t> idle_;  // ids; the last one served last
  double last_idle_use_ = 0;
  uint32_t next_id_ = 1;
  std::unordered_map<uint64_t, std::string> pidfds_;  // tag, token
  std::vector<std::string> lost_;                     // tokens whose containers are being cleared
  std::vector<pid_t> dying_;                          // launchers to reap
  std::deque<Event> events_;
};

}  // namespace wellspring::cluster
