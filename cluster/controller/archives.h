#pragma once
// Archives of working folders, uploaded by users, fetched by nodes: files by team and SHA-256.

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace wellspring::cluster {

/// Thread-safe.
class Archives {
 public:
  struct Limits {
    int64_t each = int64_t{20} << 30;   // bytes of one
    int64_t team = int64_t{200} << 30;  // bytes of all of a team's, with those that are coming
  };
  Archives(const std::string& folder, Limits limits);

  /// Where the archive lies when it is whole; the team is a name, the hash 64 hex digits.
  std::string path(const std::string& team, const std::string& hash) const;
  /// Whether it is here; it then stays for a day at least.
  bool have(const std::string& team, const std::string& hash) const;
  /// Writes `bytes` at `offset` of an archive of `total` bytes that `uploader` sends. True when that
  /// was the last part and the whole has the hash. Several may send the same at a time. ApiError 400
  /// (another hash, or a part outside), 413 (a limit); Error(Fault::try_again) for a full disk.
  bool take(const std::string& team, const std::string& hash, const std::string& uploader,
            int64_t offset, int64_t total, std::string_view bytes);
  /// Removes what no job uses ("TEAM/HASH") and what was begun and left, when it is a day old.
  void clean(const std::set<std::string>& used) const;

 private:
  int64_t held_by(const std::string& team, const std::string& but) const;
  const std::string folder_;
  const Limits limits_;
};

}  // namespace wellspring::cluster
