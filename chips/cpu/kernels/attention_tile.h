#pragma once
// Register tiles of attention: 8 rows by 16, 32 or 48 lanes of C = A B, where an element of A is broadcast
// and a row of B is a vector. Both hold 32-bit words: an f32, or a pair of bf16 that are neighbours along
// the contraction (one vdpbf16ps step). Include inside kernel sources only.

#include "chips/cpu/simd.h"

// Whether bf16 is multiplied as pairs; otherwise it is widened to f32 when packed.
#if WS_ISA_LEVEL >= 3
#define WS_BF16_PAIRS 1
#else
#define WS_BF16_PAIRS 0
#endif

WS_KERNELS_BEGIN

constexpr int kRows = 8;  // rows of a register tile

WS_INLINE vf vmax_fast(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return vmax(a, b);
#endif
}

// 2^x for x <= 127 (below -126: 0; -inf: 0; NaN stays): a polynomial over the fraction, scaled by the
// whole part. `Short` has a relative error of 2.6e-6, for results that are rounded to bf16; else 1e-7.
template <bool Short>
WS_INLINE vf exp2_tile(vf x) {
#if defined(__AVX512F__)
  vf r = (vf)_mm512_reduce_ps((__m512)x, 9);  // x - floor(x); 0 for -inf
#else
  vf c = select(x < splat(-126.0f), splat(-126.0f), select(x > splat(127.0f), splat(127.0f), x));
  vf n = ((c - 0.5f) + 12582912.0f) - 12582912.0f;
  vf r = c - n;
#endif
  vf p;
  if constexpr (Short) {
    p = fma(splat(1.3534167966e-02f), r, splat(5.2011462300e-02f));
    p = fma(p, r, splat(2.4144275442e-01f));
    p = fma(p, r, splat(6.9300383543e-01f));
    p = fma(p, r, splat(1.0000025933e+00f));
  } else {
    p = fma(splat(2.1702255497e-04f), r, splat(1.2439688019e-03f));
    p = fma(p, r, splat(9.6788409485e-03f));
    p = fma(p, r, splat(5.5483342026e-02f));
    p = fma(p, r, splat(2.4022983626e-01f));
    p = fma(p, r, splat(6.9314698384e-01f));
    p = fma(p, r, splat(1.0000000019e+00f));
  }
#if defined(__AVX512F__)
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)x);
#else
  vf y = p * (vf)((__builtin_convertvector(n, vi) + 127) << 23);
  return select(x < splat(-126.0f), splat(0.0f), y);
#endif
}

// acc[m][v] += sum over k of A(m, k) B[k][v], with A(m, k) = a[m * lda + k] or, KMajor, a[k * lda + m].
// The order of the additions is that of k alone, whatever the tile.
template <bool Pairs, bool KMajor, int NV>
WS_INLINE void multiply_tile(vf (&acc)[kRows][NV], const float* a, int64_t lda, const float* b,
                             int64_t ldb, int64_t k_words) {
#if defined(__AVX512F__)
  const float* row[kRows];
  if constexpr (!KMajor) {
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) row[m] = a + m * lda;
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < k_words; ++k) {
    vf bv[NV];
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) bv[v] = load(b + k * ldb + v * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const __m512 av = _mm512_set1_ps(KMajor ? a[k * lda + m] : row[m][k]);
#pragma GCC unroll 3
      for (int v = 0; v < NV; ++v) {
#if WS_BF16_PAIRS
        if constexpr (Pairs) {
          acc[m][v] =
              (vf)_mm512_dpbf16_ps((__m512)acc[m][v], (__m512bh)av, (__m512bh)(__m512)bv[v]);
          continue;
        }
#endif
        acc[m][v] = (vf)_mm512_fmadd_ps(av, (__m512)bv[v], (__m512)acc[m][v]);
      }
    }
  }
#else
  static_assert(!Pairs);
