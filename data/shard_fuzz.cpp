// Any bytes as a shard: refused with an Error, or all of it readable. The header's checksums are
// mended first, so that the fields behind them are reached.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "data/shard.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wellspring;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size >= sizeof(ShardHeader)) {
    auto* header = reinterpret_cast<ShardHeader*>(bytes.data());
    std::memcpy(header->magic, "WSTOKENS", 8);
    const Hash128 payload = hash128(std::string_view(bytes).substr(sizeof(ShardHeader)));
    header->payload[0] = payload.low;
    header->payload[1] = payload.high;
    header->header = hash128({bytes.data(), offsetof(ShardHeader, header)}).low;
  }
  // A file in memory alone: nothing stays behind.
  static const int file = ::memfd_create("shard_fuzz", 0);
  static const std::string path = str("/proc/self/fd/", file);
  WS_CHECK(::ftruncate(file, 0) == 0 &&
               ::pwrite(file, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
           "the input stands in the file");
  try {
    Shard shard(path);
    shard.verify();
    std::vector<int32_t> tokens;
    for (int64_t d = 0; d < shard.documents(); ++d) {
      tokens.resize(static_cast<size_t>(shard.length(d)));
      shard.copy(d, 0, shard.length(d), tokens.data());
    }
  } catch (const Error& e) {
    WS_CHECK(e.fault() == Fault::data, e.what());
  }
  return 0;
}
