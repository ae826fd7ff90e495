#include "cluster/slurm/account.h"

#include <grp.h>
#include <pwd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace wellspring::cluster {

SlurmAccount slurm_account(const std::string& user, const std::string& otherwise,
                           bool single_trust) {
  const std::string name = user.empty() ? otherwise : user;
  passwd entry{}, *found = nullptr;
  std::vector<char> buffer(64 << 10);
  if (name.empty()) {
    if (::geteuid() == 0 && !single_trust)
      throw Error(Fault::config, "the team has no system user, and jobs never run as root: set one with "
                                 "`wellspring cluster teams`");
    ::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found);
  } else {
    ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (!found) throw Error(Fault::config, str("there is no system user '", name, "' on this machine"));
    if (found->pw_uid == 0) throw Error(Fault::config, "jobs never run as root");
  }
  SlurmAccount account;
  if (!found) {
    account.name = std::to_string(::geteuid());
    return account;
  }
  account.name = found->pw_name, account.home = found->pw_dir, account.shell = found->pw_shell;
  if (found->pw_uid == ::geteuid()) return account;
  if (::geteuid() != 0)
    throw Error(Fault::config, str("the controller cannot switch to the system user '", name,
                                   "': it does not run as root"));
  account.uid = found->pw_uid, account.gid = found->pw_gid;
  int count = 64;
  account.groups.resize(static_cast<size_t>(count));
  while (::getgrouplist(found->pw_name, found->pw_gid, account.groups.data(), &count) < 0)
    account.groups.resize(static_cast<size_t>(count));
  account.groups.resize(static_cast<size_t>(count));
  return account;
}

// The plain system calls: those of the C library would switch all threads.
SlurmRights::SlurmRights(const SlurmAccount& account) {
  if (account.uid < 0) return;
  const int count = ::getgroups(0, nullptr);
  groups_.resize(static_cast<size_t>(count < 0 ? 0 : count));
  WS_CHECK(::getgroups(static_cast<int>(groups_.size()), groups_.data()) >= 0, "groups of this process");
  const auto refuse = [&] {
    const int error = errno;
    ::syscall(SYS_setgroups, groups_.size(), groups_.data());
    throw Error(Fault::config, str("cannot work with the rights of ", account.name, ": ", std::strerror(error)));
  };
  if (::syscall(SYS_setgroups, account.groups.size(), account.groups.data()) != 0) refuse();
  ::syscall(SYS_setfsgid, account.gid);
  ::syscall(SYS_setfsuid, account.uid);
  switched_ = true;
  if (::syscall(SYS_setfsuid, -1L) != account.uid || ::syscall(SYS_setfsgid, -1L) != account.gid) {
    ::syscall(SYS_setfsuid, ::geteuid());
    ::syscall(SYS_setfsgid, ::getegid());
    errno = EPERM;
    refuse();
  }
}

SlurmRights::~SlurmRights() {
  if (!switched_) return;
  ::syscall(SYS_setfsuid, ::geteuid());
  ::syscall(SYS_setfsgid, ::getegid());
  ::syscall(SYS_setgroups, groups_.size(), groups_.data());
}

std::vector<std::string> slurm_command_prefix(const SlurmAccount& account) {
  std::vector<std::string> argv = {"setpriv", "--pdeathsig=KILL"};
  if (account.uid >= 0)
    argv.insert(argv.end(), {str("--reuid=", account.uid), str("--regid=", account.gid), "--init-groups"});
  argv.insert(argv.end(), {"env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
                           "LANG=C.UTF-8", str("HOME=", account.home), str("USER=", account.name),
                           str("LOGNAME=", account.name), str("SHELL=", account.shell)});
  return argv;
}

}  // namespace wellspring::cluster
