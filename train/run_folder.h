#pragma once
// The run folder: what a running job and the outside share, all plain files (docs/architecture.md).
//   metrics.jsonl            append-only, one object per step, with the attempt
//   checkpoints/step-N/      checkpoint folders; `latest` is found by number
//   owner                    the token that may write
//   attempts/N/run.yaml      resolved configuration; status.json, placement.json, log.txt
//   report.html

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring {

class RunFolder {
 public:
  /// Opens a folder for a new attempt: makes what is missing, takes the next attempt number
  /// (WELLSPRING_ATTEMPT when the cluster gives one), writes `owner` with the token
  /// (WELLSPRING_TOKEN, or a fresh one). Error(Fault::try_again) when another live process of this
  /// machine owns it.
  explicit RunFolder(const std::string& path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  int64_t attempt() const { return attempt_; }
  std::string attempt_path(const std::string& name) const;

  /// Appends one line to metrics.jsonl ({"attempt": ..} is added in front).
  void metric(const Json& values);
  /// Replaces attempts/N/status.json: {"state": "running|finished|stopped|failed", ...}.
  void status(const std::string& state, const Json& more);
  /// Appends a line to attempts/N/log.txt.
  void log(const std::string& line);

  /// Throws Error(Fault::try_again) when `owner` no longer holds our token: another attempt took
  /// over.
  void check_owner() const;
  /// Publishes a finished temporary folder as checkpoints/step-N: checks the owner, syncs, renames.
  void publish_checkpoint(const std::string& temporary, int64_t step);
  std::string temporary_checkpoint() const;
  /// Removes all but the newest `keep` checkpoints and left-over temporary ones.
  void prune_checkpoints(int keep);

 private:
  std::string path_, token_;
  int64_t attempt_ = 1;
  int lock_ = -1;
};

/// Steps of the published checkpoints of a run folder, rising.
std::vector<int64_t> checkpoint_steps(const std::string& run_folder);
std::string checkpoint_path(const std::string& run_folder, int64_t step);
/// Steps of metrics.jsonl: per step the newest attempt that was not rolled back, rising by step. A
/// cut last line (a kill while writing) is passed over.
std::vector<Json> live_curve(const std::string& run_folder);

}  // namespace wellspring
