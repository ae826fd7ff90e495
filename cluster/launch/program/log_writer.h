#pragma once
// One log on disk, bounded: the head stays, of the rest the newest segments. log.NAME.txt holds the
// first half of the limit; each further quarter lies in log.NAME.fromOFFSET.txt, named by its first
// byte's place in the whole, and of those the newest two are kept.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/launch/spec.h"

namespace wellspring::cluster::launch {

class LogWriter {
 public:
  /// Nothing is made before the first byte.
  LogWriter(const Identity* identity, std::string folder, std::string name, int64_t limit);
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  /// Never fails: what cannot be written (a full disk) is dropped and counted as written.
  void write(std::string_view data);

 private:
  bool open_segment();
  std::string path(int64_t start) const;

  const Identity* identity_;
  std::string folder_, name_;
  int64_t head_, quarter_;
  int64_t total_ = 0;
  int64_t room_ = 0;  // bytes that still go into the open segment
  int fd_ = -1;
  std::vector<int64_t> kept_;  // starts of the segments behind the head
};

}  // namespace wellspring::cluster::launch
