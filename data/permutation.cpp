#include "data/permutation.h"

#include <bit>

#include "base/error.h"
#include "base/random.h"

namespace wellspring {

Permutation::Permutation(uint64_t n, uint64_t key, uint64_t stream)
    : n_(n), key_(key), stream_(stream) {
  WS_CHECK(n <= uint64_t{1} << 62, "a permutation of at most 2^62");
  int bits = n > 1 ? std::bit_width(n - 1) : 1;
  half_bits_ = (bits + 1) / 2;
}

uint64_t Permutation::operator()(uint64_t i) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  do {
    uint64_t left = i >> half_bits_, right = i & mask;
    for (uint64_t r = 0; r < 6; ++r) {
      auto words = philox(key_, right, stream_ << 3 | r);
      uint64_t mixed = (uint64_t{words[0]} << 32 | words[1]) & mask;
      uint64_t next = left ^ mixed;
      left = right;
      right = next;
    }
    i = left << half_bits_ | right;
  } while (i >= n_);
  return i;
}

}  // namespace wellspring
