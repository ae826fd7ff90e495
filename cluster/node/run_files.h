#pragma once
// What a node reads and makes around run folders, with the rights of their owners.

#include <atomic>
#include <cstdint>
#include <string>

#include "base/json_fwd.h"
#include "cluster/link/link.h"
#include "cluster/node/options.h"

namespace wellspring::cluster {

/// The step of the newest published checkpoint of a run folder; 0: none.
int64_t newest_checkpoint(const std::string& run_folder, const std::string& user);
/// {"step", "loss", "tokens_per_second", "time", "checkpoint"} of a training's run folder: the last
/// line of its metrics. `what`: {"folder", "attempt"}. Below `runs` alone; plain values alone.
Json run_progress(const Json& what, const std::string& runs, const std::string& user);
/// The last figures of its metrics by name, numbers alone; {} when there are none.
Json run_reached(const std::string& run_folder, const std::string& user);
/// {"points": [{...}]}: at most `points` lines of its metrics, thinned out evenly.
Json run_curve(const Json& what, const std::string& runs, const std::string& user);
/// Error(Fault::data) unless `path` lies below `root` without "..".
void check_under(const std::string& root, const std::string& path);
/// Makes a folder that belongs to `user` (empty: to us) alone; its parents belong to us. One that is
/// there and another user's is refused: Error(Fault::config).
void own_folder(const std::string& path, const std::string& user);
/// Where the archive of a working folder lies, readable by `user` alone; "": not here.
std::string cached_archive(const NodeOptions& options, const std::string& team, const std::string& hash,
                           const std::string& user);
/// Fetches it from the controller, until `stop`; returns its path. Error(Fault::io).
std::string fetch_archive(const NodeOptions& options, const std::string& key, const std::string& ca,
                          const std::string& team, const std::string& hash, const std::string& user,
                          const std::atomic<bool>& stop);
/// Whether something accepts on a port of this machine (and answers 200 to GET `path`); within 1.5 s.
bool service_answers(int port, const std::string& path);
/// Bytes both ways between a channel and a port of this machine, until either ends.
void relay_port(Channel& channel, int port);

}  // namespace wellspring::cluster
