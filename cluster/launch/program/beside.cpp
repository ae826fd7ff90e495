// Commands beside the tasks (`wellspring job exec`): the daemon listens on a socket and says so in the
// attempt's file, so that launchers of an earlier daemon are reached, too.
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

#include "cluster/launch/fields.h"
#include "cluster/launch/program/attempt.h"

namespace wellspring::cluster::launch {
namespace {

constexpr size_t most_guests = 32;
constexpr double guest_grace = 2;  // seconds from SIGHUP to SIGKILL
char guest_message[beside_limit];

std::string value_of(const std::vector<std::string>& env, const std::string& name) {
  for (const std::string& v : env)
    if (v.compare(0, name.size(), name) == 0 && v.size() > name.size() && v[name.size()] == '=')
      return v.substr(name.size() + 1);
  return "";
}

}  // namespace

void Attempt::meet_guest(const std::string& folder, const std::string& name) {
  sockaddr_un address;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof address.sun_path || !valid_path(folder) || !valid_token(name)) return;
  memcpy(address.sun_path, name.data(), name.size());
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  // The folder's path may be longer than an address holds. Nobody else has our working directory.
  bool there = fd >= 0 && chdir(folder.c_str()) == 0 &&
               connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  if (chdir("/") != 0 || !there) {
    if (fd >= 0) close(fd);
    return;
  }
  Guest guest;
  guest.socket = fd;
  guests_.push_back(guest);
}

void Attempt::hear_guest(Guest& guest) {
  iovec vector = {guest_message, sizeof guest_message};
  alignas(cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))];
  msghdr header;
  memset(&header, 0, sizeof header);
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n = recvmsg(guest.socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {  // the client has gone
    close(guest.socket);
    guest.socket = -1;
    if (guest.pid < 0) return;
    kill(-guest.pid, SIGHUP);
    kill(-guest.pid, SIGCONT);
    guest.kill_at = monotonic_now() + guest_grace;
    return;
  }
  int fds[3] = {-1, -1, -1};
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  if (c != nullptr && c->cmsg_type == SCM_RIGHTS)
    memcpy(fds, CMSG_DATA(c), std::min<size_t>(c->cmsg_len - CMSG_LEN(0), sizeof fds));
  Beside wanted;
  if (guest.pid >= 0 || fds[2] < 0 ||
      !parse_beside({guest_message, static_cast<size_t>(n)}, &wanted))
    tell_guest(guest, 126, "the launcher does not understand what is asked for");
  else
    start_guest(guest, wanted, fds);
  for (int fd : fds)
    if (fd >= 0) close(fd);
}

void Attempt::start_guest(Guest& guest, const Beside& wanted, const int streams[3]) {
  const Task* task = nullptr;
  for (const Task& t : spec_.tasks)
    if (t.rank == wanted.rank) task = &t;
  if (task == nullptr || !launched_ || cause_ != Cause::none || all_ended())
    return tell_guest(guest, 126, "the task is not running");
  if (guests_.size() > most_guests)
    return tell_guest(guest, 126, "too many commands run beside this job already");
  std::vector<std::string> argv = {"/bin/sh", "-c", wanted.command}, env = task->env;
  if (wanted.command.empty()) {
    std::string shell = value_of(env, "SHELL");
    argv = {shell.empty() ? "/bin/sh" : shell};
  }
  if (wanted.terminal && value_of(env, "TERM").empty()) env.push_back("TERM=xterm-256color");
  SpawnRequest request;
  request.argv = &argv;
  request.env = &env;
  request.folder = &spec_.folder;
  request.identity = &spec_.identity;
  request.cores = &task->cores;
  request.input = streams[0];
  request.output = streams[1];
  request.error = streams[2];
  request.terminal = wanted.terminal;
  if (!cgroup2_.empty()) {
    request.cgroup2 = kept_->fd;
    request.cgroup2_procs = kept_->procs;
  }
  request.cgroup1_procs = cgroup1_procs_;
  request.reset_oom_score = spec_.reset_oom_score;
  std::string error;
  int status = 0;
  guest.pid = spawn(request, &error, &status);
  if (guest.pid < 0) tell_guest(guest, status, error);
}

void Attempt::tell_guest(Guest& guest, int status, const std::string& reason) {
  if (guest.socket < 0) return;
  std::string text = join_parts({std::to_string(status), reason});
  send(guest.socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  close(guest.socket);
  guest.socket = -1;
}

void Attempt::guests_ended(pid_t pid, int status) {
  for (Guest& g : guests_)
    if (g.pid == pid) {
      g.pid = -1;
      tell_guest(g, status, "");
    }
}

void Attempt::end_guests(double now) {
  for (Guest& g : guests_)
    if (g.pid >= 0 && g.kill_at > 0 && now >= g.kill_at) {
      kill(-g.pid, SIGKILL);
      g.kill_at = now + guest_grace;
    }
  guests_.erase(std::remove_if(guests_.begin(), guests_.end(),
                               [](const Guest& g) { return g.socket < 0 && g.pid < 0; }),
                guests_.end());
}

// The tasks have ended: what runs beside them does not keep the attempt waiting.
void Attempt::dismiss_guests() {
  for (Guest& g : guests_) {
    if (g.pid >= 0)
      kill(-g.pid, SIGKILL);
    else
      tell_guest(g, 126, "the task has ended");
  }
}

}  // namespace wellspring::cluster::launch
