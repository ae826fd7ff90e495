#include "cluster/launch/program/space.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster/launch/container.h"
#include "cluster/launch/fields.h"
#include "cluster/launch/tree.h"

namespace wellspring::cluster::launch {
namespace {

std::string because(const std::string& what) { return what + ": " + strerror(errno); }

/// The first process of the namespace: takes in orphans and ends with the launcher.
[[noreturn]] void be_init(int from_launcher, int to_launcher) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char byte = 0;
  if (read(from_launcher, &byte, 1) != 1) _exit(1);  // the launcher died before we asked to follow
  int reason = 0;
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    reason = errno;
  if (write(to_launcher, &reason, sizeof reason) != sizeof reason || reason != 0) _exit(1);
  syscall(SYS_close_range, 0U, ~0U, 0U);
  sigset_t set;
  sigfillset(&set);
  sigprocmask(SIG_SETMASK, &set, nullptr);
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (;;) {
    sigwaitinfo(&set, nullptr);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

struct Pipe {
  int ends[2] = {-1, -1};
  Pipe() {
    if (pipe2(ends, O_CLOEXEC) != 0) ends[0] = ends[1] = -1;
  }
  ~Pipe() {
    for (int fd : ends)
      if (fd >= 0) close(fd);
  }
};

int open_as(const std::string& path, const Identity& identity) {
  AsUser as(identity);
  return open(path.c_str(), O_PATH | O_CLOEXEC);
}

std::string bind_opened(const Bind& bind, int source, int target) {
  std::string from = "/proc/self/fd/" + std::to_string(source);
  std::string to = "/proc/self/fd/" + std::to_string(target);
  if (mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
    return because("mounting " + bind.source + " at " + bind.target);
  // The path now leads to what has been mounted on it.
  mount_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.attr_set = MOUNT_ATTR_NOSUID | (bind.read_only ? MOUNT_ATTR_RDONLY : 0);
  if (syscall(SYS_mount_setattr, AT_FDCWD, bind.target.c_str(), AT_RECURSIVE, &attributes,
              sizeof attributes) != 0)
    return because("mounting " + bind.source + (bind.read_only ? " read-only" : " without setuid"));
  return "";
}

}  // namespace

std::string enter_mount_namespace(bool user_namespace) {
  std::string uid = std::to_string(getuid()), gid = std::to_string(getgid());
  if (unshare(CLONE_NEWNS | (user_namespace ? CLONE_NEWUSER : 0)) != 0)
    return because(user_namespace ? "a user and a mount namespace" : "a mount namespace");
  if (user_namespace) {
    // The maps of a process that may not be dumped belong to root.
    prctl(PR_SET_DUMPABLE, 1);
    if (!write_small("/proc/self/setgroups", "deny") ||
        !write_small("/proc/self/uid_map", uid + " " + uid + " 1") ||
        !write_small("/proc/self/gid_map", gid + " " + gid + " 1"))
      return because("mapping the user into a user namespace");
    prctl(PR_SET_DUMPABLE, 0);
  }
  if (mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return because("private mounts");
  return "";
}

std::string bind_mount(const Bind& bind, const Identity& identity) {
  int source = open_as(bind.source, identity);
  if (source < 0) return because("mount " + bind.source);
  int target = open_as(bind.target, identity);
  std::string error =
      target < 0 ? because("mount at " + bind.target) : bind_opened(bind, source, target);
  close(source);
  if (target >= 0) close(target);
  return error;
}

std::string enter_pid_namespace(const std::function<void(int64_t, int64_t)>& known) {
  Pipe down, up;
  if (down.ends[0] < 0 || up.ends[0] < 0) return because("a pipe");
  // Our own children's namespace is changed by unshare; the first one born there is its init.
  if (unshare(CLONE_NEWPID) != 0) return because("a PID namespace");
  pid_t pid = fork();
  if (pid < 0) return because("the first process of a PID namespace");
  if (pid == 0) {
    close(down.ends[1]);
    close(up.ends[0]);
    be_init(down.ends[0], up.ends[1]);
  }
  known(pid, process_start(pid));
  close(up.ends[1]);
  up.ends[1] = -1;
  int reason = ECHILD;
  if (write(down.ends[1], "", 1) != 1 ||
      read(up.ends[0], &reason, sizeof reason) != static_cast<ssize_t>(sizeof reason) ||
      reason != 0) {
    errno = reason;
    return because("/proc of a PID namespace");
  }
  return "";
}

bool pid_namespace_empty() {
  DIR* dir = opendir("/proc");
  if (dir == nullptr) return false;
  bool empty = true;
  while (dirent* entry = readdir(dir)) {
    int64_t pid = 0;
    if (!read_number(entry->d_name, 2, INT32_MAX, &pid)) continue;
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
    std::string stat = read_small(path);
    size_t close = stat.rfind(')');
    if (close != std::string::npos && close + 2 < stat.size() && stat[close + 2] != 'Z')
      empty = false;
  }
  closedir(dir);
  return empty;
}

}  // namespace wellspring::cluster::launch
