#include "nn/paged_cache.h"

#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {

PagedCache::PagedCache(int64_t layers, int64_t kv_heads, int64_t head_width, int64_t pages, DType dtype)
    : layers_(static_cast<size_t>(layers)), references_(static_cast<size_t>(pages)) {
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::i8)
    throw Error(Fault::usage, str("a cache holds f32, bf16 or i8, not ", name_of(dtype)));
  // One piece of memory, so that the layers lie in whole huge pages together.
  const int64_t each = pages * kv_heads * head_width * kPage;
  const Tensor all = Tensor::empty({2 * layers * each}, dtype);
  int64_t begin = 0;
  const auto next = [&](const Shape& shape) {
    begin += each;
    return all.as_strided(shape, contiguous_strides(shape), begin - each);
  };
  for (LayerPages& l : layers_) {
    l.keys = next({pages, kv_heads, head_width, kPage});
    l.values = next({pages, kv_heads, kPage, head_width});
    page_bytes_ += 2 * kv_heads * head_width * kPage * static_cast<int64_t>(size_of(dtype));
    if (dtype != DType::i8) continue;
    l.key_scales = Tensor::empty({pages, kv_heads, kPage});
    l.value_scales = Tensor::empty({pages, kv_heads, kPage});
    page_bytes_ += 2 * kv_heads * kPage * 4;
  }
  free_.reserve(static_cast<size_t>(pages));
  for (int64_t i = pages; i-- > 0;) free_.push_back(static_cast<int32_t>(i));  // low ones first
}

int32_t PagedCache::take() {
  if (free_.empty()) return -1;
  const int32_t page = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagedCache::release(int32_t page) {
  int32_t& n = references_[static_cast<size_t>(page)];
  WS_CHECK(n > 0, "a page is released that nobody holds");
  if (--n == 0) free_.push_back(page);
}

void PagedCache::copy(int32_t from, int32_t to) {
  for (const LayerPages& l : layers_)
    for (const Tensor* t : {&l.keys, &l.values, &l.key_scales, &l.value_scales}) {
      if (!t->defined()) continue;
      const size_t bytes = static_cast<size_t>(t->numel() / t->size(0)) * size_of(t->dtype());
      char* base = static_cast<char*>(t->data());
      std::memcpy(base + static_cast<size_t>(to) * bytes, base + static_cast<size_t>(from) * bytes, bytes);
    }
}

}  // namespace wellspring
