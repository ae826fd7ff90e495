// What launchers tell, their ends, and what an earlier daemon left behind.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/launch/container.h"
#include "cluster/launch/fields.h"
#include "cluster/launch/tree.h"
#include "cluster/node/executions_impl.h"

namespace wellspring::cluster {
namespace {

constexpr size_t idle_most = 128;    // launchers kept for the next attempts
constexpr double idle_seconds = 20;  // after the last start
constexpr uint64_t pidfd_bit = uint64_t{1} << 40;

Event event_of(Event::Kind kind, const KnownAttempt& attempt) {
  Event e;
  e.kind = kind;
  e.token = attempt.header.container.token;
  e.started = attempt.started;
  return e;
}

Event ended_event(const KnownAttempt& attempt) {
  const launch::End& end = attempt.end;
  Event e = event_of(Event::ended, attempt);
  e.rank = end.rank;
  e.status = end.status;
  e.signal = end.signal;
  e.outcome = static_cast<Ending>(std::clamp(end.outcome, 0, static_cast<int>(Ending::lost)));
  e.reason = end.reason;
  e.started = end.started;
  e.ended_at = end.ended;
  e.seconds = end.seconds;
  e.usage = {end.cpu_seconds, end.max_rss};
  return e;
}

/// Is the file's lock free, that is, has its launcher gone?
bool unlocked(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;
  bool free = flock(fd, LOCK_SH | LOCK_NB) == 0;
  close(fd);
  return free;
}

}  // namespace

void Executions::Impl::watch(int fd, uint64_t tag) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0)
    throw Error(Fault::io, str("watching a launcher: ", strerror(errno)));
}

void Executions::Impl::adopt() {
  std::vector<std::string> slots;
  for (const std::string& token : list_directory(attempts_)) {
    if (launch::valid_token(token)) adopt_file(token);
    auto found = known_.find(token);
    if (found == known_.end() || found->second.phase == Phase::ended) continue;
    const launch::Container& c = found->second.header.container;
    for (const std::string& folder : c.cgroup1) slots.push_back(base_name(folder));
    if (!c.cgroup2.empty()) slots.push_back(base_name(c.cgroup2));
  }
  plan_.sweep(slots);
  set_timer();
  uint64_t one = 1;  // what adoption found waits to be fetched: wakes the caller
  if (!events_.empty() && write(soon_, &one, sizeof one) < 0)
    throw Error(Fault::io, str("eventfd: ", strerror(errno)));
}

void Executions::Impl::adopt_file(const std::string& token) {
  std::string path = path_of(token);
  // The lock first: what a launcher wrote before it let go is then read below.
  bool gone = unlocked(path);
  KnownAttempt& attempt = known_[token];
  attempt.header.container.token = token;
  catch_up(attempt);
  if (attempt.header.attempt_folder.empty()) {  // the daemon died before the first record was whole
    unlink(path.c_str());
    known_.erase(token);
    return;
  }
  if (attempt.phase == Phase::ended) {
    unlocked(path);
    return;
  }
  if (!gone) {
    attempt.pidfd = static_cast<int>(syscall(SYS_pidfd_open, attempt.header.launcher, 0));
    // Still locked: the process that we hold now is the launcher and no later one of its number.
    gone = unlocked(path) || attempt.pidfd < 0;
    if (gone && attempt.pidfd >= 0) {
      close(attempt.pidfd);
      attempt.pidfd = -1;
    }
  }
  if (gone) {
    catch_up(attempt);
    if (attempt.phase != Phase::ended) lose(attempt);
    return;
  }
  attempt.pidfd_tag = pidfd_bit | next_id_++;
  pidfds_[attempt.pidfd_tag] = token;
  watch(attempt.pidfd, attempt.pidfd_tag);
}

std::vector<Event> Executions::Impl::poll() {
  epoll_event ready[64];
  for (int n = 64; n == 64;) {
    n = epoll_wait(epoll_, ready, 64, 0);
    for (int i = 0; i < n; i++) {
      uint64_t tag = ready[i].data.u64;
      if (tag == 0) {  // the timer, or what adoption found
        timer_due_ = true;
        uint64_t times = 0;
        if (read(timer_, &times, sizeof times) < 0 && read(soon_, &times, sizeof times) < 0)
          continue;
        continue;
      }
      if (tag & pidfd_bit) {
        auto pidfd = pidfds_.find(tag);
        auto found = pidfd == pidfds_.end() ? known_.end() : known_.find(pidfd->second);
        if (found == known_.end()) continue;
        KnownAttempt& attempt = found->second;
        close(attempt.pidfd);
        attempt.pidfd = -1;
        pidfds_.erase(tag);
        catch_up(attempt);
        if (attempt.phase != Phase::ended) lose(attempt);
        continue;
      }
      auto launcher = launchers_.find(static_cast<uint32_t>(tag));
      if (launcher != launchers_.end()) launcher_speaks(launcher->second);
    }
    if (n < 0 && errno != EINTR) throw Error(Fault::io, str("epoll_wait: ", strerror(errno)));
  }
  if (timer_due_) {
    timer_due_ = false;
    clear_lost();
    trim_idle();
    for (auto& [tag, token] : pidfds_) catch_up(known_.at(token));
  }
  reap();
  set_timer();
  std::vector<Event> out(std::make_move_iterator(events_.begin()),
                         std::make_move_iterator(events_.end()));
  events_.clear();
  return out;
}

