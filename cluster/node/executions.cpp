#include "cluster/node/executions.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/launch/container.h"
#include "cluster/launch/fields.h"
#include "cluster/node/executions_impl.h"

namespace wellspring::cluster {
namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

[[noreturn]] void bad(const LaunchSpec& spec, const std::string& what) {
  throw Error(Fault::usage, str("attempt ", spec.token, ": ", what));
}

[[noreturn]] void system_failed(const std::string& what) {
  throw Error(Fault::io, str(what, ": ", strerror(errno)));
}

std::string beside_us(const std::string& name) {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  return join_path(parent_path(std::string_view(path, n > 0 ? static_cast<size_t>(n) : 0)), name);
}

/// Without links; "" when there is nothing.
std::string resolved_path(const std::string& path) {
  char out[PATH_MAX];
  return realpath(path.c_str(), out) == nullptr ? "" : out;
}

void add_missing(std::vector<std::string>* env, const std::string& name, const std::string& value) {
  for (const std::string& v : *env)
    if (v.size() > name.size() && v[name.size()] == '=' && starts_with(v, name)) return;
  env->push_back(str(name, "=", value));
}

std::vector<std::string> environment(const LaunchSpec& spec, const Variables& own,
                                     const Account& account, const std::string& secrets) {
  std::vector<std::string> env = {str("WELLSPRING_TOKEN=", spec.token)};
  if (!secrets.empty()) env.push_back(str("WELLSPRING_SECRETS=", secrets));
  for (const Variables* list : {&own, &spec.env})
    for (const auto& [name, value] : *list) add_missing(&env, name, value);
  add_missing(&env, "PATH", "/usr/local/bin:/usr/bin:/bin");
  add_missing(&env, "HOME", account.home);
  add_missing(&env, "USER", account.name);
  add_missing(&env, "LOGNAME", account.name);
  add_missing(&env, "SHELL", account.shell.empty() ? "/bin/sh" : account.shell);
  add_missing(&env, "LANG", "C.UTF-8");
  return env;
}

void check_variables(const LaunchSpec& spec, const Variables& list) {
  for (const auto& [name, value] : list)
    if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos ||
        value.find('\0') != std::string::npos)
      bad(spec, str("'", name, "' cannot be a variable of an environment"));
}

void check_path(const LaunchSpec& spec, std::string_view what, const std::string& path) {
  if (!launch::valid_path(path))
    bad(spec, str(what, " '", path, "' is not an absolute path without '..'"));
}

void check_cores(const LaunchSpec& spec, const std::vector<int>& cores) {
  for (int core : cores)
    if (core < 0 || core > 65536) bad(spec, str("there is no core ", core));
}

void check_numbers(const LaunchSpec& spec) {
  if (!(spec.grace >= 0 && spec.grace <= 1e9)) bad(spec, "grace has to be 0 to 1e9 seconds");
  if (!(spec.time_limit >= 0 && spec.time_limit <= 1e9))
    bad(spec, "time_limit has to be 0 to 1e9 seconds");
  if (spec.log_limit < 4096 || spec.log_limit > int64_t{1} << 50)
    bad(spec, "log_limit has to be 4 KB to 1 PB");
  if (spec.memory_mb < 0 || spec.memory_mb > int64_t{1} << 40)
    bad(spec, "memory_mb is out of range");
  check_cores(spec, spec.cores);
}

void check(const LaunchSpec& spec) {
  if (!launch::valid_token(spec.token))
    throw Error(Fault::usage, str("'", spec.token, "' cannot be a token"));
  if (spec.argv.empty() || spec.argv[0].empty()) bad(spec, "no program is named");
  for (const std::string& arg : spec.argv)
    if (arg.find('\0') != std::string::npos) bad(spec, "an argument holds a NUL");
  if (spec.prepare.find('\0') != std::string::npos) bad(spec, "the setup holds a NUL");
  if (spec.tasks.empty()) bad(spec, "it has no task");
  check_path(spec, "folder", spec.folder);
  check_path(spec, "attempt folder", spec.attempt_folder);
  for (const auto& [path, content] : spec.files) check_path(spec, "file", path);
  for (const auto& [name, content] : spec.secrets)
    if (!launch::valid_token(name)) bad(spec, str("'", name, "' cannot be the name of a secret"));
  for (const BindMount& mount : spec.mounts) {
    check_path(spec, "mount", mount.source);
    check_path(spec, "mount", mount.target);
  }
  check_variables(spec, spec.env);
  std::vector<int> ranks;
  for (const TaskLaunch& task : spec.tasks) {
    check_variables(spec, task.env);
    check_cores(spec, task.cores);
    if (task.rank < 0 || task.rank >= 1 << 24) bad(spec, str("there is no rank ", task.rank));
    ranks.push_back(task.rank);
  }
  std::sort(ranks.begin(), ranks.end());
  if (std::adjacent_find(ranks.begin(), ranks.end()) != ranks.end())
    bad(spec, "two tasks have one rank");
  check_numbers(spec);
}

