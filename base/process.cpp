#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

[[noreturn]] void refuse(const std::string& what, int error) {
  throw Error(Fault::io, str("cannot ", what, ": ", std::strerror(error)));
}

struct Descriptor {
  int fd = -1;
  Descriptor() = default;
  explicit Descriptor(int fd) : fd(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd(std::exchange(other.fd, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~Descriptor() { close(); }
  void close() {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
};

std::pair<Descriptor, Descriptor> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) refuse("make a pipe", errno);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

Descriptor open_or_refuse(const char* path, int flags) {
  int fd = ::open(path, flags | O_CLOEXEC, 0666);
  if (fd < 0) refuse(str("open ", path), errno);
  return Descriptor(fd);
}

std::vector<std::string> make_environment(const ProcessOptions& options) {
  std::vector<std::string> out;
  auto changed = [&](std::string_view entry) {
    std::string_view name = entry.substr(0, entry.find('='));
    return std::any_of(options.environment.begin(), options.environment.end(),
                       [&](const auto& change) { return change.first == name; });
  };
  for (char** entry = environ; *entry; ++entry)
    if (!changed(*entry)) out.emplace_back(*entry);
  for (const auto& [name, value] : options.environment)
    if (value) out.push_back(str(name, "=", *value));
  return out;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// posix_spawn neither copies the page tables nor runs our fork handlers, and says why it failed.
pid_t spawn(const ProcessOptions& options, int in, int out, int err) {
  if (options.argv.empty()) throw Error(Fault::usage, "a process without a program to run");
  if (!options.folder.empty() && !is_directory(options.folder))
    throw Error(Fault::io,
                str("cannot run ", options.argv[0], " in ", options.folder, ": no such folder"));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  if (!options.folder.empty())
    posix_spawn_file_actions_addchdir_np(&actions, options.folder.c_str());
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t defaults, none;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (int s : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&defaults, s);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setsigmask(&attributes, &none);
  std::vector<std::string> environment = make_environment(options);
  std::vector<char*> argv = pointers(options.argv), envp = pointers(environment);
  pid_t pid = -1;
  int error = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT || error == EACCES || error == ENOTDIR)
    throw Error(Fault::missing, str("cannot run ", options.argv[0], ": ", std::strerror(error)));
  if (error) refuse(str("run ", options.argv[0]), error);
  return pid;
}

int decode_status(int raw) { return WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw); }

// Reads what is there into `text`; closes `from` at its end.
void drain(Descriptor& from, std::string& text, int64_t limit, bool* cut) {
  char buffer[1 << 16];
  ssize_t n = ::read(from.fd, buffer, sizeof buffer);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n <= 0) return from.close();
  auto room = static_cast<size_t>(std::max<int64_t>(0, limit - static_cast<int64_t>(text.size())));
  if (static_cast<size_t>(n) > room) *cut = true;
  text.append(buffer, std::min(room, static_cast<size_t>(n)));
}

}  // namespace

ProcessResult run_process(const ProcessOptions& options) {
  // A socket for stdin: sending on it with MSG_NOSIGNAL, a child that reads no more cannot end us.
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    refuse("make a socket", errno);
  Descriptor to_child(ends[0]), child_in(ends[1]);
  auto [from_out, child_out] = make_pipe();
  auto [from_err, child_err] = make_pipe();
  ProcessResult result;
  Stopwatch watch;
  pid_t pid =
      spawn(options, child_in.fd, child_out.fd, options.merge ? child_out.fd : child_err.fd);
  child_in.close();
  child_out.close();
  child_err.close();

  size_t sent = 0;
  double kill_at = -1;
  bool killed = false, reaped = false;
  int raw = 0;
  if (options.input.empty()) to_child.close();
  // Until the child has ended and its outputs too. A grandchild that holds an output open is waited
  // for only until shortly after the child's end.
  double ended_at = -1;
  while (true) {
    if (!reaped && ::waitpid(pid, &raw, WNOHANG) == pid) {
      reaped = true;
      ended_at = watch.seconds();
    }
    if (reaped && from_out.fd < 0 && from_err.fd < 0) break;
    if (reaped && watch.seconds() > ended_at + 0.5) break;
    pollfd waits[3] = {
        {from_out.fd, POLLIN, 0}, {from_err.fd, POLLIN, 0}, {to_child.fd, POLLOUT, 0}};
    // With both outputs closed only waitpid is left to look at.
    int pause = from_out.fd < 0 && from_err.fd < 0 ? 2 : reaped ? 10 : 20;
    if (::poll(waits, 3, pause) > 0) {
      if (waits[0].revents) drain(from_out, result.output, options.output_limit, &result.cut);
      if (waits[1].revents) drain(from_err, result.error, options.output_limit, &result.cut);
      if (waits[2].revents) {
        ssize_t n = ::send(to_child.fd, options.input.data() + sent, options.input.size() - sent,
                           MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) sent += static_cast<size_t>(n);
        bool gone = n < 0 && errno != EAGAIN && errno != EINTR;
        if (gone || sent == options.input.size()) to_child.close();
      }
    }
    double at = watch.seconds();
    if (!result.timed_out && options.timeout > 0 && at > options.timeout && !reaped) {
      result.timed_out = true;
      kill_at = at + 2;
      ::kill(-pid, SIGTERM);
    }
    if (result.timed_out && !killed && !reaped && at > kill_at) {
      killed = true;
      ::kill(-pid, SIGKILL);
    }
  }
  if (result.timed_out) ::kill(-pid, SIGKILL);  // what the child left in its group
  result.status = decode_status(raw);
  result.signal = WIFSIGNALED(raw) ? WTERMSIG(raw) : 0;
  result.seconds = watch.seconds();
  return result;
}

ProcessResult run_process(const std::vector<std::string>& argv) {
  ProcessOptions options;
  options.argv = argv;
  return run_process(options);
}

Process Process::start(const ProcessOptions& options) {
  Descriptor in = open_or_refuse("/dev/null", O_RDONLY);
  Descriptor out = options.log_path.empty()
                       ? open_or_refuse("/dev/null", O_WRONLY)
                       : open_or_refuse(options.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND);
  return Process(spawn(options, in.fd, out.fd, out.fd));
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), owned_(other.owned_), status_(other.status_) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(owned_, other.owned_);
  std::swap(status_, other.status_);
  return *this;
}

Process::~Process() {
  if (pid_ > 0 && owned_ && !status_) {
    kill(SIGKILL);
    wait();
  }
}

std::optional<int> Process::poll() {
  if (status_ || pid_ <= 0) return status_;
  int raw = 0;
  pid_t got = ::waitpid(pid_, &raw, WNOHANG);
  if (got == pid_) status_ = decode_status(raw);
  if (got < 0 && errno == ECHILD) status_ = 255;  // somebody else has waited for it
  return status_;
}

std::optional<int> Process::wait(double timeout) {
  Stopwatch watch;
  double pause = 0.0005;
  while (!poll()) {
    double left = timeout < 0 ? 1 : timeout - watch.seconds();
    if (left <= 0) break;
    sleep_seconds(std::min(pause, left));
    pause = std::min(0.02, 2 * pause);
  }
  return status_;
}

void Process::kill(int signal) {
  if (pid_ > 0 && !poll()) ::kill(-pid_, signal);
}

int Process::stop(double grace) {
  kill(SIGTERM);
  if (!wait(grace)) {
    kill(SIGKILL);
    wait();
  }
  return status_.value_or(255);
}

void Process::detach() { owned_ = false; }

}  // namespace wellspring
