#pragma once
// Elements as whole numbers that are ordered as they are: NaN above all, both zeros equal.

#include "chips/cpu/kernels/convert.h"

WS_KERNELS_BEGIN

// Whether a dtype's keys have 64 bits; else they have 32.
WS_INLINE bool has_wide_keys(DType t) { return t == DType::f64 || t == DType::i64; }
// Bytes of a key that differ.
WS_INLINE int key_bytes(DType t) { return static_cast<int>(size_of(t)); }

WS_INLINE int32_t key_of(float v) {
  const int32_t b = std::bit_cast<int32_t>(v + 0.0f);
  const int32_t k = b ^ ((b >> 31) & 0x7fffffff);
  return v != v ? INT32_MAX : k;
}
WS_INLINE int64_t key_of(double v) {
  const int64_t b = std::bit_cast<int64_t>(v + 0.0);
  const int64_t k = b ^ ((b >> 63) & INT64_MAX);
  return v != v ? INT64_MAX : k;
}

// n keys of elements `stride` apart. Those of the 16-bit floats are of 16 bits, sign-extended, so
// that fewer digits differ. `flip` is -1 to turn the order around, else 0.
template <class K, class T>
void load_keys(const char* p, int64_t stride, int64_t n, K flip, K* keys) {
  const T* x = reinterpret_cast<const T*>(p);
  const auto put = [&](int64_t k, T v) __attribute__((always_inline)) {
    if constexpr (same_type<T, float> || same_type<T, double>)
      keys[k] = static_cast<K>(key_of(v)) ^ flip;
    else if constexpr (same_type<T, bf16_t>)
      keys[k] = static_cast<K>(key_of(to_float(v)) >> 16) ^ flip;
    else if constexpr (same_type<T, f16_t>) {
      const int32_t b = static_cast<int16_t>(v.bits), size = b & 0x7fff;
      const int32_t key = b < 0 ? (size ? ~size : 0) : size;
      keys[k] = static_cast<K>(size > 0x7c00 ? 0x7fff : key) ^ flip;
    } else
      keys[k] = to_wide<K>(v) ^ flip;
  };
  if (stride == 1)
    for (int64_t k = 0; k < n; ++k) put(k, x[k]);
  else
    for (int64_t k = 0; k < n; ++k) put(k, x[k * stride]);
}

// Of n different numbers v, with room for kRanked: how many are smaller than each.
constexpr int64_t kRanked = 128;
inline void rank_all(int64_t* v, int64_t n, int64_t* ranks) {
  typedef int64_t Four __attribute__((vector_size(32)));
  constexpr int64_t kBlock = 16;
  for (int64_t k = n; k % kBlock; ++k) v[k] = INT64_MAX;
  for (int64_t k = 0; k < n; k += kBlock) {
    Four x[4], rank[4] = {};
    std::memcpy(x, v + k, sizeof x);
    for (int64_t j = 0; j < n; ++j) {
      const Four other = Four{} + v[j];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) rank[q] -= x[q] > other;
    }
    std::memcpy(ranks + k, rank, sizeof rank);
  }
}

template <class K>
using LoadKeys = void (*)(const char* p, int64_t stride, int64_t n, K flip, K* keys);

// Null for c64 and for dtypes whose keys are of the other width.
template <class K>
LoadKeys<K> key_loader(DType t) {
  LoadKeys<K> f = nullptr;
  if (has_wide_keys(t) == (sizeof(K) == 8)) with_type(t, [&]<class T>(T) { f = load_keys<K, T>; });
  return f;
}

WS_KERNELS_END