/// The name of the folders of this spool's attempts: machines run several daemons.
std::string read_spool_id(const std::string& path) {
  if (exists(path)) {
    std::string id(trim(read_file(path)));
    if (id.size() == 8 && launch::valid_token(id)) return id;
    throw Error(Fault::config, str(path, " holds no name of a spool; this is another folder"));
  }
  uint32_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) system_failed("random numbers");
  char id[9];
  snprintf(id, sizeof id, "%08x", random);
  write_file_atomic(path, id);
  return id;
}

}  // namespace

std::string_view ending_name(Ending ending) {
  constexpr std::string_view names[] = {
      "exited", "stopped", "time_limit", "out_of_memory", "setup_failed", "not_started", "lost"};
  return names[static_cast<size_t>(ending)];
}

std::string_view phase_name(Phase phase) {
  constexpr std::string_view names[] = {"starting", "prepared", "running", "stopping", "ended"};
  return names[static_cast<size_t>(phase)];
}

Executions::Impl::Impl(const Options& options) : options_(options) {
  if (options_.launcher.empty()) options_.launcher = beside_us("wellspring-launch");
  if (access(options_.launcher.c_str(), X_OK) != 0)
    throw Error(Fault::missing, str(options_.launcher, ": ", strerror(errno),
                                    "; wellspring-launch is installed beside wellspring"));
  make_directories(options_.spool);
  if (chmod(options_.spool.c_str(), 0700) != 0) system_failed(options_.spool);
  std::string lock = join_path(options_.spool, "lock");
  lock_ = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) system_failed(lock);
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    close(lock_);
    throw Error(Fault::config, str(options_.spool, " is in use by another node daemon"));
  }
  for (const std::string& name : list_directory(options_.spool))  // of commands of a daemon before us
    if (starts_with(name, "exec-")) unlink(join_path(options_.spool, name).c_str());
  attempts_ = join_path(options_.spool, "attempts");
  make_directories(attempts_);
  spool_id_ = read_spool_id(join_path(options_.spool, "id"));
  used_ = std::make_unique<UsedTokens>(join_path(options_.spool, "used"));
  plan_ = choose_means(options_.means, spool_id_, options_.launcher);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  soon_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll_ < 0 || timer_ < 0 || soon_ < 0) system_failed("epoll");
  watch(timer_, 0);
  watch(soon_, 0);
  adopt();
}

Executions::Impl::~Impl() {
  for (auto& [id, launcher] : launchers_) close(launcher.socket);  // idle ones end
  for (uint32_t id : idle_) waitpid(launchers_[id].pid, nullptr, 0);
  for (auto& [token, attempt] : known_)
    if (attempt.pidfd >= 0) close(attempt.pidfd);
  plan_.remove();
  for (int fd : {lock_, epoll_, timer_, soon_})
    if (fd >= 0) close(fd);
}

