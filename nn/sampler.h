#pragma once
// From logits to a token. A function of (logits, options, what came before, position): the same request gives the
// same text.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace wellspring {

struct SamplingOptions {
  double temperature = 1;         // 0: greedy, the highest logit (the lowest id among equals)
  int64_t top_k = 0;              // only the k most likely; 0: all
  double top_p = 1;               // only the most likely that together reach this share; 0: the likeliest alone
  double min_p = 0;               // only those at least this share of the most likely one
  double typical_p = 1;           // only the most typical that together reach this share (Meister et al., 2023)
  double repetition_penalty = 1;  // divides logits above 0 of tokens that came before, multiplies those below
  double frequency_penalty = 0;   // taken off a logit for each time that its token was made
  double presence_penalty = 0;    // taken off once
  std::vector<std::pair<int32_t, float>> bias;  // added to logits; -infinity bars a token
  uint64_t seed = 0;              // Philox key; each position draws its own number
  /// Error(Fault::usage) naming the option that is out of range.
  void check() const;
};

/// An option that is a number, and its range.
struct SamplingRange {
  const char* name;  // of the member
  double SamplingOptions::*value;
  double low, high;
  bool above;  // low itself is too low
  const char* expected;
  bool holds(double v) const { return (above ? v > low : v >= low) && v <= high; }
};
/// Of all of them but top_k.
std::span<const SamplingRange> sampling_ranges();

/// Draws one token from plain logits: bias and penalties are Sampler's. top_k first, then typical_p, top_p and min_p
/// of what remains. Error(Fault::data) when logits hold NaN or are all -infinity. Thread-safe.
int32_t sample(std::span<const float> logits, const SamplingOptions& options, uint64_t position);

/// One token that could stand at a place, and the logarithm of its probability under the model alone.
struct TokenProbability {
  int32_t token = 0;
  float log_probability = 0;
};

/// Draws the tokens of one sequence. One thread.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::span<const int32_t> prompt);
  /// The next token, from logits [V] that may be changed. `allowed`: a bit for each token, or null; Error(Fault::data)
  /// when it leaves none.
  int32_t next(std::span<float> logits, uint64_t position, const uint64_t* allowed = nullptr) const;
  /// What was made in the end.
  void accept(int32_t token) { ++made_[token]; }

 private:
  SamplingOptions options_;
  std::map<int32_t, int> made_;
  std::vector<int32_t> prompt_;  // sorted, each once
};

/// The `most` likely tokens, and of `token` (first in the list), by logits [V].
std::vector<TokenProbability> log_probabilities(std::span<const float> logits, int32_t token, int64_t most);

}  // namespace wellspring
