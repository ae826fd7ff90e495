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

// Indices are read and checked by blocks, so that what uses them needs neither.
constexpr int64_t kIndexBlock = 512;

// n <= kIndexBlock indices from place `at` on, `step` apart, all inside [0, extent): where they lie
// when they are successive i64, else in the buffer.
WS_INLINE const int64_t* checked_places(const char* kernel, const View& index, int64_t at,
                                        int64_t step, int64_t n, int64_t extent, int dim,
                                        int64_t* buffer) {
  const int64_t* places = buffer;
  if (index.dtype == DType::i64) {
    const int64_t* from = static_cast<const int64_t*>(index.data) + at;
    if (step == 1)
      places = from;
    else
      for (int64_t k = 0; k < n; ++k) buffer[k] = from[k * step];
  } else {
    const int32_t* from = static_cast<const int32_t*>(index.data) + at;
    for (int64_t k = 0; k < n; ++k) buffer[k] = from[k * step];
  }
  int64_t outside = 0;  // negative once one of them is
  for (int64_t k = 0; k < n; ++k) outside |= places[k] | (extent - 1 - places[k]);
  if (outside < 0) [[unlikely]]
    for (int64_t k = 0; k < n; ++k) check_place(kernel, places[k], extent, dim);
  return places;
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