launch::Spec Executions::Impl::resolve(const LaunchSpec& spec, const Account& account) const {
  launch::Spec out;
  out.container.token = spec.token;
  out.identity = account.identity;
  out.argv = spec.argv;
  out.folder = spec.folder;
  out.attempt_folder = spec.attempt_folder;
  out.files = spec.files;
  out.secrets = spec.secrets;
  if (!spec.secrets.empty())
    out.secrets_folder =
        // Everybody may list that folder: the token itself is not for everybody.
        join_path(options_.secrets,
                  str("wellspring-", spool_id_, "-", hex(sha256(spec.token)).substr(0, 24)));
  out.prepare = spec.prepare;
  out.prepare_env = environment(spec, {}, account, out.secrets_folder);
  for (const TaskLaunch& task : spec.tasks)
    out.tasks.push_back({task.rank, environment(spec, task.env, account, out.secrets_folder),
                         task.cores.empty() ? spec.cores : task.cores});
  for (const BindMount& mount : spec.mounts) {
    if (mount.source == mount.target && !mount.read_only) {  // there already; it has to be allowed, too
      out.binds.push_back({mount.source, mount.target, false, true});
      continue;
    }
    if (geteuid() != 0)
      bad(spec, str("mount ", mount.source, " at ", mount.target,
                    ": this node is not root and can ", "show a folder at its own place only"));
    out.binds.push_back({mount.source, mount.target, mount.read_only, false});
  }
  for (const std::vector<std::string>& list : spec.mounts_within) {
    std::vector<std::string>& folders = out.within.emplace_back();
    for (const std::string& folder : list)
      if (std::string path = resolved_path(folder); !path.empty()) folders.push_back(path);
  }
  // What the launcher itself goes by may not be covered by what a user chose.
  if (!out.binds.empty())
    for (const std::string& path : {str("/proc"), str("/sys"), str("/dev"), options_.spool, options_.secrets,
                                    spec.lease.empty() ? options_.spool : parent_path(spec.lease)})
      if (std::string at = resolved_path(path); !at.empty()) out.shielded.push_back(at);
  for (const auto& [controller, folder] : plan_.cgroup1) out.shielded.push_back(folder);
  if (!plan_.cgroup2.empty()) out.shielded.push_back(plan_.cgroup2);
  out.grace = spec.grace;
  out.time_limit = spec.time_limit;
  out.lease = spec.lease;
  out.log_limit = spec.log_limit;
  out.barrier = spec.barrier;
  static const bool protected_from_oom =
      trim(launch::read_small("/proc/self/oom_score_adj")) != "0";
  out.reset_oom_score = protected_from_oom;
  return out;
}

const Account& Executions::Impl::account_of(const std::string& user) {
  // Looking a user up reads files or asks a directory server: once in a few seconds is enough.
  double now = monotonic_seconds();
  if (now - accounts_since_ > 5) accounts_.clear();
  if (accounts_.empty()) accounts_since_ = now;
  auto found = accounts_.find(user);
  if (found == accounts_.end()) found = accounts_.emplace(user, find_account(user)).first;
  return found->second;
}

void Executions::Impl::start(const LaunchSpec& spec) {
  check(spec);
  if (used_->has(spec.token))
    bad(spec, "the token was used here before; it starts one attempt only");
  const Account& account = account_of(spec.user);
  const launch::Spec base = resolve(spec, account);
  launch::Spec resolved = base;
  plan_.apply(spec, "check",
              &resolved);  // a device that is not there shows before the token is spent
  used_->add(spec.token);
  std::string path = path_of(spec.token);
  int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) system_failed(path);
  KnownAttempt& attempt = known_[spec.token];
  attempt.header.user = account.name;
  attempt.header.identity = account.identity;
  attempt.header.attempt_folder = spec.attempt_folder;
  attempt.header.secrets_folder = resolved.secrets_folder;
  for (const TaskLaunch& task : spec.tasks) {
    attempt.header.ranks.push_back(task.rank);
    attempt.tasks.push_back({.rank = task.rank});
  }
  try {
    if (flock(file, LOCK_EX | LOCK_NB) != 0) system_failed(path);
    for (bool sent = false; !sent;) {
      if (idle_.empty()) {
        Launcher fresh = spawn_launcher(options_.launcher);
        fresh.id = next_id_++;
        fresh.slot = str("l", static_cast<int>(fresh.pid), "-", static_cast<unsigned>(fresh.id),
                         "-", static_cast<int>(getpid()));
        watch(fresh.socket, fresh.id);
        idle_.push_back(fresh.id);
        launchers_[fresh.id] = fresh;
      }
      Launcher& launcher = launchers_[idle_.back()];
      resolved = base;
      plan_.apply(spec, launcher.slot, &resolved);
      attempt.header.container = resolved.container;
      attempt.header.launcher = launcher.pid;
      std::string record;
      launch::put_field(record, static_cast<uint8_t>(launch::Record::header),
                        launch::format_header(attempt.header));
      if (write(file, record.data(), record.size()) != static_cast<ssize_t>(record.size()))
        system_failed(path);
      sent = send_spec(launcher, resolved, file);
      idle_.pop_back();
      if (!sent)
        continue;  // it died while it was idle: its end is handled when its socket tells it
      launcher.token = spec.token;
      attempt.launcher = launcher.id;
    }
  } catch (...) {
    close(file);
    unlink(path.c_str());
    known_.erase(spec.token);
    throw;
  }
  close(file);
  last_idle_use_ = monotonic_seconds();
}

