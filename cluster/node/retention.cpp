#include "cluster/node/retention.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/job/spec.h"
#include "cluster/launch/tree.h"

namespace wellspring::cluster {
namespace {

struct Entry {
  std::string name;
  double written = 0;  // unix seconds
  bool folder = false;
};

// What lies in a folder that is none of a link's; at most `most` of it.
std::vector<Entry> entries(const std::string& path, size_t most = 100'000) {
  std::vector<Entry> out;
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR* dir = fd < 0 ? nullptr : ::fdopendir(fd);
  if (!dir) {
    if (fd >= 0) ::close(fd);
    return out;
  }
  while (const dirent* e = ::readdir(dir)) {
    const std::string name = e->d_name;
    struct stat s{};
    if (name == "." || name == ".." || ::fstatat(fd, e->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0) continue;
    out.push_back({name, static_cast<double>(s.st_mtime), S_ISDIR(s.st_mode)});
    if (out.size() == most) break;
  }
  ::closedir(dir);
  return out;
}

// Of the folder's owner; our own rights where that is us.
launch::Identity owner_of(const std::string& folder) {
  struct stat s{};
  if (::lstat(folder.c_str(), &s) != 0 || !S_ISDIR(s.st_mode) || s.st_uid == ::geteuid()) return {};
  return {s.st_uid, s.st_gid, {s.st_gid}};
}

double newest_in(const std::string& folder, double newest) {
  for (const Entry& e : entries(folder)) newest = std::max(newest, e.written);
  return newest;
}

// A setup's folder may be in use: who makes it holds its lock, and who begins with it writes the lock.
void remove_prepared(const std::string& folder, double before) {
  const int lock = ::open((folder + ".lock").c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  struct stat s{};
  if (lock >= 0 && ::flock(lock, LOCK_EX | LOCK_NB) == 0 && ::fstat(lock, &s) == 0 &&
      static_cast<double>(s.st_mtime) < before)
    launch::remove_tree(folder);
  if (lock >= 0) ::close(lock);
}

}  // namespace

std::vector<std::string> old_runs(const std::string& runs, double age, size_t most) {
  std::vector<std::string> out;
  const double before = unix_seconds() - age;
  for (const Entry& team : entries(runs)) {
    if (!team.folder || !is_name(team.name)) continue;
    const std::string folder = join_path(runs, team.name);
    const launch::AsUser as(owner_of(folder));
    for (const Entry& run : entries(folder)) {
      if (!run.folder || !is_name(run.name) || run.written >= before) continue;
      double newest = newest_in(join_path(folder, run.name), run.written);
      for (const char* below : {"attempts", "checkpoints"})
        newest = newest_in(join_path(folder, run.name + "/" + below), newest);
      if (newest >= before) continue;
      out.push_back(str(team.name, "/", run.name));
      if (out.size() == most) return out;
    }
  }
  return out;
}

void remove_run(const std::string& runs, const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos || !is_name(name.substr(0, slash)) || !is_name(name.substr(slash + 1)))
    throw Error(Fault::data, str("'", name, "' is no run folder"));
  const std::string team = join_path(runs, name.substr(0, slash));
  const launch::AsUser as(owner_of(team));
  const std::string folder = join_path(runs, name);
  launch::remove_tree(folder);
  if (exists(folder)) throw Error(Fault::io, str(folder, " could not be removed: not all in it belongs to its team"));
  log_info("node", "removed the run folder ", folder, ": its job is forgotten");
}

void clean_caches(const std::string& folder, double age) {
  const double before = unix_seconds() - age;
  const std::string archives = join_path(folder, "archives"), prepared = join_path(folder, "prepared");
  for (const Entry& e : entries(archives))
    if (!e.folder && e.written < before) ::unlink(join_path(archives, e.name).c_str());
  for (const Entry& team : entries(prepared)) {
    if (!team.folder) continue;
    const std::string path = join_path(prepared, team.name);
    const launch::AsUser as(owner_of(path));
    for (const Entry& e : entries(path))
      if (e.folder) remove_prepared(join_path(path, e.name), before);
  }
}

}  // namespace wellspring::cluster
