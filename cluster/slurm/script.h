#pragma once
// What Slurm is given to run, and what comes back in files. All of them lie in the attempt's
// folder:
//   slurm.sh      what sbatch gets (of an array: in the first element's folder, with the next five)
//   slurm.list    the attempts' folders, by index
//   slurm.task    run by srun for each rank; it runs slurm.setup, and slurm.exec
//   slurm.vars    of each attempt: its name and index in Slurm, then what the scripts need
//   slurm.env     of each attempt: the tasks' environment
//   secrets/      of each attempt, until every task has copied them to its node's memory
//   slurm.job     written by the job, once: its number and its nodes. Who comes second does not run
//   slurm.begun   the setup is done, the tasks begin
//   slurm.again   a second job came and did not run
//   slurm.stop    written by the executor: seconds between SIGTERM and SIGKILL
//   slurm.failed  status and rank of the task that failed first
//   slurm.took.N  rank N has its copy of the secrets
//   slurm.used.N  what the shell's `times` said at the end of rank N
//   slurm.status  what became of it
//   slurm.out     what the script and Slurm itself said

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/controller/executor.h"
#include "cluster/slurm/transport.h"

namespace wellspring::cluster {

struct SlurmPlan {
  std::vector<std::string> folders;  // to be made, all of them with the user's rights
  std::vector<std::pair<std::string, std::string>> files;  // path, content; mode 0600
  SlurmSubmission submission;
};

/// Attempts that differ in nothing but their number: one, or elements of an array. `archive`: of
/// the working folder, readable by the user. Error(Fault::config) for what Slurm cannot do.
SlurmPlan plan_slurm(const std::vector<const Launch*>& launches,
                     const std::vector<SlurmComponent>& components, const SlurmOptions& options,
                     const std::string& archive);

/// RUN/attempts/N
std::string attempt_folder(const Attempt& attempt);
/// Where the executor keeps what belongs to a team: archives, and what setups made.
std::string slurm_team_folder(const SlurmOptions& options, const std::string& team);

/// Name and index (-1: none) in the first line of slurm.vars; an empty name when there is none.
std::pair<std::string, int> parse_slurm_intent(std::string_view text);
/// Number and nodes in slurm.job; empty while it is not whole.
std::pair<std::string, std::string> parse_slurm_claim(std::string_view text);

struct SlurmStatus {
  bool whole = false;
  int status = 0, rank = -1;
  std::string outcome;  // as executions.h names them; "ask": Slurm's own state decides, if it knows
  std::string reason;
  double cpu_seconds = 0;  // of the tasks; 0: not known
};
/// What slurm.status holds; the job's user may have written it.
SlurmStatus parse_slurm_status(std::string_view text);

/// What Slurm's state of a job means.
enum class SlurmPhase { waits, runs, ended };
SlurmPhase slurm_phase(std::string_view state);
/// The outcome of an ended job by its state alone; "" when the state says no more than that it
/// ended.
std::string slurm_outcome(std::string_view state);

}  // namespace wellspring::cluster
