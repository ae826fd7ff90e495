#pragma once
// Training of byte-level tokenizers.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/split.h"
#include "text/tokenizer.h"

namespace wellspring {

struct BpeTrainerOptions {
  int64_t vocab_size = 16384;                 ///< all ids: special tokens, 256 bytes, merges
  SplitPattern pattern = SplitPattern::gpt2;  ///< qwen2 normalises to NFC
  std::vector<std::string> special{};         ///< get the ids 0, 1, ...
  int64_t min_frequency = 0;                  ///< pairs seen less often are not merged
};

/// Counts words, then merges the most frequent pair again and again; ties go to the smaller ids, as
/// in Hugging Face's BpeTrainer, whose merges these are. The result depends on the text alone, not
/// on threads or on how it was cut into calls of add(). Not thread-safe (it uses all threads
/// itself).
class BpeTrainer {
 public:
  explicit BpeTrainer(const BpeTrainerOptions& options);
  ~BpeTrainer();
  /// Counts the words of these documents. Any bytes.
  void add(std::span<const std::string_view> documents);
  int64_t bytes() const;
  int64_t words() const;  ///< different ones
  /// Called now and then with the number of merges done and wanted; may throw to stop.
  std::function<void(int64_t, int64_t)> on_progress;
  /// Learns the merges. The vocabulary is smaller than asked for when the text has no more pairs.
  /// Error(Fault::usage) for a vocab_size that does not hold bytes and special tokens.
  Tokenizer train();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wellspring
