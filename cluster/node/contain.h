#pragma once
// How the processes of an attempt are kept together, so that ending it ends all of them.

#include <string>
#include <string_view>
#include <vector>

namespace wellspring::cluster {

/// From the strongest down.
enum class Means {
  best,           // the first of the following that works here
  cgroup2,        // cgroup v2: cgroup.kill
  cgroup1,        // cgroup v1: freeze, kill, thaw
  pid_namespace,  // the end of its first process ends all
  subreaper       // descendants come back to the launcher; after its death: search by the token
};
std::string_view means_name(Means means);  // "best", "cgroup2", "cgroup1", "pid-namespace", ...
/// Error(Fault::config) for any other name.
Means parse_means(std::string_view name);

/// What is in use on this machine, for people and for the node's report.
struct ContainInfo {
  Means means = Means::subreaper;
  std::vector<std::string> passed_over;  // "cgroup2: /sys/fs/cgroup is read-only", the better ones
  bool limits_memory = false;            // by a cgroup
  bool limits_cores = false;    // by a cpuset; otherwise by affinity, which a task can change back
  bool limits_devices = false;  // a task cannot open a device that it was not given
  std::string limits;           // "memory, cores, devices by cgroup v1", and what is not limited
};

}  // namespace wellspring::cluster
