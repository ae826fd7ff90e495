#include "cluster/launch/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace wellspring::cluster::launch {
namespace {

std::string because(const std::string& path) { return path + ": " + strerror(errno); }

std::string write_all(int fd, const std::string& path, std::string_view content) {
  while (!content.empty()) {
    ssize_t n = write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return because(path);
    content.remove_prefix(static_cast<size_t>(n));
  }
  return "";
}

void empty_folder(int fd) {
  DIR* dir = fdopendir(fd);
  if (dir == nullptr) {
    close(fd);
    return;
  }
  while (dirent* entry = readdir(dir)) {
    const char* name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if (unlinkat(fd, name, 0) == 0) continue;
    int below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below >= 0) empty_folder(below);
    unlinkat(fd, name, AT_REMOVEDIR);
  }
  closedir(dir);
}

}  // namespace

// The plain system calls: glibc's would change all threads.
AsUser::AsUser(const Identity& identity) {
  if (identity.uid < 0) return;
  switched_ = true;
  long n = syscall(SYS_getgroups, 0, nullptr);
  if (n > 0) {
    groups_.resize(static_cast<size_t>(n));
    syscall(SYS_getgroups, n, groups_.data());
  }
  syscall(SYS_setgroups, identity.groups.size(), identity.groups.data());
  syscall(SYS_setfsgid, identity.gid);
  syscall(SYS_setfsuid, identity.uid);
  // A refusal is not told by these calls: asking again shows who we are.
  if (syscall(SYS_setfsuid, -1L) != identity.uid || syscall(SYS_setfsgid, -1L) != identity.gid)
    abort();
}

AsUser::~AsUser() {
  if (!switched_) return;
  syscall(SYS_setfsuid, geteuid());
  syscall(SYS_setfsgid, getegid());
  syscall(SYS_setgroups, groups_.size(), groups_.data());
}

std::string make_folders(const std::string& path) {
  struct stat s;
  if (stat(path.c_str(), &s) == 0) {
    if (S_ISDIR(s.st_mode)) return "";
    errno = ENOTDIR;
    return because(path);
  }
  if (errno != ENOENT) return because(path);
  size_t slash = path.find_last_not_of('/');
  slash = slash == std::string::npos ? 0 : path.rfind('/', slash);
  if (slash != 0 && slash != std::string::npos) {
    std::string error = make_folders(path.substr(0, slash));
    if (!error.empty()) return error;
  }
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return because(path);
  return "";
}

std::string write_file(const std::string& path, std::string_view content) {
  size_t slash = path.rfind('/');
  std::string error = slash == 0 ? "" : make_folders(path.substr(0, slash));
  if (!error.empty()) return error;
  std::string temporary = path + ".tmp." + std::to_string(getpid());
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  int fd = open(temporary.c_str(), flags, 0644);
  if (fd < 0 && errno == EEXIST && unlink(temporary.c_str()) == 0)  // of one that was killed
    fd = open(temporary.c_str(), flags, 0644);
  if (fd < 0) return because(temporary);
  error = write_all(fd, temporary, content);
  close(fd);
  if (error.empty() && rename(temporary.c_str(), path.c_str()) != 0) error = because(path);
  if (!error.empty()) unlink(temporary.c_str());
  return error;
}

std::string write_secrets(const std::string& folder,
                          const std::vector<std::pair<std::string, std::string>>& secrets) {
  if (mkdir(folder.c_str(), 0700) != 0) return because(folder);
  struct statfs s;
  if (statfs(folder.c_str(), &s) != 0) return because(folder);
  if (s.f_type != TMPFS_MAGIC && s.f_type != RAMFS_MAGIC)
    return folder + ": secrets must lie in memory, and this folder is on a disk";
  for (const auto& [name, content] : secrets) {
    std::string path = folder + "/" + name;
    int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
    if (fd < 0) return because(path);
    std::string error = write_all(fd, path, content);
    close(fd);
    if (!error.empty()) return error;
  }
  return "";
}

void remove_tree(const std::string& folder) {
  int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd >= 0) empty_folder(fd);
  rmdir(folder.c_str());
}

}  // namespace wellspring::cluster::launch
