#include "cluster/launch/program/space.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

/// Where an open file lies now, without links.
std::string place_of(int fd) {
  char path[PATH_MAX];
  std::string link = "/proc/self/fd/" + std::to_string(fd);
  ssize_t n = readlink(link.c_str(), path, sizeof path);
  return n > 0 && n < PATH_MAX ? std::string(path, static_cast<size_t>(n)) : "";
}

bool lies_in(const std::string& path, const std::string& folder) {
  return folder == "/" || path == folder ||
         (path.size() > folder.size() && path.compare(0, folder.size(), folder) == 0 &&
          path[folder.size()] == '/');
}

std::string allowed(const Bind& bind, const Spec& spec, const std::string& source) {
  for (const std::vector<std::string>& list : spec.within) {
    bool in = false;
    for (const std::string& folder : list) in |= !source.empty() && lies_in(source, folder);
    if (!in)
      return "mount " + bind.source + ": it leads to " + source +
             ", which is not below what the team may use and this node offers";
  }
  return "";
}

/// Mounts what is open on what is open: names may lead elsewhere by now.
std::string bind_opened(const Bind& bind, int source, int target) {
  int tree = static_cast<int>(syscall(SYS_open_tree, source, "",
                                      AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (tree < 0) return because("mounting " + bind.source);
  mount_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.attr_set = MOUNT_ATTR_NOSUID | (bind.read_only ? MOUNT_ATTR_RDONLY : 0);
  std::string error;
  if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
              sizeof attributes) != 0)
    error = because("mounting " + bind.source + (bind.read_only ? " read-only" : " without setuid"));
  else if (syscall(SYS_move_mount, tree, "", target, "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    error = because("mounting " + bind.source + " at " + bind.target);
  close(tree);
  return error;
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

std::string bind_mount(const Bind& bind, const Spec& spec) {
  int source = open_as(bind.source, spec.identity);
  if (source < 0) return because("mount " + bind.source);
  std::string error = allowed(bind, spec, place_of(source));
  if (error.empty() && !bind.in_place) {
    int target = open_as(bind.target, spec.identity);
    if (target < 0) error = because("mount at " + bind.target);
    std::string place = target < 0 ? "" : place_of(target);
    if (target >= 0 && place.empty()) error = because("mount at " + bind.target);
    for (const std::string& path : spec.shielded)
      if (error.empty() && (lies_in(place, path) || lies_in(path, place)))
        error = "mount at " + bind.target + ": nothing may cover " + path;
    if (error.empty()) error = bind_opened(bind, source, target);
    if (target >= 0) close(target);
  }
  close(source);
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