#if defined(__AVX2__)
  typedef float native __attribute__((vector_size(32)));
  typedef float native_u __attribute__((vector_size(32), aligned(4), may_alias));
#else
  typedef float native __attribute__((vector_size(16)));
  typedef float native_u __attribute__((vector_size(16), aligned(4), may_alias));
#endif
  constexpr int kNative = sizeof(native) / 4;
  float* out = reinterpret_cast<float*>(acc);
  for (int n = 0; n < NV * kLanes; n += 2 * kNative) {
    for (int m0 = 0; m0 < kRows; m0 += 4) {
      native c[4][2];
#pragma GCC unroll 4
      for (int m = 0; m < 4; ++m) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v)
          c[m][v] = *reinterpret_cast<native_u*>(out + (m0 + m) * NV * kLanes + n + v * kNative);
      }
      for (int64_t k = 0; k < k_words; ++k) {
        const native b0 = *reinterpret_cast<const native_u*>(b + k * ldb + n);
        const native b1 = *reinterpret_cast<const native_u*>(b + k * ldb + n + kNative);
#pragma GCC unroll 4
        for (int m = 0; m < 4; ++m) {
          const float s = KMajor ? a[k * lda + m0 + m] : a[(m0 + m) * lda + k];
          c[m][0] += s * b0;
          c[m][1] += s * b1;
        }
      }
#pragma GCC unroll 4
      for (int m = 0; m < 4; ++m) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v)
          *reinterpret_cast<native_u*>(out + (m0 + m) * NV * kLanes + n + v * kNative) = c[m][v];
      }
    }
  }
#endif
}

template <int NV>
WS_INLINE void clear_tile(vf (&acc)[kRows][NV]) {
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) acc[m][v] = vf{};
  }
}

// C[m][v] += A B for 8 rows of C in memory.
template <bool Pairs, bool KMajor, int NV>
WS_INLINE void add_tile(float* c, int64_t ldc, const float* a, int64_t lda, const float* b,
                        int64_t ldb, int64_t k_words) {
  vf acc[kRows][NV];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) acc[m][v] = load(c + m * ldc + v * kLanes);
  }
  multiply_tile<Pairs, KMajor, NV>(acc, a, lda, b, ldb, k_words);
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 3
    for (int v = 0; v < NV; ++v) store(c + m * ldc + v * kLanes, acc[m][v]);
  }
}

// C += A B for `rows` (a multiple of 8) rows and `lanes` (a multiple of 16) columns.
template <bool Pairs, bool KMajor>
__attribute__((noinline)) void add_product(float* c, int64_t ldc, const float* a, int64_t lda,
                                           const float* b, int64_t ldb, int64_t rows, int64_t lanes,
                                           int64_t k_words) {
  for (int64_t n = 0; n < lanes;) {
    const int64_t left = (lanes - n) / kLanes;
    const int nv = left == 4 || left == 2 ? 2 : left >= 3 ? 3 : 1;
    for (int64_t m = 0; m < rows; m += kRows) {
      const float* am = KMajor ? a + m : a + m * lda;
      float* cm = c + m * ldc + n;
      if (nv == 3)
        add_tile<Pairs, KMajor, 3>(cm, ldc, am, lda, b + n, ldb, k_words);
      else if (nv == 2)
        add_tile<Pairs, KMajor, 2>(cm, ldc, am, lda, b + n, ldb, k_words);
      else
        add_tile<Pairs, KMajor, 1>(cm, ldc, am, lda, b + n, ldb, k_words);
    }
    n += nv * kLanes;
  }
}

// Two rows of f32 as one row of bf16 pairs (low half: the first row).
#if WS_BF16_PAIRS
WS_INLINE vf pair_words(vf low, vf high, __m512i* rounded) {
  const __m512i h = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  *rounded = h;
  alignas(64) static constexpr uint16_t kOrder[32] = {
      0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (vf)_mm512_permutexvar_epi16(_mm512_load_si512(kOrder), h);
}
#endif

WS_KERNELS_END
