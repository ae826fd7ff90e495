#pragma once
// Sixteen floats at a time: one zmm, two ymm or four xmm, whatever the instruction set has, with
// the same arithmetic and the same notation, that of GCC's vector extension. With AVX-512 vf is
// such a vector; below it is a class of native ones, because GCC keeps vectors wider than the
// registers in memory and compares them lane by lane. Include inside kernel sources only (after
// kernel.h). Loads and stores of partial vectors go through masks or a padded buffer, never through
// a scalar tail, so that an element's bits do not depend on its position.

#include <cstring>

#include "chips/cpu/kernel.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#define WS_INLINE inline __attribute__((always_inline))

#if !defined(__AVX512F__)
#include "chips/cpu/simd_parts.h"
#endif

WS_KERNELS_BEGIN

constexpr int kLanes = 16;
typedef uint16_t vh __attribute__((vector_size(32)));
typedef uint16_t vh_u __attribute__((vector_size(32), aligned(2), may_alias));
#if defined(__AVX512F__)
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef float vf_u __attribute__((vector_size(64), aligned(4), may_alias));
#endif

WS_INLINE vf splat(float v) { return vf{} + v; }
#if defined(__AVX512F__)
WS_INLINE vf load(const float* p) { return *reinterpret_cast<const vf_u*>(p); }
WS_INLINE void store(float* p, vf v) { *reinterpret_cast<vf_u*>(p) = v; }
WS_INLINE vi to_int(vf v) { return __builtin_convertvector(v, vi); }  // towards zero
// bf16: widening is a shift; narrowing rounds to nearest even and keeps NaN.
WS_INLINE vf widen(vh h) { return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16); }
WS_INLINE vh low_halves(vu v) { return __builtin_convertvector(v, vh); }
#else
WS_INLINE vf load(const float* p) { return vf::load(p); }
WS_INLINE void store(float* p, vf v) { v.store(p); }
#endif

WS_INLINE vh narrow(vf v) {
#if defined(__AVX512BF16__)
  return (vh)_mm512_cvtneps_pbh((__m512)v);
#else
  vu u = (vu)v;
  vu rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  vu quiet = (u >> 16) | 0x40u;
  vi nan = v != v;
  return low_halves((vu)(((vi)quiet & nan) | ((vi)rounded & ~nan)));
#endif
}
#if defined(__AVX512F__)
WS_INLINE vf load(const bf16_t* p) { return widen(*reinterpret_cast<const vh_u*>(p)); }
#else
WS_INLINE vf load(const bf16_t* p) { return widen_at(p); }
#endif
WS_INLINE void store(bf16_t* p, vf v) { *reinterpret_cast<vh_u*>(p) = narrow(v); }

// The first n lanes (0 <= n <= 16); the others are `fill` on load and untouched on store.
template <class T>
WS_INLINE vf load_part(const T* p, int n, float fill = 0) {
  alignas(64) T b[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    if constexpr (sizeof(T) == 4)
      b[i] = fill;
    else
      b[i] = to_bf16(fill);
  }
  std::memcpy(b, p, n * sizeof(T));
  return load(b);
}
template <class T>
WS_INLINE void store_part(T* p, vf v, int n) {
  alignas(64) T b[kLanes];
  store(b, v);
  std::memcpy(p, b, n * sizeof(T));
}

WS_INLINE vf select(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
// vmax(x, y) = x > y ? x : y, so a NaN in x gives y.
#if defined(__AVX512F__)
WS_INLINE vf vmax(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
WS_INLINE vf vmin(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif !defined(__AVX2__)
WS_INLINE vf vmax(vf a, vf b) { return select(a > b, a, b); }
WS_INLINE vf vmin(vf a, vf b) { return select(a < b, a, b); }
#endif
WS_INLINE vf fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
  return a * b + c;
#endif
}

WS_INLINE vf vsqrt(vf x) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return vf::make([&](int i) __attribute__((always_inline)) {
    return (vf::Native)_mm256_sqrt_ps((__m256)x.part[i]);
  });
#else
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// The lanes made one in a fixed tree: those eight places apart, then four, two, one.
#if defined(__AVX2__)
template <class F, class G>
WS_INLINE float fold_lanes(vf v, F of_eight, G of_four) {
#if defined(__AVX512F__)
  const __m256 low = _mm512_castps512_ps256((__m512)v), high = _mm512_extractf32x8_ps((__m512)v, 1);
#else
  const __m256 low = (__m256)v.part[0], high = (__m256)v.part[1];
#endif
  const __m256 x = of_eight(low, high);
  __m128 y = of_four(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  y = of_four(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(of_four(y, _mm_movehdup_ps(y)));
}
WS_INLINE float sum_lanes(vf v) {
  return fold_lanes(
      v, [](__m256 a, __m256 b) { return _mm256_add_ps(a, b); },
      [](__m128 a, __m128 b) { return _mm_add_ps(a, b); });
}
WS_INLINE float max_lanes(vf v) {  // a > b ? a : b
  return fold_lanes(
      v, [](__m256 a, __m256 b) { return _mm256_max_ps(a, b); },
      [](__m128 a, __m128 b) { return _mm_max_ps(a, b); });
}
#else
WS_INLINE float sum_lanes(vf v) {
  alignas(64) float x[kLanes];
  store(x, v);
  for (int w = 8; w >= 1; w /= 2)
    for (int i = 0; i < w; ++i) x[i] += x[i + w];
  return x[0];
}
WS_INLINE float max_lanes(vf v) {
  alignas(64) float x[kLanes];
  store(x, v);
  for (int w = 8; w >= 1; w /= 2)
    for (int i = 0; i < w; ++i) x[i] = x[i] > x[i + w] ? x[i] : x[i + w];
  return x[0];
}
#endif

// exp within 2 ulp over the normal range; exp(-inf) = 0, overflow gives inf, NaN stays. Cody-Waite
// reduction by ln 2 and a degree-6 polynomial.
WS_INLINE vf vexp(vf x) {
  const vf hi = splat(88.8f), lo = splat(-104.0f);
  vf c = select(x > hi, hi, x);
  c = select(x < lo, lo, c);
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  vf n = (c * 1.44269504f + magic) - magic;
  vf r = fma(n, splat(-0.693359375f), c);
  r = fma(n, splat(2.12194440e-4f), r);
  vf p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  vf y = fma(p, r * r, r + 1.0f);
  // 2^n in two steps, so that subnormal results and n = 128 come out right.
  vi k = to_int(n);
  vi half = k >> 1;
  vf s1 = (vf)((half + 127) << 23), s2 = (vf)((k - half + 127) << 23);
  return select(x != x, x, y * s1 * s2);
}

WS_KERNELS_END
