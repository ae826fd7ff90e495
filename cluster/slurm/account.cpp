#include "cluster/slurm/account.h"

#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "cluster/node/executions_impl.h"

namespace wellspring::cluster {

std::string slurm_account_name(const std::string& user, const SlurmOptions& options) {
  return options.single_trust ? "" : user;
}

SlurmAccount slurm_account(const std::string& user, const SlurmOptions& options) {
  const std::string name = slurm_account_name(user, options);
  if (name.empty() && ::geteuid() == 0 && !options.single_trust)
    throw Error(Fault::config,
                "the team has no system user, and jobs never run as root: an administrator "
                "sets one with `wellspring cluster teams`");
  const Account found = find_account(name);
  return {found.name, found.home, found.shell, found.identity};
}

std::vector<std::string> slurm_command_prefix(const SlurmAccount& account) {
  std::vector<std::string> argv = {"setpriv", "--pdeathsig=KILL"};
  if (account.identity.uid >= 0)
    argv.insert(argv.end(), {str("--reuid=", account.identity.uid),
                             str("--regid=", account.identity.gid), "--init-groups"});
  argv.insert(argv.end(),
              {"env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
               "LANG=C.UTF-8"});
  if (!account.name.empty())
    argv.insert(argv.end(), {str("HOME=", account.home), str("USER=", account.name),
                             str("LOGNAME=", account.name), str("SHELL=", account.shell)});
  return argv;
}

}  // namespace wellspring::cluster
