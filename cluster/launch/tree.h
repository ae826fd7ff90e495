#pragma once
// Files and folders made and removed with the rights of an attempt's user, by a process that may
// be root: a link or a name that the user laid somewhere gives nothing that the user could not do.
// Built into the library and the launcher.

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "cluster/launch/spec.h"

namespace wellspring::cluster::launch {

/// File access of the calling thread as that user, for as long as it lives (the system's call for
/// file servers: setfsuid). Nothing when the identity is our own.
class AsUser {
 public:
  explicit AsUser(const Identity& identity);
  ~AsUser();
  AsUser(const AsUser&) = delete;
  AsUser& operator=(const AsUser&) = delete;

 private:
  bool switched_ = false;
  std::vector<gid_t> groups_;
};

// All return "" or the reason with the path in it.
/// The folder and those above it that are absent, mode 0700: a run is its team's alone.
std::string make_folders(const std::string& path);
/// Whole file by a temporary name and a rename.
std::string write_file(const std::string& path, std::string_view content);
/// A new folder (0700) that lies in memory, with the files (0400) in it.
std::string write_secrets(const std::string& folder,
                          const std::vector<std::pair<std::string, std::string>>& secrets);
/// The folder with all it holds; follows no link. Absent: nothing.
void remove_tree(const std::string& folder);

}  // namespace wellspring::cluster::launch
