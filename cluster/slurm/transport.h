#pragma once
// The few things that are asked of Slurm, by its commands or by slurmrestd. What cannot be known
// because Slurm does not answer is Error(Fault::try_again); what it refuses is Error(Fault::usage).

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/slurm/options.h"

namespace wellspring::cluster {

/// Nodes of one shape. A job of several is heterogeneous.
struct SlurmComponent {
  int nodes = 1, tasks_per_node = 1, cpus_per_task = 1;
  std::string gres = {};       // of each node: "gpu:a100:4"; empty: none
  int64_t memory_mb = 0;       // of each node; 0: Slurm's default
  std::string partition = {};  // empty: Slurm's default
  std::string chip = {};       // for people and the hostfile
};

/// What is handed to sbatch.
struct SlurmSubmission {
  std::string name, comment;
  std::string user;          // system user; empty: ourselves
  std::string script, path;  // its text, and where it lies
  std::string folder;        // working folder
  std::string output;        // of the script itself; Slurm's %-patterns
  int minutes = 0;           // time limit; 0: the partition's
  int array = 0;             // elements, by index from 0; 0: no array
  std::vector<SlurmComponent> components;
};

/// A job as Slurm lists it, also for some minutes after its end.
struct SlurmJob {
  std::string id;  // "7"; "9_3" for an element of an array
  std::string state, nodes, reason;
  bool operator==(const SlurmJob&) const = default;
};

struct SlurmNode {
  std::string name, address, gres, state, reason;  // gres: "gpu:a100:4(S:0-1)"
  int64_t memory_mb = 0;
  int cpus = 0;
  bool operator==(const SlurmNode&) const = default;
};

class SlurmTransport {
 public:
  virtual ~SlurmTransport() = default;
  /// The number of the new job. Error(Fault::try_again): it may or may not have been made.
  virtual std::string submit(const SlurmSubmission& submission) = 0;
  /// All jobs, elements of arrays one by one, of heterogeneous jobs the leader with all nodes.
  virtual std::vector<SlurmJob> jobs() = 0;
  /// Those of a name.
  virtual std::vector<SlurmJob> find(const std::string& name) = 0;
  virtual std::vector<SlurmNode> nodes() = 0;
  /// Elements that one array may have.
  virtual int max_array() = 0;
  /// Whether signals reach the tasks alone. slurmrestd also signals srun, which then ends them
  /// after Slurm's own KillWait: without this, the script in the job watches for a stop and
  /// signals.
  virtual bool signals_tasks() const = 0;
  /// SIGTERM (SIGKILL: `hard`) to the tasks, where signals_tasks(). A job that waits in Slurm, or
  /// has ended, is left alone.
  virtual void signal(const std::string& id, const std::string& user, bool hard) = 0;
  /// Ends a job, waiting or running. `only_waiting`: one that has begun is left alone where Slurm
  /// can tell.
  virtual void cancel(const std::string& id, const std::string& user, bool only_waiting) = 0;
};

/// The transport of the options. Thread-safe only where each thread has its own.
std::unique_ptr<SlurmTransport> make_transport(const SlurmOptions& options);
std::unique_ptr<SlurmTransport> make_rest_transport(const SlurmOptions& options);

// What Slurm says, taken apart; for the transports and their tests.

/// Lines of squeue in this form; others are left out. No names: those are of anybody's making, and
/// may hold line ends.
inline constexpr const char* kSlurmJobFormat = "%i|%T|%N|%r";
std::vector<SlurmJob> parse_squeue(std::string_view text);
/// Lines of sinfo in this form, each node once.
inline constexpr const char* kSlurmNodeFormat = "%N|%o|%T|%m|%c|%G|%E";
std::vector<SlurmNode> parse_sinfo(std::string_view text);
/// Answers of slurmrestd. Error(Fault::try_again) when they are not what is expected.
/// Jobs of one name, or all; of arrays that wait, elements below `most`.
std::vector<SlurmJob> parse_rest_jobs(const std::string& body, const std::string& name = "",
                                      int most = 1001);
std::vector<SlurmNode> parse_rest_nodes(const std::string& body);
/// Whether what a command of Slurm complains of means that Slurm could not be asked.
bool slurm_unreachable(std::string_view complaint);
/// "gpu:a100:4(S:0-1),gpu:t4:2" as name, type ("" when it has none) and count.
struct SlurmGres {
  std::string name, type;
  int count = 0;
};
std::vector<SlurmGres> parse_gres(std::string_view text);

}  // namespace wellspring::cluster
