// wellspring-launch: starts attempts for the node daemon, outlives it, and keeps how they ended.
//   serve (descriptor 3: a socket to the daemon): one attempt after the other
//   probe pid-namespace|user-namespace: does that work here?
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "cluster/launch/container.h"
#include "cluster/launch/fields.h"
#include "cluster/launch/program/attempt.h"
#include "cluster/launch/program/space.h"

namespace wellspring::cluster::launch {

volatile sig_atomic_t child_ended = 0;
volatile sig_atomic_t command_came = 0;

namespace {

constexpr int daemon_socket = 3;
char message[256 << 10];

void on_child(int) { child_ended = 1; }
void on_command(int) { command_came = 1; }
void on_nothing(int) {}

void set_signals() {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  auto set = [&](int signal, void (*handler)(int)) {
    action.sa_handler = handler;
    sigaction(signal, &action, nullptr);
  };
  set(SIGCHLD, on_child);
  set(SIGUSR1, on_command);
  // Handlers, not SIG_IGN: what we execute gets the defaults back. SIGTERM is for tasks: a service
  // manager that ends the daemon must not end the jobs.
  for (int signal : {SIGPIPE, SIGTERM, SIGINT, SIGHUP}) set(signal, on_nothing);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGCHLD);
  sigaddset(&blocked, SIGUSR1);
  sigprocmask(SIG_SETMASK, &blocked, nullptr);
}

/// Fills `fds` (-1: none). The size of the message, 0 at the end of the daemon.
ssize_t receive(int fds[2]) {
  iovec vector = {message, sizeof message};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  msghdr header;
  memset(&header, 0, sizeof header);
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n;
  do n = recvmsg(daemon_socket, &header, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  fds[0] = fds[1] = -1;
  if (n <= 0) return 0;
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  if (c != nullptr && c->cmsg_type == SCM_RIGHTS)
    memcpy(fds, CMSG_DATA(c), std::min<size_t>(c->cmsg_len - CMSG_LEN(0), 2 * sizeof(int)));
  return n;
}

std::string whole_of(int fd) {
  std::string out;
  struct stat s;
  if (fstat(fd, &s) != 0) return out;
  out.resize(static_cast<size_t>(s.st_size));
  size_t have = 0;
  for (ssize_t n; have < out.size() && (n = pread(fd, out.data() + have, out.size() - have,
                                                  static_cast<off_t>(have))) > 0;)
    have += static_cast<size_t>(n);
  return out;
}

void refuse(int spool, const std::string& reason) {
  std::string bytes, told(1, 0);
  put_field(bytes, static_cast<uint8_t>(Record::ended),
            format_end({.outcome = 5, .status = 126, .ended = wall_now(), .reason = reason}));
  if (write(spool, bytes.data(), bytes.size()) < 0) told[0] = 1;
  close(spool);
  put_field(told, 0, "0");
  told += bytes;
  send(daemon_socket, told.data(), told.size(), MSG_NOSIGNAL);
}

int serve() {
  // Nothing but the three standard streams and the socket came with a meaning.
  syscall(SYS_close_range, 4U, ~0U, 0U);
  fcntl(daemon_socket, F_SETFD, FD_CLOEXEC);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_DUMPABLE, 0);
  umask(022);
  KeptCgroup kept;
  for (bool more = true; more;) {
    int fds[2];
    ssize_t n = receive(fds);
    if (n == 0 || fds[0] < 0) break;
    Spec spec;
    std::string error;
    bool good = fds[1] >= 0 ? parse_spec(whole_of(fds[1]), &spec, &error)
                            : parse_spec({message, static_cast<size_t>(n)}, &spec, &error);
    explicit_bzero(message, static_cast<size_t>(n));
    if (fds[1] >= 0) close(fds[1]);
    if (!good) {
      refuse(fds[0], error);
      continue;
    }
    Attempt attempt(std::move(spec), fds[0], daemon_socket, &kept);
    attempt.run();
    more = attempt.reusable();
  }
  kept.drop();
  return 0;
}

int probe(std::string_view what) {
  std::string error = enter_mount_namespace(what == "user-namespace");
  pid_t init = 0;
  if (error.empty())
    error = enter_pid_namespace([&](int64_t pid, int64_t) { init = static_cast<pid_t>(pid); });
  if (init > 0) {
    kill(init, SIGKILL);
    waitpid(init, nullptr, 0);
  }
  if (write(1, error.data(), error.size()) < 0) return 74;
  return error.empty() ? 0 : 69;
}

}  // namespace
}  // namespace wellspring::cluster::launch

int main(int argc, char** argv) {
  using namespace wellspring::cluster::launch;
  set_signals();
  std::string_view verb = argc > 1 ? argv[1] : "";
  struct stat s;
  if (verb == "serve" && fstat(3, &s) == 0 && S_ISSOCK(s.st_mode)) return serve();
  if (verb == "probe" && argc == 3) return probe(argv[2]);
  constexpr std::string_view text =
      "wellspring-launch starts attempts for 'wellspring cluster node'; it is not run by hand.\n";
  return write(2, text.data(), text.size()) < 0 ? 74 : 64;
}
