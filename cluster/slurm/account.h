#pragma once
// The system user that a team's jobs run as in Slurm.

#include <string>
#include <vector>

#include "cluster/launch/tree.h"
#include "cluster/slurm/options.h"

namespace wellspring::cluster {

struct SlurmAccount {
  std::string name, home, shell;
  launch::Identity identity;  // uid < 0: ourselves, nothing is switched
};

/// Whom jobs of a team with that system user run as: that one; for a team without one, or with
/// single_trust, ourselves. Error(Fault::config) when there is no such user, when it is root
/// (ourselves being root counts, unless single_trust), or when we cannot switch to it.
SlurmAccount slurm_account(const std::string& user, const SlurmOptions& options);
/// The same as a name for read_log_in: "" for ourselves.
std::string slurm_account_name(const std::string& user, const SlurmOptions& options);

/// What goes before a command so that it runs as that user with a clean environment, and ends with
/// the thread that started it.
std::vector<std::string> slurm_command_prefix(const SlurmAccount& account);

}  // namespace wellspring::cluster
