#pragma once
// Register tiles of attention: C = A B, where an element of A is broadcast and a row of B is a
// vector. Both hold 32-bit words: an f32, or a pair of bf16 that are neighbours along the
// contraction (one vdpbf16ps step). A tile has as many rows and vectors of the machine's own width
// as its registers hold, with room for a row of B and an element of A; sums run along the
// contraction alone, so the tile's size does not show in the bits. Include inside kernel sources
// only.

#include "chips/cpu/simd.h"

// Whether bf16 is multiplied as pairs; otherwise it is widened to f32 when packed.
#if WS_ISA_LEVEL >= 3
#define WS_BF16_PAIRS 1
#else
#define WS_BF16_PAIRS 0
#endif

WS_KERNELS_BEGIN

constexpr int kRows = 8;  // blocks of keys and widths are padded to it

// Floats of the machine's own vector, and the register tile: 8 x 3 of 32 registers, 6 x 2 of 16
// where an element of A is a memory operand's broadcast, 4 x 2 where a product takes a register of
// its own.
#if defined(__AVX512F__)
constexpr int kWide = 16, kTileRows = 8, kTileVectors = 3;
#elif defined(__AVX2__)
constexpr int kWide = 8, kTileRows = 6, kTileVectors = 2;
#else
constexpr int kWide = 4, kTileRows = 4, kTileVectors = 2;
#endif
typedef float wf __attribute__((vector_size(kWide * 4), may_alias));
typedef int32_t wi __attribute__((vector_size(kWide * 4), may_alias));
constexpr int kParts = kLanes / kWide;  // native vectors of a vf

// Not wf{} + v, which keeps its addition: 0 + -0 is 0.
WS_INLINE wf splat_wide(float v) {
#if defined(__AVX512F__)
  return (wf)_mm512_set1_ps(v);
#elif defined(__AVX2__)
  return (wf)_mm256_set1_ps(v);
#else
  return wf{v, v, v, v};
#endif
}
WS_INLINE wf load_wide(const float* p) { return *reinterpret_cast<const wf*>(p); }  // aligned
WS_INLINE void store_wide(float* p, wf v) { *reinterpret_cast<wf*>(p) = v; }
WS_INLINE wf select_wide(wi mask, wf a, wf b) { return (wf)(((wi)a & mask) | ((wi)b & ~mask)); }

// a > b ? a : b, so a NaN gives b.
WS_INLINE wf max_wide(wf a, wf b) {
#if defined(__AVX512F__)
  return (wf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (wf)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return select_wide(a > b, a, b);
#endif
}

// 2^x for x <= 127 (far below -126: 0; -inf: 0; NaN stays): a polynomial over the fraction, scaled
// by the whole part. `Short` has a relative error of 2.6e-6, for results that are rounded to bf16;
// else 1.6e-7.
template <bool Short>
WS_INLINE wf exp2_tile(wf x) {
#if defined(__AVX512F__)
  const wf r = (wf)_mm512_reduce_ps((__m512)x, 9);  // x - floor(x); 0 for -inf
  wf p;
  if constexpr (Short) {
    p = splat_wide(1.3534167966e-02f) * r + splat_wide(5.2011462300e-02f);
    p = p * r + splat_wide(2.4144275442e-01f);
    p = p * r + splat_wide(6.9300383543e-01f);
    p = p * r + splat_wide(1.0000025933e+00f);
  } else {
    p = splat_wide(2.1702255497e-04f) * r + splat_wide(1.2439688019e-03f);
    p = p * r + splat_wide(9.6788409485e-03f);
    p = p * r + splat_wide(5.5483342026e-02f);
    p = p * r + splat_wide(2.4022983626e-01f);
    p = p * r + splat_wide(6.9314698384e-01f);
    p = p * r + splat_wide(1.0000000019e+00f);
  }
  return (wf)_mm512_scalef_ps((__m512)p, (__m512)x);
#else
  // Adding 1.5 * 2^23 + 127 rounds to a whole number n and leaves n + 127 in the low bits: the
  // exponent of 2^n once shifted, and 0 for n = -127. The fraction lies in [-1/2, 1/2].
  static_assert(!Short);
  const wf least = splat_wide(-127.0f), most = splat_wide(127.0f), magic = splat_wide(12583039.0f);
  x = max_wide(least, x);
  x = select_wide(x > most, most, x);
  const wf t = x + magic;
  const wf r = x - (t - magic);
  wf p = splat_wide(1.3264727313e-03f) * r + splat_wide(9.6715129912e-03f);
  p = p * r + splat_wide(5.5507335812e-02f);
  p = p * r + splat_wide(2.4022242427e-01f);
  p = p * r + splat_wide(6.9314700365e-01f);
  p = p * r + splat_wide(1.0f);
  return p * (wf)((wi)t << 23);
#endif
}
template <bool Short>
WS_INLINE vf exp2_lanes(vf x) {
  vf y;
  for (int i = 0; i < kParts; ++i)
    reinterpret_cast<wf*>(&y)[i] = exp2_tile<Short>(reinterpret_cast<const wf*>(&x)[i]);
  return y;
}

// acc[m][v] += sum over k of A(m, k) B[k][v], with A(m, k) = a[m * lda + k] or, KMajor, a[k * lda +
// m].
template <bool Pairs, bool KMajor, int M, int V>
WS_INLINE void multiply_tile(wf (&acc)[M][V], const float* a, int64_t lda, const float* b,
                             int64_t ldb, int64_t k_words) {
  const float* row[M];
  if constexpr (!KMajor) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) row[m] = a + m * lda;
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < k_words; ++k) {
    wf bv[V];
#pragma GCC unroll 3
    for (int v = 0; v < V; ++v) bv[v] = load_wide(b + k * ldb + v * kWide);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const wf av = splat_wide(KMajor ? a[k * lda + m] : row[m][k]);
#pragma GCC unroll 3
      for (int v = 0; v < V; ++v) {
#if WS_BF16_PAIRS
        if constexpr (Pairs) {
          acc[m][v] = (wf)_mm512_dpbf16_ps((__m512)acc[m][v], (__m512bh)(__m512)av,
                                           (__m512bh)(__m512)bv[v]);
          continue;
        }
#endif
        acc[m][v] += av * bv[v];
      }
    }
  }
}

