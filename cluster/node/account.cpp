// System users, tokens that were used, and starting launchers.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cluster/node/executions_impl.h"

namespace wellspring::cluster {
namespace {

constexpr size_t inline_limit = 64 << 10;  // larger specifications go through a file in memory

uint64_t token_hash(std::string_view token) {
  uint64_t h = 14695981039346656037ull;  // FNV-1a
  for (char c : token) h = (h ^ static_cast<uint8_t>(c)) * 1099511628211ull;
  return h ^ h >> 29;
}

std::vector<gid_t> groups_of(const passwd& entry) {
  int n = 64;
  std::vector<gid_t> groups(static_cast<size_t>(n));
  if (getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &n) < 0) {
    groups.resize(static_cast<size_t>(n));
    getgrouplist(entry.pw_name, entry.pw_gid, groups.data(), &n);
  }
  groups.resize(static_cast<size_t>(n));
  return groups;
}

[[noreturn]] void fail(const std::string& what) {
  throw Error(Fault::io, str(what, ": ", strerror(errno)));
}

}  // namespace

Account find_account(const std::string& name) {
  passwd entry, *found = nullptr;
  std::vector<char> buffer(16 << 10);
  int error = name.empty() ? getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found)
                           : getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr && name.empty())
    return {
        str(static_cast<int>(geteuid())), "/", "/bin/sh", {}};  // a container without a name for us
  if (found == nullptr)
    throw Error(Fault::config,
                str("system user '", name, "' ", error == 0 ? "does not exist" : strerror(error),
                    " on this node"));
  Account account = {entry.pw_name, entry.pw_dir, entry.pw_shell, {}};
  if (name.empty()) return account;
  if (entry.pw_uid == 0)
    throw Error(Fault::config, str("system user '", name, "' is root: attempts never run as root"));
  if (entry.pw_uid == geteuid()) return account;
  if (geteuid() != 0)
    throw Error(Fault::config,
                str("this node runs as ", find_account("").name, " and cannot switch to '", name,
                    "': start it as root, or let it serve one team"));
  account.identity = {entry.pw_uid, entry.pw_gid, groups_of(entry)};
  return account;
}

UsedTokens::UsedTokens(const std::string& path) : path_(path) {
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd_ < 0) fail(path);
  uint64_t buffer[4096];
  for (ssize_t n; (n = read(fd_, buffer, sizeof buffer)) > 0;)
    old_.insert(old_.end(), buffer, buffer + static_cast<size_t>(n) / sizeof(uint64_t));
  // A part of an entry (a full disk) would shift all that follow.
  if (ftruncate(fd_, static_cast<off_t>(old_.size() * sizeof(uint64_t))) != 0) fail(path);
  std::sort(old_.begin(), old_.end());
}

UsedTokens::~UsedTokens() { close(fd_); }

bool UsedTokens::has(const std::string& token) const {
  uint64_t h = token_hash(token);
  return fresh_.count(h) != 0 || std::binary_search(old_.begin(), old_.end(), h);
}

void UsedTokens::add(const std::string& token) {
  uint64_t h = token_hash(token);
  off_t size = static_cast<off_t>((old_.size() + fresh_.size()) * sizeof h);
  if (write(fd_, &h, sizeof h) != sizeof h) {
    int reason = errno;
    if (ftruncate(fd_, size) != 0) reason = errno;
    errno = reason;
    fail(path_);
  }
  fresh_.insert(h);
}

Launcher spawn_launcher(const std::string& program) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    fail("a socket to a launcher");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_adddup2(&actions, 0, 1);
  posix_spawn_file_actions_adddup2(&actions, 0, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &all);  // until it has its handlers
  char name[] = "wellspring-launch", verb[] = "serve";
  char* argv[] = {name, verb, nullptr};
  char* env[] = {nullptr};
  Launcher launcher;
  int error = posix_spawn(&launcher.pid, program.c_str(), &actions, &attributes, argv, env);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    errno = error;
    fail(program);
  }
  launcher.socket = ends[0];
  return launcher;
}

bool send_spec(const Launcher& launcher, const launch::Spec& spec, int spool_file) {
  std::string bytes = launch::format_spec(spec);
  int fds[2] = {spool_file, -1};
  if (bytes.size() > inline_limit) {
    fds[1] = memfd_create("wellspring-spec", MFD_CLOEXEC);
    if (fds[1] < 0 ||
        write(fds[1], bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      if (fds[1] >= 0) close(fds[1]);
      fail("a specification in memory");
    }
    bytes = "M";
  }
  iovec vector = {bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  msghdr header = {};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  size_t size = fds[1] >= 0 ? sizeof fds : sizeof fds[0];
  header.msg_controllen = CMSG_SPACE(size);
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(c), fds, size);
  ssize_t n = sendmsg(launcher.socket, &header, MSG_NOSIGNAL);
  int reason = errno;
  if (fds[1] >= 0) close(fds[1]);
  errno = reason;
  if (n < 0 && errno != EPIPE && errno != ECONNRESET) fail("a specification for a launcher");
  return n >= 0;
}

}  // namespace wellspring::cluster
