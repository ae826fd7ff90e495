#pragma once
// How a Slurm cluster is reached: what stands under `slurm:` of cluster.yaml.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/config.h"
#include "cluster/job/chips.h"

namespace wellspring::cluster {

struct SlurmOptions {
  std::string name = "slurm";  // of the executor, its pool, and in front of its nodes' names
  enum class Mode { command_line, rest } mode = Mode::command_line;
  std::string conf;     // slurm.conf for the commands; empty: Slurm's own default
  std::string bin;      // folder of sbatch, squeue, ...; empty: found in PATH
  std::string url;      // of slurmrestd
  std::string token;    // file with the token of `user` for slurmrestd, read at each call
  std::string tokens;   // folder with one such file per system user, named after it; empty: the
                        // token of `user` speaks for all (Slurm allows that to root and SlurmUser)
  std::string user;     // of mode rest: whose token `token` is; lists jobs and nodes
  std::string account;  // Slurm's account of the jobs; empty: the user's default
  std::string runs;     // root of the run folders, the same path here and on Slurm's nodes
  std::string program;  // wellspring on Slurm's nodes, for training jobs; empty: this one
  std::map<std::string, std::string> partitions;  // by chip; "": of the others
  std::map<std::string, std::string> gres;  // by chip: "gpu:a100"; else its type is the chip's name
  std::map<std::string, int> cpus_per_device;  // by chip; else an even share of the node's
  std::string cpu_chip;              // chip type of nodes without GRES; empty: they are not used
  std::vector<std::string> mounts;   // folders that its nodes have, which jobs may mount
  std::vector<std::string> options;  // more options of sbatch
  double poll = 2;                   // seconds between two looks at Slurm's list of jobs
  double settle = 5;        // seconds in which a file of an ended job may still come to light here
  double nodes_every = 30;  // seconds between two looks at its nodes
  int max_array = 0;  // elements of one array; 0: Slurm's MaxArraySize (by REST: 1001, its default)
  std::string
      team;  // of a controller that cannot switch users: whose jobs it takes; empty: default
  bool single_trust = false;  // jobs of all teams run with our own rights, be it as root
};

/// Reads the Slurm clusters of a configuration: a list under `slurm`, or one map. `runs` and
/// `single_trust` hold where an entry does not say. Error(Fault::config) with file and line.
std::vector<SlurmOptions> read_slurm_options(const Config& config, const std::string& runs,
                                             const ChipTable& chips, bool single_trust = false);

}  // namespace wellspring::cluster
