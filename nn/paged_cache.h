#pragma once
// Keys and values of many sequences in pages of 64 positions, which sequences may share.

#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

/// What a layer's pages hold (ops/inference.h, kv_put_); scales are defined for i8 alone.
struct LayerPages {
  Tensor keys, values, key_scales, value_scales;
};

/// The pages of all layers: page i of each belongs together, and lies side by side, so that a first request touches no
/// more memory than it fills. Pages are counted references, so that sequences with one beginning hold the same
/// ones; memory is touched when a page is first used. One thread.
class PagedCache {
 public:
  static constexpr int64_t kPage = 64;  // positions

  /// dtype f32, bf16 or i8.
  PagedCache(int64_t layers, int64_t kv_heads, int64_t head_width, int64_t pages, DType dtype);

  int64_t pages() const { return static_cast<int64_t>(references_.size()); }
  int64_t free_pages() const { return static_cast<int64_t>(free_.size()); }
  /// Bytes of one page over all layers.
  int64_t page_bytes() const { return page_bytes_; }
  const LayerPages& layer(int64_t i) const { return layers_[static_cast<size_t>(i)]; }

  /// A page with one reference; -1 when none is free.
  int32_t take();
  void share(int32_t page) { ++references_[static_cast<size_t>(page)]; }
  /// One reference less; free when it was the last.
  void release(int32_t page);
  int references(int32_t page) const { return references_[static_cast<size_t>(page)]; }
  /// Copies a page's content: a shared one that is to be written.
  void copy(int32_t from, int32_t to);

 private:
  Tensor memory_;  // u8 [pages, page bytes]
  std::vector<LayerPages> layers_;
  std::vector<int32_t> references_, free_;
  int64_t page_bytes_ = 0;
};

}  // namespace wellspring
