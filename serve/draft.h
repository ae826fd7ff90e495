#pragma once
// Tokens that may come next, guessed cheaply. The engine computes them together with the next one and keeps those that
// it would have drawn: what comes out is the same, sooner.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "serve/page_pool.h"

namespace wellspring {

class Sampler;

/// What followed when the last tokens stood before (Saxena, 2023: prompt look-up): at most `most` tokens behind the
/// latest earlier place of the last three tokens. Empty when there is none.
std::vector<int32_t> look_up(std::span<const int32_t> tokens, int64_t most);

/// A small model that guesses for a larger one with the same tokens (Leviathan et al., 2023). One thread.
class DraftModel {
 public:
  /// `pages` of keys and values; `rows`: tokens of one pass.
  DraftModel(std::shared_ptr<const Decoder> model, int64_t pages, int64_t rows, DType cache);

  /// What it knows of one sequence; empty at its begin.
  struct Sequence {
    std::vector<int32_t> tokens;  // those computed
    Held held;
  };
  struct Wish {
    Sequence& known;
    const std::string& owner;
    std::span<const int32_t> tokens;  // all so far
    int64_t count;                    // wanted, at least 1
    const Sampler& sampler;           // draws as for the large model: a position has one random number
    int64_t vocab;                    // ids below
    std::vector<int32_t>& guess;      // gets them
  };
  /// For several sequences together. One for which there are no pages gets none.
  void guess(std::vector<Wish>& wishes);
  /// The sequence has ended, or waits again.
  void forget(Sequence& known, const std::string& owner);

 private:
  std::shared_ptr<const Decoder> model_;
  PagePool pool_;
  int64_t rows_;
};

}  // namespace wellspring
