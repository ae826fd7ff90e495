#pragma once
// How a node is set up: what stands under `node:` of cluster.yaml, or in a file of its own.

#include <string>
#include <vector>

#include "base/config.h"
#include "cluster/job/chips.h"
#include "cluster/node/contain.h"
#include "cluster/state/entities.h"

namespace wellspring::cluster {

struct NodeOptions {
  std::string name;        // empty: the host's
  std::string controller;  // URL
  std::string folder;      // its key, spool and caches
  std::string runs;        // root of run folders
  std::string address;     // where other nodes reach its tasks; empty: the host's name
  std::vector<Device> devices;  // empty: one per core of this machine, of its kind of CPU
  int64_t memory_mb = 0;        // 0: the machine's, less a tenth
  std::vector<std::string> mounts;
  std::string team;        // of a node that cannot switch users: whose jobs it takes
  bool single_trust = false;    // jobs of all teams run with the node's own rights
  Means containment = Means::best;
  double cache_age = 14 * 86400.0;  // seconds that archives and what a setup made stay unused
  std::string ca;          // PEM file of the controller's CA; written at joining
};

/// Devices stand as `devices: [{chip: cpu-avx2, count: 2, cores: [0, 1]}]`: cores are dealt out
/// evenly over the count. Error(Fault::config) with file and line.
NodeOptions read_node_options(const Config& config, const std::string& default_folder,
                              const ChipTable& chips);

}  // namespace wellspring::cluster
