#pragma once
// Tensors of indices, i32 or i64, and elements by their size alone.

#include <cstring>

#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

WS_INLINE int64_t index_at(const View& index, int64_t at) {
  return index.dtype == DType::i64 ? static_cast<const int64_t*>(index.data)[at]
                                   : static_cast<const int32_t*>(index.data)[at];
}

WS_INLINE void check_place(const char* kernel, int64_t at, int64_t extent, int dim) {
  if (static_cast<uint64_t>(at) >= static_cast<uint64_t>(extent)) [[unlikely]]
    cpu::bad_index(kernel, at, extent, dim);
}

// Calls f with an unsigned value of `size` bytes.
template <class F>
WS_INLINE void with_size(size_t size, F&& f) {
  switch (size) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

WS_KERNELS_END
