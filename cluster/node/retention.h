#pragma once
// What a node removes when nobody has used it for long: caches of its own, and run folders of jobs
// that the controller has forgotten.

#include <string>
#include <vector>

namespace wellspring::cluster {

/// Names ("TEAM/RUN") of at most `most` run folders below `runs` in which nothing has been written for
/// `age` seconds: neither in the folder, nor in its attempts and checkpoints.
std::vector<std::string> old_runs(const std::string& runs, double age, size_t most);
/// Removes a run folder that old_runs() named, with the rights of its team's user. A link leads nowhere.
void remove_run(const std::string& runs, const std::string& name);
/// Removes archives of working folders, and folders that a setup made, under a node's folder, when no
/// attempt has begun with them for `age` seconds. One that is being made or copied stays.
void clean_caches(const std::string& folder, double age);

}  // namespace wellspring::cluster
