#pragma once
// One model and the keys and values of one sequence.

#include <cstdint>
#include <memory>
#include <span>

#include "models/decoder/model.h"

namespace wellspring {

/// Batch 1. One thread (the engine's). The model is shared and read only.
class Session {
 public:
  explicit Session(std::shared_ptr<const Decoder> model);
  /// Adds tokens (at least one) in pieces and returns the logits f32 [V] of the last.
  /// Error(Fault::usage) when the context is exceeded or an id is not in the vocabulary.
  Tensor prefill(std::span<const int32_t> tokens);
  Tensor step(int32_t token) { return prefill({&token, 1}); }
  int64_t length() const { return cache_->length(); }
  /// Forgets all but the first tokens.
  void truncate(int64_t length) { cache_->truncate(length); }
  const Decoder& model() const { return *model_; }

 private:
  std::shared_ptr<const Decoder> model_;
  std::unique_ptr<KvCache> cache_;
};

}  // namespace wellspring
