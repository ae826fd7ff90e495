#pragma once
// Philox4x32-10 (Salmon et al., SC 2011): a counter-based generator. A random number is a function
// of (seed, stream, index), so any piece of work can draw its own without order or state.

#include <array>
#include <cstdint>

namespace wellspring {

/// Ten rounds on a 128-bit counter under a 64-bit key. Pure.
std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

/// A sequential view of one stream; copyable, comparable, and its position can be saved.
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0, uint64_t position = 0)
      : seed_(seed), stream_(stream), position_(position) {}
  uint32_t next_u32();
  uint64_t next_u64();
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  /// Standard normal (Box-Muller).
  double normal();
  /// Uniform integer in [0, n), n >= 1, without bias.
  uint64_t below(uint64_t n);
  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }
  /// Number of 32-bit words drawn.
  uint64_t position() const { return position_; }

 private:
  uint64_t seed_, stream_, position_;
};

}  // namespace wellspring
