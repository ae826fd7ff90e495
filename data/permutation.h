#pragma once
// A keyed permutation of 0 .. n - 1 that is computed, not stored: a shuffle of any number of
// documents in no memory.

#include <cstdint>

namespace wellspring {

/// Six-round Feistel network over the smallest even number of bits that holds n, round function
/// Philox, walked until the value falls below n (at most 4 steps on average). Pure.
class Permutation {
 public:
  Permutation() = default;
  Permutation(uint64_t n, uint64_t key, uint64_t stream);
  /// Image of i < n.
  uint64_t operator()(uint64_t i) const;
  uint64_t size() const { return n_; }

 private:
  uint64_t n_ = 0, key_ = 0, stream_ = 0;
  int half_bits_ = 1;
};

}  // namespace wellspring
