// The waiting half of an attempt: output, ends of processes, commands, deadlines.
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "cluster/launch/container.h"
#include "cluster/launch/fields.h"
#include "cluster/launch/program/attempt.h"
#include "cluster/launch/program/space.h"

namespace wellspring::cluster::launch {
namespace {

char output_buffer[128 << 10];

double cpu_of(const rusage& u) {
  return static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

}  // namespace

bool Attempt::all_ended() const {
  return std::all_of(tasks_.begin(), tasks_.end(), [](const Running& t) { return t.ended; });
}

double Attempt::patience(double seconds) const {
  double now = monotonic_now();
  if (cause_ != Cause::none)
    seconds = std::min(seconds, std::max(stop_deadline_, next_kill_) - now);
  if (launched_ && spec_.time_limit > 0 && cause_ == Cause::none)
    seconds = std::min(seconds, began_ + spec_.time_limit - now);
  if (!spec_.lease.empty() && cause_ == Cause::none)
    seconds = std::min(seconds, lease_end_ - now);
  for (const Guest& g : guests_)
    if (g.kill_at > 0) seconds = std::min(seconds, g.kill_at - now);
  return std::max(seconds, 0.0);
}

void Attempt::wait_some(double seconds) {
  polled_.clear();
  for (const Stream& s : streams_) polled_.push_back({s.fd, POLLIN, 0});  // fd -1: passed over
  const size_t streams = polled_.size();
  for (const Guest& g : guests_) polled_.push_back({g.socket, POLLIN, 0});
  seconds = patience(seconds);
  timespec timeout = {
      static_cast<time_t>(seconds),
      static_cast<long>((seconds - static_cast<double>(static_cast<time_t>(seconds))) * 1e9)};
  sigset_t none;
  sigemptyset(&none);
  int ready = ppoll(polled_.data(), polled_.size(), &timeout, &none);
  for (size_t i = 0; ready > 0 && i < polled_.size(); i++)
    if (polled_[i].revents != 0)
      i < streams ? drain(streams_[i]) : hear_guest(guests_[i - streams]);
  if (child_ended) reap();
  if (command_came) read_commands();
  enforce();
  end_guests(monotonic_now());
}

void Attempt::drain(Stream& stream) {
  for (int round = 0; stream.fd >= 0 && round < 8; round++) {
    ssize_t n = read(stream.fd, output_buffer, sizeof output_buffer);
    if (n > 0) {
      stream.log->write({output_buffer, static_cast<size_t>(n)});
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      close(stream.fd);
      stream.fd = -1;
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

void Attempt::reap() {
  child_ended = 0;
  for (;;) {
    pid_t group = 0;
    if (cause_ != Cause::none) {  // whose process it was is known only while it is a zombie
      siginfo_t info;
      info.si_pid = 0;
      if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
      group = getpgid(info.si_pid);
    }
    rusage usage;
    int status = 0;
    pid_t pid = wait4(-1, &status, WNOHANG, &usage);
    if (pid <= 0) return;
    end_.cpu_seconds += cpu_of(usage);
    end_.max_rss = std::max<int64_t>(end_.max_rss, int64_t{usage.ru_maxrss} << 10);
    took(pid, status, group);
  }
}

void Attempt::took(pid_t pid, int wait_status, pid_t group) {
  int signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
  int status = signal != 0 ? 128 + signal : WEXITSTATUS(wait_status);
  auto set = [&](Running& r) {
    r.ended = true;
    r.status = status;
    r.signal = signal;
  };
  if (pid == spec_.container.init) init_lives_ = false;
  if (pid == setup_.pid) set(setup_);
  guests_ended(pid, status);
  for (size_t i = 0; i < tasks_.size(); i++) {
    Running& t = tasks_[i];
    // A shell does not wait when SIGTERM comes; what it ran may still write its checkpoint. Its
    // status 75 then is the task's.
    if (t.ended && t.pid == group && pid != group && t.signal == SIGTERM && status == 75) {
      t.status = 75;
      t.signal = 0;
    }
    if (t.ended || t.pid != pid) continue;
    set(t);
    if (tasks_.size() > 1)
      record(Record::task_ended,
             join_parts({std::to_string(t.rank), std::to_string(status), std::to_string(signal)}));
    if (status != 0 && cause_ == Cause::none) {
      deciding_ = static_cast<int>(i);
      begin_stop(Cause::failure, spec_.grace, "");
    }
  }
}

void Attempt::read_commands() {
  command_came = 0;
  std::string fresh;
  char buffer[4096];
  for (ssize_t n; (n = pread(spool_, buffer, sizeof buffer,
                             command_offset_ + static_cast<int64_t>(fresh.size()))) > 0;)
    fresh.append(buffer, static_cast<size_t>(n));
  FieldReader reader(fresh);
  Field field;
  while (reader.next(&field)) {
    if (field.key == static_cast<uint8_t>(Record::go)) go_ = true;
    if (field.key == static_cast<uint8_t>(Record::stop)) {
      auto parts = split_parts(field.value, 2);
      double grace = spec_.grace;
      if (parts[0] != "-") read_seconds(parts[0], &grace);
      begin_stop(Cause::asked, grace, parts.size() > 1 ? std::string(parts[1]) : "");
    }
    if (field.key == static_cast<uint8_t>(Record::exec)) {
      auto parts = split_parts(field.value, 2);
      if (parts.size() == 2) meet_guest(std::string(parts[0]), std::string(parts[1]));
    }
  }
  command_offset_ += static_cast<int64_t>(reader.position());
}

void Attempt::begin_stop(Cause cause, double grace, const std::string& reason) {
  double deadline = monotonic_now() + grace;
  if (cause_ != Cause::none) {
    stop_deadline_ = std::min(stop_deadline_, deadline);
    return;
  }
  cause_ = cause;
  stop_reason_ = reason;
  stop_deadline_ = deadline;
  signal_groups(SIGTERM);
  signal_groups(SIGCONT);  // a stopped process hears nothing
}

void Attempt::signal_groups(int signal) {
  // The number of a group whose leader has been taken may be another's: living leaders alone.
  if (setup_.pid > 0 && !setup_.ended) kill(-setup_.pid, signal);
  for (const Running& t : tasks_)
    if (!t.ended) kill(-t.pid, signal);
}

// The daemon writes how long the controller counts on us. Whether it lives or not: when that is over,
// the attempt ends before the controller starts it elsewhere.
void Attempt::check_lease(double now) {
  if (spec_.lease.empty() || cause_ != Cause::none || now < lease_end_) return;
  double end = 0, grace = spec_.grace, pause = 3600, same = 0;
  int read = 0;
  if (FILE* file = fopen(spec_.lease.c_str(), "re")) {
    read = fscanf(file, "%lf %lf %lf %lf", &end, &grace, &pause, &same);
    fclose(file);
  }
  if (read < 1) end = 0;
  if (read == 4 && end != same && torn_leases_++ < 100) {  // it is being written
    lease_end_ = now + 0.002;
    return;
  }
  torn_leases_ = 0;
  lease_end_ = std::min(end, now + pause);  // it may become shorter
  if (now >= end)
    begin_stop(Cause::asked, std::min(grace, spec_.grace),
               "no contact with the controller for longer than the lease");
}

void Attempt::enforce() {
  double now = monotonic_now();
  check_lease(now);
  if (launched_ && cause_ == Cause::none && spec_.time_limit > 0 &&
      now >= began_ + spec_.time_limit) {
    char text[80];
    snprintf(text, sizeof text, "the time limit of %g s is over", spec_.time_limit);
    begin_stop(Cause::time_limit, spec_.grace, text);
  }
  if (cause_ == Cause::none || now < stop_deadline_ || now < next_kill_) return;
  container_kill(spec_.container, getpid());
  killed_ = true;
  next_kill_ = now + 0.05;
}

bool Attempt::others_left() {
  switch (spec_.container.kind) {
    case Kind::cgroup2: {
      if (cgroup2_.empty()) return false;
      char text[256];
      ssize_t n = pread(kept_->events, text, sizeof text - 1, 0);
      text[n > 0 ? n : 0] = 0;
      return strstr(text, "populated 0") == nullptr;
    }
    case Kind::cgroup1:
      return !container_empty(spec_.container, getpid());
    case Kind::pid_namespace:
      return init_lives_ && !pid_namespace_empty();
    case Kind::subreaper: {
      siginfo_t info;
      return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
    }
  }
  return false;
}

void Attempt::clear_container() {
  double pause = 0.0005;
  auto rest = [&] {
    wait_some(pause);
    reap();
    pause = std::min(pause * 1.5, 0.05);
  };
  // Asked to stop, what is left may use the time that it was given; otherwise the end is the end.
  dismiss_guests();
  if (launched_)
    while (cause_ != Cause::none && monotonic_now() < stop_deadline_ && others_left()) rest();
  cause_ = cause_ == Cause::none ? Cause::failure : cause_;
  stop_deadline_ = 0;
  pause = 0.0005;
  while (others_left() || init_lives_) {
    enforce();
    rest();
  }
  reap();
  for (Stream& s : streams_)
    while (s.fd >= 0) {
      pollfd p = {s.fd, POLLIN, 0};
      if (poll(&p, 1, 0) <= 0) break;
      drain(s);
    }
}

}  // namespace wellspring::cluster::launch