void Executions::Impl::command(const std::string& token, launch::Record key,
                               const std::string& value) {
  auto found = known_.find(token);
  if (found == known_.end() || found->second.phase == Phase::ended) return;
  KnownAttempt& attempt = found->second;
  std::string path = path_of(token), record;
  launch::put_field(record, static_cast<uint8_t>(key), value);
  int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (file < 0) system_failed(path);
  ssize_t n = write(file, record.data(), record.size());
  int reason = errno;
  close(file);
  errno = reason;
  if (n != static_cast<ssize_t>(record.size())) system_failed(path);
  auto launcher = launchers_.find(attempt.launcher);
  if (launcher != launchers_.end()) {
    kill(launcher->second.pid, SIGUSR1);  // ours, and not reaped: the number is its own
  } else if (attempt.pidfd >= 0) {
    syscall(SYS_pidfd_send_signal, attempt.pidfd, SIGUSR1, nullptr, 0);
  }
  if (key == launch::Record::stop) attempt.phase = Phase::stopping;
}

Executions::Executions(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
Executions::~Executions() = default;

void Executions::start(const LaunchSpec& spec) { impl_->start(spec); }
void Executions::go(const std::string& token) { impl_->command(token, launch::Record::go, ""); }
void Executions::stop(const std::string& token, double grace, const std::string& reason) {
  impl_->command(
      token, launch::Record::stop,
      launch::join_parts({grace < 0 ? "-" : launch::write_seconds(std::min(grace, 1e9)), reason}));
}
std::unique_ptr<Beside> Executions::beside(const std::string& token, const CommandBeside& command) {
  auto found = impl_->known_.find(token);
  if (found == impl_->known_.end() || found->second.phase != Phase::running)
    throw Error(Fault::usage, "the job is not running here");
  if (command.command.size() > 60'000 || command.command.find('\0') != std::string::npos)
    throw Error(Fault::usage, "a command of at most 60 KB without a NUL");
  const std::string name = str("exec-", hex(random_bytes(8)));
  auto beside = std::make_unique<Beside>(impl_->options_.spool, name, command,
                                         found->second.header.identity.uid);
  impl_->command(token, launch::Record::exec, launch::join_parts({impl_->options_.spool, name}));
  return beside;
}
std::vector<Event> Executions::poll() { return impl_->poll(); }
int Executions::descriptor() const { return impl_->epoll_; }
const ContainInfo& Executions::containment() const { return impl_->plan_.info; }
bool Executions::switches_users() const { return geteuid() == 0; }
bool Executions::used(const std::string& token) const { return impl_->used_->has(token); }

std::optional<ExecutionState> Executions::state(const std::string& token) const {
  auto found = impl_->known_.find(token);
  if (found == impl_->known_.end()) return std::nullopt;
  const KnownAttempt& a = found->second;
  ExecutionState state = {token,
                          a.phase,
                          static_cast<int>(a.header.launcher),
                          a.header.attempt_folder,
                          a.header.user,
                          a.started,
                          a.tasks};
  for (TaskState& task : state.tasks)
    task.log_bytes = log_total(a.header.attempt_folder, a.header.identity, task.rank);
  return state;
}

std::vector<ExecutionState> Executions::list() const {
  std::vector<ExecutionState> all;
  for (const auto& [token, attempt] : impl_->known_) all.push_back(*state(token));
  return all;
}

LogPart Executions::read_log(const std::string& token, int rank, int64_t offset,
                             int64_t max) const {
  auto found = impl_->known_.find(token);
  if (found == impl_->known_.end())
    throw Error(Fault::usage, str("attempt ", token, " is not known on this node"));
  const launch::Header& header = found->second.header;
  return read_log_as(header.attempt_folder, header.identity, rank, offset, max);
}

void Executions::forget(const std::string& token) {
  auto found = impl_->known_.find(token);
  if (found == impl_->known_.end() || found->second.phase != Phase::ended) return;
  unlink(impl_->path_of(token).c_str());
  impl_->known_.erase(found);
}

}  // namespace wellspring::cluster
