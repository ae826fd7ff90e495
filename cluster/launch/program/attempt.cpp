#include "cluster/launch/program/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "cluster/launch/container.h"
#include "cluster/launch/fields.h"
#include "cluster/launch/program/space.h"
#include "cluster/launch/tree.h"

namespace wellspring::cluster::launch {
namespace {

// As in executions.h.
enum EndOutcome { exited, stopped, time_limit, out_of_memory, setup_failed, not_started, lost };

double seconds_of(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::string how_it_ended(int status, int signal) {
  if (signal == 0) return "ended with status " + std::to_string(status);
  return "was ended by signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
}

std::string because(const std::string& what) { return what + ": " + strerror(errno); }

int64_t count_of(const std::string& file, const char* word) {
  std::string text = read_small(file.c_str());
  size_t at = text.find(word);
  return at == std::string::npos ? 0 : strtoll(text.c_str() + at + strlen(word), nullptr, 10);
}

}  // namespace

double monotonic_now() { return seconds_of(CLOCK_MONOTONIC); }
double wall_now() { return seconds_of(CLOCK_REALTIME); }

std::string KeptCgroup::open(const std::string& path) {
  if (folder == path) return "";
  drop();
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return because(path);
  folder = path;
  fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  events = ::open((path + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC);
  procs = ::open((path + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
  if (fd >= 0 && events >= 0 && procs >= 0) return "";
  std::string error = because(path);
  drop();
  return error;
}

void KeptCgroup::drop() {
  if (folder.empty()) return;
  for (int* f : {&fd, &events, &procs}) {
    if (*f >= 0) close(*f);
    *f = -1;
  }
  Container c;
  c.cgroup2 = folder;
  container_remove(c);
  folder.clear();
}

Attempt::Attempt(Spec spec, int spool, int socket, KeptCgroup* kept)
    : spec_(std::move(spec)), spool_(spool), socket_(socket), kept_(kept) {
  child_ended = 0;
  command_came = 1;  // something may have been written before we came
}

Attempt::~Attempt() {
  for (Stream& s : streams_)
    if (s.fd >= 0) close(s.fd);
  for (int fd : cgroup1_procs_) close(fd);
  for (const Guest& g : guests_)
    if (g.socket >= 0) close(g.socket);
}

void Attempt::run() {
  read_commands();
  std::string error = set_up();
  if (!error.empty()) {
    end_ = {.outcome = not_started, .status = 126, .reason = error};
  } else if (prepare()) {
    if (spec_.barrier) record(Record::prepared, "");
    while (spec_.barrier && !go_ && cause_ == Cause::none) wait_some(3600);
    if (cause_ != Cause::none) {
      end_ = {
          .outcome = stopped, .status = 128 + SIGTERM, .signal = SIGTERM, .reason = stop_reason_};
    } else if (start_tasks()) {
      while (!all_ended()) wait_some(3600);
    }
  }
  clear_container();
  if (launched_) settle_status();
  tell_end();
}

std::string Attempt::set_up() {
  std::string error = set_up_cgroups();
  if (!error.empty()) return error;
  bool pids = spec_.container.kind == Kind::pid_namespace;
  if (pids || std::any_of(spec_.binds.begin(), spec_.binds.end(), [](const Bind& b) { return !b.in_place; })) {
    spoiled_ = true;
    error = enter_mount_namespace(spec_.user_namespace);
    if (!error.empty()) return error;
  }
  for (const Bind& bind : spec_.binds) {
    error = bind_mount(bind, spec_);
    if (!error.empty()) return error;
  }
  if (pids) {
    error = enter_pid_namespace([this](int64_t pid, int64_t start) {
      spec_.container.init = pid;
      spec_.container.init_start = start;
      init_lives_ = true;
      record(Record::init, join_parts({std::to_string(pid), std::to_string(start)}));
    });
    if (!error.empty()) return error;
  }
  return set_up_files();
}

std::string Attempt::set_up_cgroups() {
  if (!spec_.container.cgroup2.empty()) {
    std::string error = kept_->open(spec_.container.cgroup2);
    if (!error.empty()) return error;
    cgroup2_ = kept_->folder;
  }
  for (const std::string& folder : spec_.container.cgroup1)
    if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return because(folder);
  for (const auto& [file, value] : spec_.limits)
    if (!write_small(file.c_str(), value)) return because(file + " = " + value);
  for (const std::string& folder : spec_.container.cgroup1) {
    int fd = open((folder + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return because(folder + "/cgroup.procs");
    cgroup1_procs_.push_back(fd);
  }
  return "";
}

std::string Attempt::set_up_files() {
  AsUser as(spec_.identity);
  std::string error = make_folders(spec_.folder);
  for (size_t i = 0; error.empty() && i < spec_.files.size(); i++)
    error = write_file(spec_.files[i].first, spec_.files[i].second);
  if (error.empty() && !spec_.secrets.empty())
    error = write_secrets(spec_.secrets_folder, spec_.secrets);
  return error;
}

pid_t Attempt::start(const std::vector<std::string>& argv, const std::vector<std::string>& env,
                     const std::vector<int>& cores, const std::string& log, std::string* error,
                     int* status) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    *error = because("a pipe");
    *status = 126;
    return -1;
  }
  // Only our end does not block: the two have descriptions of their own.
  fcntl(ends[1], F_SETFL, O_WRONLY);
  SpawnRequest request;
  request.argv = &argv;
  request.env = &env;
  request.folder = &spec_.folder;
  request.identity = &spec_.identity;
  request.cores = &cores;
  request.input = 0;
  request.output = ends[1];
  if (!cgroup2_.empty()) {
    request.cgroup2 = kept_->fd;
    request.cgroup2_procs = kept_->procs;
  }
  request.cgroup1_procs = cgroup1_procs_;
  request.reset_oom_score = spec_.reset_oom_score;
  pid_t pid = spawn(request, error, status);
  close(ends[1]);
  streams_.push_back({ends[0], std::make_unique<LogWriter>(&spec_.identity, spec_.attempt_folder,
                                                           log, spec_.log_limit)});
  return pid;
}

bool Attempt::prepare() {
  if (spec_.prepare.empty() || cause_ != Cause::none) return true;
  std::string error;
  int status = 0;
  setup_.pid =
      start({"/bin/sh", "-c", spec_.prepare}, spec_.prepare_env, {}, "setup", &error, &status);
  if (setup_.pid < 0) {
    end_ = {.outcome = not_started, .status = status, .reason = error};
    return false;
  }
  while (!setup_.ended) wait_some(3600);
  if (cause_ != Cause::none) {
    end_ = {.outcome = stopped,
            .status = setup_.status != 0 ? setup_.status : 128 + SIGTERM,
            .signal = setup_.signal,
            .reason = stop_reason_};
    return false;
  }
  if (setup_.status == 0) return true;
  end_ = {
      .outcome = setup_failed,
      .status = setup_.status,
      .signal = setup_.signal,
      .reason = "the setup " + how_it_ended(setup_.status, setup_.signal) + "; see log.setup.txt"};
  return false;
}

bool Attempt::start_tasks() {
  std::string pids;
  end_.started = wall_now();
  began_ = monotonic_now();
  for (const Task& task : spec_.tasks) {
    std::string error;
    int status = 0;
    pid_t pid = start(spec_.argv, task.env, task.cores, std::to_string(task.rank), &error, &status);
    if (pid < 0) {
      end_ = {.outcome = not_started, .status = status, .rank = task.rank, .reason = error};
      return false;
    }
    tasks_.push_back({.rank = task.rank, .pid = pid});
    pids += '\0';
    pids += std::to_string(task.rank) + ":" + std::to_string(pid);
  }
  launched_ = true;
  record(Record::running, write_seconds(end_.started) + pids);
  return true;
}

void Attempt::settle_status() {
  const Running* which = deciding_ >= 0 ? &tasks_[static_cast<size_t>(deciding_)] : nullptr;
  for (const Running& t : tasks_)  // a checkpoint was written: that is what the attempt tells
    if (which == nullptr && t.status == 75) which = &t;
  for (const Running& t : tasks_)
    if (which == nullptr && t.status != 0) which = &t;
  if (which != nullptr) {
    end_.status = which->status;
    end_.signal = which->signal;
    end_.rank = which->rank;
  }
  end_.outcome = cause_ == Cause::asked        ? stopped
                 : cause_ == Cause::time_limit ? time_limit
                                               : exited;
  end_.reason = stop_reason_;
  if (end_.outcome == exited && which != nullptr)
    end_.reason =
        "task " + std::to_string(which->rank) + " " + how_it_ended(which->status, which->signal);
  if (end_.outcome == exited && end_.status != 0 && !spec_.memory_events.empty() &&
      count_of(spec_.memory_events, "oom_kill ") > 0) {
    end_.outcome = out_of_memory;
    end_.reason =
        "out of memory: a process was killed at the attempt's memory limit; " + end_.reason;
  }
}

void Attempt::tell_end() {
  for (int fd : cgroup1_procs_) close(fd);
  cgroup1_procs_.clear();
  Container removed = spec_.container;
  removed.cgroup2.clear();
  bool gone = container_remove(removed);
  // A cgroup that was killed once also kills what is born in it later (seen with Linux 6.18).
  if (!cgroup2_.empty() && (spoiled_ || killed_ || !spec_.limits.empty())) kept_->drop();
  if (!gone) spoiled_ = true;
  if (!spec_.secrets.empty()) {
    AsUser as(spec_.identity);
    remove_tree(spec_.secrets_folder);
  }
  end_.ended = wall_now();
  if (launched_) end_.seconds = monotonic_now() - began_;
  record(Record::ended, format_end(end_));
}

void Attempt::record(Record key, const std::string& value) {
  std::string bytes;
  put_field(bytes, static_cast<uint8_t>(key), value);
  bool last = key == Record::ended;
  // Told first: a full disk must not hide the end from a daemon that listens.
  std::string message;
  message += static_cast<char>(last && spoiled_ ? 1 : 0);
  put_field(message, 0, std::to_string(records_++));
  message += bytes;
  auto written = [&] {
    struct stat before;
    if (fstat(spool_, &before) != 0 || before.st_nlink == 0) return true;  // forgotten meanwhile
    ssize_t n = write(spool_, bytes.data(), bytes.size());
    if (n == static_cast<ssize_t>(bytes.size())) return true;
    if (n > 0 && ftruncate(spool_, before.st_size) != 0) return false;
    return false;
  };
  bool stored = written();
  if (last && stored) {
    close(spool_);
    spool_ = -1;
  }
  ssize_t sent =
      send(socket_, message.data(), message.size(), MSG_NOSIGNAL | (last ? 0 : MSG_DONTWAIT));
  if (sent < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)) spoiled_ = true;
  if (!last || stored) return;
  while (!written()) usleep(200000);
  close(spool_);
  spool_ = -1;
}

}  // namespace wellspring::cluster::launch
