#pragma once
// Starting one process of an attempt: into its cgroups, as its user, with its own session.

#include <sys/types.h>

#include <string>
#include <vector>

#include "cluster/launch/spec.h"

namespace wellspring::cluster::launch {

struct SpawnRequest {
  const std::vector<std::string>* argv = nullptr;
  const std::vector<std::string>* env = nullptr;
  const std::string* folder = nullptr;
  const Identity* identity = nullptr;
  const std::vector<int>* cores = nullptr;  // empty: as ours
  int input = -1, output = -1;              // become 0, and 1 and 2
  int error = -1;                           // becomes 2; -1: output does
  bool terminal = false;                    // input is a terminal: it becomes the session's own
  int cgroup2 = -1;                         // folder; the process is born in it
  int cgroup2_procs = -1;                   // its cgroup.procs, where that is not possible
  std::vector<int> cgroup1_procs;           // cgroup.procs files that it enters
  bool reset_oom_score = false;
};

/// The pid, or -1 with the reason in `error` (status 126: not allowed or broken, 127: not found).
/// Returns after the new program has taken the process over.
pid_t spawn(const SpawnRequest& request, std::string* error, int* status);

}  // namespace wellspring::cluster::launch
