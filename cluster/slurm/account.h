#pragma once
// The system user of a team, and file access with no more than that user's rights.

#include <sys/types.h>

#include <string>
#include <vector>

namespace wellspring::cluster {

/// uid < 0: ourselves, nothing is switched.
struct SlurmAccount {
  std::string name, home = "/", shell = "/bin/sh";
  int64_t uid = -1, gid = -1;
  std::vector<gid_t> groups;
};

/// Whom the attempts of a team with that system user run as. Empty: `otherwise`, and without that
/// ourselves. Error(Fault::config) when there is no such user, when it is root (ourselves being root
/// counts, unless `single_trust`), or when we cannot switch to it.
SlurmAccount slurm_account(const std::string& user, const std::string& otherwise,
                           bool single_trust);

/// File access of the calling thread with the account's rights for as long as it lives: a link that
/// the user laid gives nothing that the user could not reach.
class SlurmRights {
 public:
  explicit SlurmRights(const SlurmAccount& account);
  ~SlurmRights();
  SlurmRights(const SlurmRights&) = delete;
  SlurmRights& operator=(const SlurmRights&) = delete;

 private:
  bool switched_ = false;
  std::vector<gid_t> groups_;
};

/// What goes before a command so that it runs as that user with a clean environment, and ends with
/// the thread that started it.
std::vector<std::string> slurm_command_prefix(const SlurmAccount& account);

}  // namespace wellspring::cluster
