#pragma once
// From logits to a token. A function of (logits, options, position): the same request gives the
// same text.

#include <cstdint>
#include <span>
#include <vector>

namespace wellspring {

struct SamplingOptions {
  double temperature = 1;  // 0: greedy, the highest logit (the lowest id among equals)
  int64_t top_k = 0;       // only the k most likely; 0: all
  double top_p = 1;        // only the most likely that together reach this share
  uint64_t seed = 0;       // Philox key; each position draws its own number
  /// Error(Fault::usage) naming the option that is out of range.
  void check() const;
};

/// Draws one token. top_k first, then top_p of what remains. Error(Fault::data) when logits hold
/// NaN or are all -infinity. Thread-safe.
int32_t sample(std::span<const float> logits, const SamplingOptions& options, uint64_t position);

}  // namespace wellspring
