#pragma once
// For executions.cpp: the means that was chosen, with its places.

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/launch/spec.h"
#include "cluster/node/contain.h"

namespace wellspring::cluster {

struct LaunchSpec;

struct ContainPlan {
  ContainInfo info;
  std::string cgroup2;  // folder that holds those of the launchers; empty: not used
  std::vector<std::string> cgroup2_controllers;  // that may limit there: "memory", "cpuset"
  std::map<std::string, std::string> cgroup1;    // controller and such a folder
  bool user_namespace = false;

  /// Writes where attempt `slot` is kept and how it is limited into the launcher's specification.
  void apply(const LaunchSpec& spec, const std::string& slot, launch::Spec* out) const;
  /// Ends what is left of launchers that no attempt is known of, and removes their folders.
  void sweep(const std::vector<std::string>& slots_in_use) const;
  /// Removes the folders where nothing uses them any more.
  void remove() const;
};

/// `id` names the folders, so that several daemons share a machine. Error(Fault::config) when the
/// wanted means does not work here.
ContainPlan choose_means(Means wanted, const std::string& id, const std::string& launcher);

}  // namespace wellspring::cluster
