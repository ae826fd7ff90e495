#include "nn/paged_cache.h"

#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {

PagedCache::PagedCache(int64_t layers, int64_t kv_heads, int64_t head_width, int64_t pages, DType dtype)
    : layers_(static_cast<size_t>(layers)), references_(static_cast<size_t>(pages)) {
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::i8)
    throw Error(Fault::usage, str("a cache holds f32, bf16 or i8, not ", name_of(dtype)));
  const int64_t layer_values = kv_heads * head_width * kPage, layer_scales = dtype == DType::i8 ? kv_heads * kPage : 0;
  const auto size = static_cast<int64_t>(size_of(dtype));
  page_bytes_ = layers * 2 * (layer_values * size + layer_scales * 4);
  memory_ = Tensor::empty({pages, page_bytes_}, DType::u8);
  int64_t at = 0;  // of a page's bytes
  const auto part = [&](DType type, const Shape& shape, const Shape& strides) {
    const auto bytes = static_cast<int64_t>(size_of(type));
    const Tensor all = Tensor::wrap(memory_.data(), {pages * page_bytes_ / bytes}, type, memory_.storage());
    const Tensor t = all.as_strided(shape, strides, at / bytes);
    at += shape[1] * strides[1] * bytes;
    return t;
  };
  for (LayerPages& l : layers_) {
    l.keys = part(dtype, {pages, kv_heads, head_width, kPage}, {page_bytes_ / size, head_width * kPage, kPage, 1});
    l.values = part(dtype, {pages, kv_heads, kPage, head_width}, {page_bytes_ / size, head_width * kPage, head_width, 1});
    if (dtype != DType::i8) continue;
    for (Tensor* t : {&l.key_scales, &l.value_scales})
      *t = part(DType::f32, {pages, kv_heads, kPage}, {page_bytes_ / 4, kPage, 1});
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
  char* base = static_cast<char*>(memory_.data());
  std::memcpy(base + to * page_bytes_, base + from * page_bytes_, static_cast<size_t>(page_bytes_));
}

}  // namespace wellspring
