#pragma once
// Runs attempts on a Slurm cluster. We queue, charge quotas and choose chip and count; Slurm
// places: the nodes of an attempt are only where its devices are accounted for. What the job itself
// wrote into the run folder says what became of it; Slurm's own word counts only where that is
// missing; and what cannot be known because Slurm does not answer stays as it is.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/controller/executor.h"
#include "cluster/slurm/options.h"
#include "cluster/slurm/transport.h"

namespace wellspring::cluster {

class SlurmExecutor : public Executor {
 public:
  /// Begins to work at once, and adopts what Reports::active says has not ended. `archive` gives
  /// the path of a working folder's archive (team, hash).
  SlurmExecutor(const SlurmOptions& options, const ChipTable& chips, Reports reports,
                std::function<std::string(const std::string&, const std::string&)> archive = {});
  /// Leaves jobs running.
  ~SlurmExecutor() override;

  void start(const Launch& launch) override;
  /// A job of several shapes: components in place of the launch's resources.
  void start(const Launch& launch, std::vector<SlurmComponent> components);
  void go(const Attempt&) override {}  // Slurm starts all tasks or none
  /// `node` says nothing here: the attempt ends as a whole.
  void stop(const Attempt& attempt, const std::string& node, double grace,
            const std::string& reason) override;
  LogText log(const Attempt& attempt, const std::string& user, int rank, int64_t offset,
              int64_t most, double wait) override;
  void tick() override {}

  /// Why Slurm could not be asked the last time; "" when it could. Thread-safe.
  std::string trouble() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Slurm's nodes as ours, for one whose state allows it to run jobs; others are down with a note.
/// Nodes without devices that the chip table or the options know are left out.
std::vector<Node> slurm_nodes(const std::vector<SlurmNode>& nodes, const SlurmOptions& options,
                              const ChipTable& chips);

}  // namespace wellspring::cluster
