#pragma once
// Rows of any dtype as f32, f64 or i64 ("wide" values) and back: what a conversion between two
// dtypes and a kernel that takes every dtype are made of.

#include <cstring>

#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

struct bool_t {  // a byte that is read as 0 or 1
  uint8_t bits;
};

// Calls f with a value of the element type of a dtype; false for c64.
template <class F>
WS_INLINE bool with_type(DType t, F&& f) {
  switch (t) {
    case DType::f64:
      return f(double{}), true;
    case DType::f32:
      return f(float{}), true;
    case DType::bf16:
      return f(bf16_t{}), true;
    case DType::f16:
      return f(f16_t{}), true;
    case DType::i64:
      return f(int64_t{}), true;
    case DType::i32:
      return f(int32_t{}), true;
    case DType::i16:
      return f(int16_t{}), true;
    case DType::i8:
      return f(int8_t{}), true;
    case DType::u8:
      return f(uint8_t{}), true;
    case DType::boolean:
      return f(bool_t{}), true;
    case DType::c64:
      return false;
  }
  return false;
}

template <class A, class B>
constexpr bool same_type = false;
template <class A>
constexpr bool same_type<A, A> = true;

template <class W, class T>
WS_INLINE W to_wide(T v) {
  if constexpr (same_type<T, bf16_t> || same_type<T, f16_t>)
    return static_cast<W>(to_float(v));
  else if constexpr (same_type<T, bool_t>)
    return static_cast<W>(v.bits != 0);
  else
    return static_cast<W>(v);
}

// Out of range and NaN give the lowest integer, as the processor's own conversion does.
WS_INLINE int64_t truncate(double v) {
  return v >= -9223372036854775808.0 && v < 9223372036854775808.0 ? static_cast<int64_t>(v)
                                                                  : INT64_MIN;
}

template <class T, class W>
WS_INLINE T from_wide(W v) {
  if constexpr (same_type<T, bf16_t>)
    return to_bf16(static_cast<float>(v));
  else if constexpr (same_type<T, f16_t>)
    return to_f16(static_cast<float>(v));
  else if constexpr (same_type<T, bool_t>)
    return {static_cast<uint8_t>(v != 0)};
  else if constexpr (same_type<T, float> || same_type<T, double> || same_type<W, int64_t>)
    return static_cast<T>(v);
  else
    return static_cast<T>(truncate(static_cast<double>(v)));
}

// n values from p, `stride` elements apart, as W: in `buffer`, or in place when they are so
// already.
template <class W, class T>
const W* load_row(const char* p, int64_t stride, int64_t n, W* buffer) {
  const T* x = reinterpret_cast<const T*>(p);
  if (stride != 1) {
    for (int64_t k = 0; k < n; ++k) buffer[k] = to_wide<W>(x[k * stride]);
    return buffer;
  }
  if constexpr (same_type<W, T>) {
    return x;
  } else {
    int64_t k = 0;
    if constexpr (same_type<W, float> && same_type<T, bf16_t>)
      for (; k + kLanes <= n; k += kLanes) store(buffer + k, load(x + k));
#if defined(__F16C__)
    if constexpr (same_type<W, float> && same_type<T, f16_t>)
      for (; k + 8 <= n; k += 8)
        _mm256_storeu_ps(buffer + k,
                         _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + k))));
#endif
    for (; k < n; ++k) buffer[k] = to_wide<W>(x[k]);
    return buffer;
  }
}

template <class T, class W>
void store_row(char* p, int64_t stride, int64_t n, const W* v) {
  T* x = reinterpret_cast<T*>(p);
  if (stride != 1) {
    for (int64_t k = 0; k < n; ++k) x[k * stride] = from_wide<T>(v[k]);
    return;
  }
  if constexpr (same_type<T, W>) {
    if (x != v) std::memcpy(x, v, static_cast<size_t>(n) * sizeof(T));
    return;
  }
  int64_t k = 0;
  if constexpr (same_type<W, float> && same_type<T, bf16_t>)
    for (; k + kLanes <= n; k += kLanes) store(x + k, load(v + k));
#if defined(__F16C__)
  if constexpr (same_type<W, float> && same_type<T, f16_t>)
    for (; k + 8 <= n; k += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(x + k),
                       _mm256_cvtps_ph(_mm256_loadu_ps(v + k), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; k < n; ++k) x[k] = from_wide<T>(v[k]);
}

template <class W>
using LoadRow = const W* (*)(const char* p, int64_t stride, int64_t n, W* buffer);
template <class W>
using StoreRow = void (*)(char* p, int64_t stride, int64_t n, const W* v);

// The functions for a dtype; null for c64.
template <class W>
LoadRow<W> loader(DType t) {
  LoadRow<W> f = nullptr;
  with_type(t, [&]<class T>(T) { f = load_row<W, T>; });
  return f;
}
template <class W>
StoreRow<W> storer(DType t) {
  StoreRow<W> f = nullptr;
  with_type(t, [&]<class T>(T) { f = store_row<T, W>; });
  return f;
}

WS_KERNELS_END