// Cuts rows by `lanes` (a multiple of 16) into register tiles and calls body(row, lane, Tile<M, V>)
// for each: M rows from `row`, V native vectors from `lane`. A group of lanes has rows_of(lane,
// lanes of the group) rows, a multiple of 8 and the most in the last group. With small tiles the
// groups go inside, so that a row of A is read once; a tile may then pass the end of its group's
// rows.
template <int M, int V>
struct Tile {
  static constexpr int kM = M, kV = V;
};
template <int V, class Body>
WS_INLINE void cut_rows(int64_t rows, int64_t lane, const Body& body) {
  if constexpr (kTileRows == 6) {  // 8 = 4 + 4, else whole sixes after one or two fours
    int64_t r = 0;
    for (; (rows - r) % 6; r += 4) body(r, lane, Tile<4, V>());
    for (; r < rows; r += 6) body(r, lane, Tile<6, V>());
  } else {
    for (int64_t r = 0; r < rows; r += kTileRows) body(r, lane, Tile<kTileRows, V>());
  }
}
template <class RowsOf, class Body>
WS_INLINE void cut_tiles(int64_t lanes, const RowsOf& rows_of, const Body& body) {
  if constexpr (kTileVectors == 2) {
    constexpr int64_t kGroup = 2 * kWide;
    cut_rows<2>(
        rows_of(lanes - kGroup, kGroup),
        0, [=](int64_t r, int64_t, auto tile) __attribute__((always_inline)) {
          for (int64_t n = 0; n < lanes; n += kGroup)
            if (r < rows_of(n, kGroup)) body(r, n, tile);
        });
  } else {
    for (int64_t n = 0; n < lanes;) {
      const int64_t left = (lanes - n) / kWide;
      const int v = left == 4 || left == 2 ? 2 : left >= 3 ? 3 : 1;
      const int64_t rows = rows_of(n, v * kWide);
      if (v == 3)
        cut_rows<3>(rows, n, body);
      else if (v == 2)
        cut_rows<2>(rows, n, body);
      else
        cut_rows<1>(rows, n, body);
      n += v * kWide;
    }
  }
}

// C += A B for `rows` (a multiple of 8) rows and `lanes` (a multiple of 16) columns.
template <bool Pairs, bool KMajor>
__attribute__((noinline)) void add_product(float* c, int64_t ldc, const float* a, int64_t lda,
                                           const float* b, int64_t ldb, int64_t rows, int64_t lanes,
                                           int64_t k_words) {
  const auto all = [=](int64_t, int64_t) { return rows; };
  cut_tiles(
      lanes, all, [=](int64_t m, int64_t n, auto tile) __attribute__((always_inline)) {
        constexpr int M = tile.kM, V = tile.kV;
        float* to = c + m * ldc + n;
        wf acc[M][V];
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 3
          for (int v = 0; v < V; ++v) acc[i][v] = load_wide(to + i * ldc + v * kWide);
        }
        multiply_tile<Pairs, KMajor>(acc, KMajor ? a + m : a + m * lda, lda, b + n, ldb, k_words);
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) {
#pragma GCC unroll 3
          for (int v = 0; v < V; ++v) store_wide(to + i * ldc + v * kWide, acc[i][v]);
        }
      });
}

// Two rows of f32 as one row of bf16 pairs (low half: the first row).
#if WS_BF16_PAIRS
WS_INLINE vf pair_words(vf low, vf high, __m512i* rounded) {
  const __m512i h = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  *rounded = h;
  alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                      21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                      11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (vf)_mm512_permutexvar_epi16(_mm512_load_si512(kOrder), h);
}
#endif

WS_KERNELS_END