void Executions::Impl::launcher_speaks(Launcher& launcher) {
  char buffer[16 << 10];
  for (;;) {
    ssize_t n = recv(launcher.socket, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return launcher_ended(launcher.id);
    launch::FieldReader reader({buffer + 1, static_cast<size_t>(n - 1)});
    launch::Field number, field;
    auto found = known_.find(launcher.token);
    int64_t count = 0;
    if (found == known_.end() || !reader.next(&number) || !reader.next(&field) ||
        !launch::read_number(number.value, 0, UINT32_MAX, &count))
      continue;
    KnownAttempt& attempt = found->second;
    if (static_cast<uint32_t>(count) > attempt.records) catch_up(attempt);  // one was not delivered
    if (static_cast<uint32_t>(count) == attempt.records)
      heard(attempt, static_cast<launch::Record>(field.key), field.value);
    if (attempt.phase != Phase::ended) continue;
    attempt.launcher = 0;
    launcher.token.clear();
    if (buffer[0] != 0) continue;  // it ends now
    if (idle_.size() < idle_most) {
      idle_.push_back(launcher.id);
    } else {
      launcher.closing = true;
      shutdown(launcher.socket, SHUT_WR);
    }
  }
}

void Executions::Impl::launcher_ended(uint32_t id) {
  Launcher launcher = launchers_[id];
  close(launcher.socket);
  launchers_.erase(id);
  idle_.erase(std::remove(idle_.begin(), idle_.end(), id), idle_.end());
  dying_.push_back(launcher.pid);
  auto found = known_.find(launcher.token);
  if (launcher.token.empty() || found == known_.end()) {
    // It served nobody, and could not remove its folder if it was killed.
    launch::Container kept;
    if (!plan_.cgroup2.empty()) kept.cgroup2 = join_path(plan_.cgroup2, launcher.slot);
    launch::container_remove(kept);
    return;
  }
  found->second.launcher = 0;
  catch_up(found->second);
  if (found->second.phase != Phase::ended) lose(found->second);
}

bool Executions::Impl::catch_up(KnownAttempt& attempt) {
  std::string path = path_of(attempt.header.container.token);
  std::string bytes = launch::read_small(path.c_str());
  launch::FieldReader reader(bytes);
  launch::Field field;
  uint32_t number = 0;
  while (reader.next(&field)) {
    launch::Record key = static_cast<launch::Record>(field.key);
    if (key == launch::Record::header && attempt.header.attempt_folder.empty()) {
      launch::Header header;
      if (!launch::parse_header(field.value, &header)) {
        log_error("node", path, " cannot be read; the attempt is given up");
        continue;
      }
      attempt.header = header;
      for (int rank : header.ranks) attempt.tasks.push_back({.rank = rank});
    } else if (key == launch::Record::header) {  // handed to another launcher: the last one counts
      launch::Header header;
      if (launch::parse_header(field.value, &header)) {
        int64_t init = attempt.header.container.init,
                init_start = attempt.header.container.init_start;
        attempt.header = header;
        attempt.header.container.init = init;
        attempt.header.container.init_start = init_start;
      }
    } else if (key == launch::Record::stop && attempt.phase != Phase::ended) {
      attempt.phase = Phase::stopping;
    } else if (key >= launch::Record::init && key <= launch::Record::ended &&
               number++ == attempt.records) {
      heard(attempt, key, field.value);
    }
  }
  return attempt.phase == Phase::ended;
}

void Executions::Impl::heard(KnownAttempt& attempt, launch::Record key, std::string_view value) {
  attempt.records++;
  bool stopping = attempt.phase == Phase::stopping;
  switch (key) {
    case launch::Record::init: {
      auto parts = launch::split_parts(value, 2);
      if (parts.size() != 2) return;
      launch::read_number(parts[0], 0, INT32_MAX, &attempt.header.container.init);
      launch::read_number(parts[1], 0, INT64_MAX, &attempt.header.container.init_start);
      return;
    }
    case launch::Record::prepared:
      if (!stopping) attempt.phase = Phase::prepared;
      return emit(event_of(Event::prepared, attempt));
    case launch::Record::running: {
      auto parts = launch::split_parts(value, attempt.tasks.size() + 1);
      launch::read_seconds(parts[0], &attempt.started);
      for (size_t i = 1; i < parts.size(); i++) {
        int64_t pid = 0;
        if (launch::read_number(parts[i].substr(parts[i].find(':') + 1), 1, INT32_MAX, &pid))
          attempt.tasks[i - 1].pid = static_cast<int>(pid);
      }
      if (!stopping) attempt.phase = Phase::running;
      return emit(event_of(Event::running, attempt));
    }
    case launch::Record::task_ended: {
      auto parts = launch::split_parts(value, 3);
      int64_t rank = 0, status = 0, signal = 0;
      if (parts.size() != 3 || !launch::read_number(parts[0], 0, 1 << 24, &rank) ||
          !launch::read_number(parts[1], 0, 255, &status) ||
          !launch::read_number(parts[2], 0, 127, &signal))
        return;
      for (TaskState& task : attempt.tasks)
        if (task.rank == rank) {
          task.ended = true;
          task.status = static_cast<int>(status);
        }
      Event e = event_of(Event::task_ended, attempt);
      e.rank = static_cast<int>(rank);
      e.status = static_cast<int>(status);
      e.signal = static_cast<int>(signal);
      e.ended_at = unix_seconds();
      return emit(e);
    }
    case launch::Record::ended:
      if (!launch::parse_end(value, &attempt.end))
        attempt.end = {.outcome = static_cast<int>(Ending::lost),
                       .status = 137,
                       .reason = "the end of the attempt cannot be read"};
      attempt.phase = Phase::ended;
      for (TaskState& task : attempt.tasks) task.ended = true;
      if (attempt.tasks.size() == 1) attempt.tasks[0].status = attempt.end.status;
      return emit(ended_event(attempt));
    default:
      return;
  }
}

void Executions::Impl::lose(KnownAttempt& attempt) {
  attempt.phase = Phase::stopping;
  lost_.push_back(attempt.header.container.token);
  clear_lost();
}

void Executions::Impl::clear_lost() {
  std::vector<std::string> left;
  for (const std::string& token : std::vector<std::string>(std::move(lost_))) {
    KnownAttempt& attempt = known_.at(token);
    const launch::Container& c = attempt.header.container;
    if (!launch::container_empty(c, 0)) {
      launch::container_kill(c, 0);
      left.push_back(token);
      continue;
    }
    launch::container_remove(c);
    if (!attempt.header.secrets_folder.empty()) {
      launch::AsUser as(attempt.header.identity);
      launch::remove_tree(attempt.header.secrets_folder);
    }
    launch::End end = {.outcome = static_cast<int>(Ending::lost),
                       .status = 137,
                       .signal = 9,
                       .started = attempt.started,
                       .ended = unix_seconds(),
                       .reason = "the launcher was killed"};
    if (attempt.records == 0) end.reason = "the launcher was killed before the attempt began";
    std::string record, value = launch::format_end(end);
    launch::put_field(record, static_cast<uint8_t>(launch::Record::ended), value);
    int file = open(path_of(token).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    // A failure here is no loss: an unlocked file without an end is lost again after a restart.
    if (file >= 0 && write(file, record.data(), record.size()) < 0)
      log_warning("node", path_of(token), ": ", strerror(errno));
    if (file >= 0) close(file);
    heard(attempt, launch::Record::ended, value);
  }
  lost_ = left;
}

void Executions::Impl::trim_idle() {
  if (monotonic_seconds() - last_idle_use_ < idle_seconds) return;
  for (uint32_t id : idle_) {
    launchers_[id].closing = true;
    shutdown(launchers_[id].socket, SHUT_WR);
  }
  idle_.clear();
}

void Executions::Impl::reap() {
  dying_.erase(std::remove_if(dying_.begin(), dying_.end(),
                              [](pid_t pid) { return waitpid(pid, nullptr, WNOHANG) != 0; }),
               dying_.end());
}

void Executions::Impl::set_timer() {
  double pause = !lost_.empty() || !dying_.empty() ? 0.01
                 : !pidfds_.empty()                ? 0.5
                 : !idle_.empty()                  ? 5
                                                   : 0;
  if (pause != timer_pause_) {
    timer_pause_ = pause;
    itimerspec when = {};
    when.it_value.tv_sec = static_cast<time_t>(pause);
    when.it_value.tv_nsec =
        static_cast<long>((pause - static_cast<double>(when.it_value.tv_sec)) * 1e9);
    when.it_interval = when.it_value;
    timerfd_settime(timer_, 0, &when, nullptr);
  }
}

}  // namespace wellspring::cluster
