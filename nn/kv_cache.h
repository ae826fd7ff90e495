#pragma once
// Keys and values of the tokens seen so far. An interface, so that a paged cache can take its
// place.

#include <cstdint>
#include <memory>

#include "tensor/tensor.h"

namespace wellspring {

/// The cache of one batch of sequences of equal length. One thread.
class KvCache {
 public:
  virtual ~KvCache() = default;
  /// Tokens that are in the cache for every layer.
  virtual int64_t length() const = 0;
  /// Puts keys and values [B, T, Hk, W] of `layer` behind the `length()` present ones and returns
  /// views [B, S, Hk, W] of which the first length() + T are valid.
  struct Views {
    Tensor keys, values;
  };
  virtual Views put(int64_t layer, const Tensor& keys, const Tensor& values) = 0;
  /// After all layers have put T tokens.
  virtual void advance(int64_t tokens) = 0;
  /// Forgets all but the first `length` tokens.
  virtual void truncate(int64_t length) = 0;
  virtual int64_t bytes() const = 0;
};

/// One contiguous piece per layer, where its first keys are, that doubles when full, up to
/// `context` tokens.
std::unique_ptr<KvCache> make_contiguous_cache(int64_t layers, int64_t batch, int64_t kv_heads,
                                               int64_t head_width, int64_t context, DType dtype);

}  // namespace wellspring
