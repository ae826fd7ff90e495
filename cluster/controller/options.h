#pragma once
// How a controller is set up: cluster.yaml, all of it optional.

#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "cluster/controller/archives.h"
#include "cluster/controller/nodes.h"
#include "cluster/node/options.h"
#include "cluster/slurm/options.h"

namespace wellspring::cluster {

struct ControllerOptions {
  std::string folder;  // keys, blobs, backups, and the state by default
  std::string state;   // path or postgresql://...; empty: FOLDER/state.db
  std::string runs;    // root of run folders; empty: FOLDER/runs
  std::string address = "127.0.0.1";
  int port = 8930;
  std::vector<std::string> names;  // other names and addresses of this machine
  std::string web;                 // files of the console; empty: beside the program
  Leases leases;
  double keep = 90 * 86400.0;         // seconds that ended jobs stay
  double keep_runs = 0;               // seconds that their run folders stay after that; 0: for ever
  double backup_every = 6 * 3600.0;   // seconds; 0: never
  int backups = 12;                   // kept
  Archives::Limits archives;          // of uploaded working folders
  std::vector<std::string> notify_allowed;  // addresses that `notify` may reach though they are near
  int64_t most_jobs = 200'000;        // of a team that have not ended
  std::string secrets_key;            // file of the key that seals secrets; outside FOLDER/backups
  bool local = true;                  // `up` starts a node on this machine
  ChipTable chips;
  NodeOptions node;                   // that node: what stands under `node:`
  bool single_trust = false;
  std::vector<SlurmOptions> slurm;    // Slurm clusters that jobs may run on
};

/// Reads cluster.yaml ("" : all defaults). Error(Fault::config) with file and line.
ControllerOptions read_controller_options(const std::string& path,
                                          const std::vector<std::string>& overrides);
/// Where the state lies when nobody says: /var/lib/wellspring for root, ~/.local/share/wellspring.
std::string default_folder();

}  // namespace wellspring::cluster
