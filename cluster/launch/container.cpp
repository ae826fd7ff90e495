#include "cluster/launch/container.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "cluster/launch/fields.h"

namespace wellspring::cluster::launch {
namespace {

/// Calls fn for each folder below `folder`, the deepest first, and then for it.
template <class Fn>
void each_folder(const std::string& folder, const Fn& fn) {
  if (DIR* dir = opendir(folder.c_str())) {
    while (dirent* entry = readdir(dir))
      if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
        each_folder(folder + "/" + entry->d_name, fn);
    closedir(dir);
  }
  fn(folder);
}

std::vector<pid_t> pids_in(const std::string& text) {
  std::vector<pid_t> pids;
  for (const char* p = text.c_str(); *p != 0;) {
    char* end = nullptr;
    long n = strtol(p, &end, 10);
    if (end == p) break;
    if (n > 0) pids.push_back(static_cast<pid_t>(n));
    p = *end == 0 ? end : end + 1;
  }
  return pids;
}

std::vector<pid_t> members(const std::string& cgroup) {
  std::vector<pid_t> all;
  each_folder(cgroup, [&](const std::string& folder) {
    for (pid_t pid : pids_in(read_small((folder + "/cgroup.procs").c_str()))) all.push_back(pid);
  });
  return all;
}

bool populated(const std::string& cgroup2) {
  std::string events = read_small((cgroup2 + "/cgroup.events").c_str());
  return events.find("populated 1") != std::string::npos;
}

struct ProcessEntry {
  pid_t pid, parent;
  char state;
};

bool read_entry(pid_t pid, ProcessEntry* out, int64_t* start) {
  char path[40];
  snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  std::string stat = read_small(path);
  size_t close = stat.rfind(')');  // the name may hold anything
  if (close == std::string::npos || close + 2 >= stat.size()) return false;
  out->pid = pid;
  out->state = stat[close + 2];
  const char* p = stat.c_str() + close + 3;
  out->parent = static_cast<pid_t>(strtol(p, nullptr, 10));
  if (start != nullptr) {
    for (int field = 4; field < 22; field++) {
      p = strchr(p + 1, ' ');
      if (p == nullptr) return false;
    }
    *start = strtoll(p, nullptr, 10);
  }
  return true;
}

bool has_token(pid_t pid, const std::string& variable) {
  char path[40];
  snprintf(path, sizeof path, "/proc/%d/environ", static_cast<int>(pid));
  std::string environment = read_small(path);
  for (size_t at = environment.find(variable); at != std::string::npos;
       at = environment.find(variable, at + 1))
    if ((at == 0 || environment[at - 1] == 0) && environment[at + variable.size()] == 0)
      return true;
  return false;
}

/// Living processes below `root`, or (root 0) those that carry the token and all below them.
std::vector<pid_t> family(const std::string& token, int root) {
  std::vector<ProcessEntry> all;
  if (DIR* dir = opendir("/proc")) {
    while (dirent* entry = readdir(dir)) {
      int64_t pid = 0;
      ProcessEntry e{};
      if (read_number(entry->d_name, 1, INT32_MAX, &pid) &&
          read_entry(static_cast<pid_t>(pid), &e, nullptr))
        all.push_back(e);
    }
    closedir(dir);
  }
  std::vector<pid_t> found;
  std::string variable = "WELLSPRING_TOKEN=" + token;
  if (root == 0)
    for (const ProcessEntry& e : all)
      if (e.pid != getpid() && e.state != 'Z' && has_token(e.pid, variable)) found.push_back(e.pid);
  // Parents may have larger numbers than their children: repeat until nothing is added.
  for (bool grew = true; grew;) {
    grew = false;
    for (const ProcessEntry& e : all) {
      bool below = (root != 0 && e.parent == root) ||
                   std::find(found.begin(), found.end(), e.parent) != found.end();
      if (!below || e.pid == root || std::find(found.begin(), found.end(), e.pid) != found.end())
        continue;
      found.push_back(e.pid);
      grew = true;
    }
  }
  std::vector<pid_t> living;
  for (pid_t pid : found)
    for (const ProcessEntry& e : all)
      if (e.pid == pid && e.state != 'Z' && e.state != 'X') living.push_back(pid);
  return living;
}

void kill_family(const std::string& token, int root) {
  // Stopped first, so that none can start another while we look for the rest.
  std::vector<pid_t> stopped;
  for (int round = 0; round < 50; round++) {
    bool grew = false;
    for (pid_t pid : family(token, root))
      if (std::find(stopped.begin(), stopped.end(), pid) == stopped.end()) {
        kill(pid, SIGSTOP);
        stopped.push_back(pid);
        grew = true;
      }
    if (!grew) break;
  }
  for (pid_t pid : stopped) kill(pid, SIGKILL);
}

void kill_cgroup1(const std::string& freezer) {
  each_folder(freezer, [](const std::string& folder) {
    write_small((folder + "/freezer.state").c_str(), "FROZEN");
  });
  for (pid_t pid : members(freezer)) kill(pid, SIGKILL);
  each_folder(freezer, [](const std::string& folder) {
    write_small((folder + "/freezer.state").c_str(), "THAWED");
  });
}

bool init_lives(const Container& c) { return c.init != 0 && process_start(c.init) == c.init_start; }

}  // namespace

std::string read_small(const char* path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  std::string out;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;)
    out.append(buffer, static_cast<size_t>(n));
  close(fd);
  return out;
}

bool write_small(const char* path, std::string_view value) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = write(fd, value.data(), value.size());
  int reason = errno;
  close(fd);
  errno = reason;
  return n == static_cast<ssize_t>(value.size());
}

int64_t process_start(int64_t pid) {
  ProcessEntry entry{};
  int64_t start = -1;
  return read_entry(static_cast<pid_t>(pid), &entry, &start) ? start : -1;
}

void container_kill(const Container& c, int root) {
  switch (c.kind) {
    case Kind::cgroup2:
      write_small((c.cgroup2 + "/cgroup.kill").c_str(), "1");
      break;
    case Kind::cgroup1:
      kill_cgroup1(c.cgroup1[0]);
      break;
    case Kind::pid_namespace:
      // The launcher's own view of /proc is that of the namespace: its child is known to be alive.
      if (c.init != 0 && (root != 0 || init_lives(c))) kill(static_cast<pid_t>(c.init), SIGKILL);
      break;
    case Kind::subreaper:
      kill_family(c.token, root);
      break;
  }
}

bool container_empty(const Container& c, int root) {
  switch (c.kind) {
    case Kind::cgroup2:
      return !populated(c.cgroup2);
    case Kind::cgroup1:
      return members(c.cgroup1[0]).empty();
    case Kind::pid_namespace:
      return !init_lives(c);
    case Kind::subreaper:
      return family(c.token, root).empty();
  }
  return true;
}

bool container_remove(const Container& c) {
  bool gone = true;
  auto remove = [&](const std::string& folder) {
    if (rmdir(folder.c_str()) != 0 && errno != ENOENT) gone = false;
  };
  for (const std::string& folder : c.cgroup1) each_folder(folder, remove);
  if (!c.cgroup2.empty()) each_folder(c.cgroup2, remove);
  return gone;
}

}  // namespace wellspring::cluster::launch
