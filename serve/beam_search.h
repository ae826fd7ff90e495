#pragma once
// Which beams go on. No model and no pages: the engine has them.

#include <cstdint>
#include <vector>

#include "serve/engine.h"

namespace wellspring {

/// One search, as transformers' `num_beams` does it (early_stopping=False).
class BeamSearch {
 public:
  BeamSearch(int64_t width, double length_penalty, std::vector<int32_t> stop_tokens)
      : width_(width), length_penalty_(length_penalty), stop_tokens_(std::move(stop_tokens)) {}

  /// A beam that goes on: which one it was, its next token, and the log-probability of all.
  struct Next {
    size_t parent = 0;
    int32_t token = 0;
    double log_probability = 0;
  };
  struct Parent {
    const std::vector<int32_t>* tokens;  // made so far
    double log_probability;
    const std::vector<TokenProbability>* likely;  // at least 2 * width
  };
  /// The beams of the next step. Empty when the search is done.
  std::vector<Next> step(const std::vector<Parent>& parents);
  /// A beam that was cut by length.
  void cut(const std::vector<int32_t>& tokens, double log_probability) { finish({tokens, log_probability, 0, false}); }
  /// The best, at most `width`.
  const std::vector<Beam>& found() const { return found_; }
  int64_t width() const { return width_; }

 private:
  void finish(Beam beam);
  double score(double log_probability, size_t length) const;
  int64_t width_;
  double length_penalty_;
  std::vector<int32_t> stop_tokens_;
  std::vector<Beam> found_;  // the best first
};

}  // namespace wellspring
