#pragma once
// Vectors of the instruction set's own width: one register each, for GCC keeps wider ones in
// memory. Include inside kernel sources only.

#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct NativeOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
  typedef T unaligned __attribute__((vector_size(kVectorBytes), aligned(sizeof(T)), may_alias));
};
// No vectors of numbers that are classes: overloads for these are by hand.
template <class T>
requires std::is_class_v<T>
struct NativeOf<T> {
};
template <class T>
using native = typename NativeOf<T>::type;
/// Elements of one.
template <class T>
constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
WS_INLINE native<T> load_native(const T* p) {
  return *reinterpret_cast<const typename NativeOf<T>::unaligned*>(p);
}
template <class T>
WS_INLINE void store_native(T* p, native<T> v) {
  *reinterpret_cast<typename NativeOf<T>::unaligned*>(p) = v;
}
/// As many bf16 as f32 fit into one, widened.
WS_INLINE native<float> load_native(const bf16_t* p) {
#if defined(__AVX512F__)
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (native<float>)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
#elif defined(__AVX2__)
  const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return (native<float>)_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
#else
  native<float> v;
  for (int l = 0; l < kWidth<float>; ++l) v[l] = to_float(p[l]);
  return v;
#endif
}

WS_KERNELS_END
