#pragma once
// out[i][j] = in[j][i], both with successive elements along their last index, in blocks whose lines
// of 64 bytes are written whole.

#include "chips/cpu/kernels/stream.h"

WS_KERNELS_BEGIN

template <class U>
constexpr int64_t kBlockJ = 64 / static_cast<int64_t>(sizeof(U));  // elements of a line of out
constexpr int64_t kBlockI = 8;

// One block into `lines`, [8][64 bytes].
template <class U>
WS_INLINE void transpose_block(const U* in, int64_t ld, U* lines) {
  for (int64_t i = 0; i < kBlockI; ++i)
    for (int64_t j = 0; j < kBlockJ<U>; ++j) lines[i * kBlockJ<U> + j] = in[j * ld + i];
}

#if defined(__AVX2__)
WS_INLINE __m256 low_words(__m256 a, __m256 b) { return _mm256_unpacklo_ps(a, b); }
WS_INLINE __m256 high_words(__m256 a, __m256 b) { return _mm256_unpackhi_ps(a, b); }
WS_INLINE __m256 low_pairs(__m256 a, __m256 b) { return _mm256_shuffle_ps(a, b, 0x44); }
WS_INLINE __m256 high_pairs(__m256 a, __m256 b) { return _mm256_shuffle_ps(a, b, 0xee); }
#if defined(__AVX512F__)
WS_INLINE __m512 low_words(__m512 a, __m512 b) { return _mm512_unpacklo_ps(a, b); }
WS_INLINE __m512 high_words(__m512 a, __m512 b) { return _mm512_unpackhi_ps(a, b); }
WS_INLINE __m512 low_pairs(__m512 a, __m512 b) { return _mm512_shuffle_ps(a, b, 0x44); }
WS_INLINE __m512 high_pairs(__m512 a, __m512 b) { return _mm512_shuffle_ps(a, b, 0xee); }
#endif

// Exchanges rows and columns of 4 x 4 words in each quarter or half of every four vectors.
template <class V, int N>
WS_INLINE void transpose_fours(V (&x)[N]) {
  V y[N];
#pragma GCC unroll 16
  for (int i = 0; i < N; i += 2) {
    y[i] = low_words(x[i], x[i + 1]);
    y[i + 1] = high_words(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < N; i += 4) {
    x[i] = low_pairs(y[i], y[i + 2]);
    x[i + 1] = high_pairs(y[i], y[i + 2]);
    x[i + 2] = low_pairs(y[i + 1], y[i + 3]);
    x[i + 3] = high_pairs(y[i + 1], y[i + 3]);
  }
}

// Exchanges rows and columns of 8 x 8 words.
WS_INLINE void transpose8(__m256 (&x)[8]) {
  __m256 y[8];
  transpose_fours(x);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    y[i] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x20);
    y[i + 4] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) x[i] = y[i];
}

#if defined(__AVX512F__)
// Exchanges rows and columns of 16 x 16 words.
WS_INLINE void transpose16(__m512 (&x)[16]) {
  __m512 y[16];
  transpose_fours(x);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {  // quarter q of x[4 g + j]: word 4 q + j of rows 4 g to 4 g + 3
    const __m512 low = _mm512_shuffle_f32x4(x[j], x[4 + j], 0x44),
                 low_next = _mm512_shuffle_f32x4(x[8 + j], x[12 + j], 0x44),
                 high = _mm512_shuffle_f32x4(x[j], x[4 + j], 0xee),
                 high_next = _mm512_shuffle_f32x4(x[8 + j], x[12 + j], 0xee);
    y[j] = _mm512_shuffle_f32x4(low, low_next, 0x88);
    y[4 + j] = _mm512_shuffle_f32x4(low, low_next, 0xdd);
    y[8 + j] = _mm512_shuffle_f32x4(high, high_next, 0x88);
    y[12 + j] = _mm512_shuffle_f32x4(high, high_next, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = y[i];
}
#endif

WS_INLINE void transpose_8x8(const uint32_t* in, int64_t ld, uint32_t* lines, int64_t step) {
  __m256 r[8];
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) r[k] = _mm256_loadu_ps(reinterpret_cast<const float*>(in + k * ld));
  transpose8(r);
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) _mm256_store_ps(reinterpret_cast<float*>(lines + k * step), r[k]);
}
template <>
WS_INLINE void transpose_block<uint32_t>(const uint32_t* in, int64_t ld, uint32_t* lines) {
  transpose_8x8(in, ld, lines, 16);
  transpose_8x8(in + 8 * ld, ld, lines + 8, 16);
}

WS_INLINE void transpose_8x8(const uint16_t* in, int64_t ld, uint16_t* lines, int64_t step) {
  __m128i r[8], t[8];
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) r[k] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + k * ld));
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    t[2 * k] = _mm_unpacklo_epi16(r[k], r[k + 4]);
    t[2 * k + 1] = _mm_unpackhi_epi16(r[k], r[k + 4]);
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    r[2 * k] = _mm_unpacklo_epi16(t[k], t[k + 4]);
    r[2 * k + 1] = _mm_unpackhi_epi16(t[k], t[k + 4]);
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    t[2 * k] = _mm_unpacklo_epi16(r[k], r[k + 4]);
    t[2 * k + 1] = _mm_unpackhi_epi16(r[k], r[k + 4]);
  }
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) _mm_store_si128(reinterpret_cast<__m128i*>(lines + k * step), t[k]);
}
template <>
WS_INLINE void transpose_block<uint16_t>(const uint16_t* in, int64_t ld, uint16_t* lines) {
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) transpose_8x8(in + 8 * k * ld, ld, lines + 8 * k, 32);
}
#endif

// ni x nj elements. `streaming`: past the caches, where the lines of out are aligned.
template <class U>
void transpose_tile(U* out, int64_t out_ld, const U* in, int64_t in_ld, int64_t ni, int64_t nj,
                    bool streaming) {
  alignas(64) U lines[kBlockI * kBlockJ<U>];
  for (int64_t j = 0; j < nj; j += kBlockJ<U>) {
    int64_t i = 0;
    if (j + kBlockJ<U> <= nj)
      for (; i + kBlockI <= ni; i += kBlockI) {
        transpose_block(in + j * in_ld + i, in_ld, lines);
        for (int64_t k = 0; k < kBlockI; ++k)
          put_line(out + (i + k) * out_ld + j, lines + k * kBlockJ<U>, streaming);
      }
    const int64_t end = j + kBlockJ<U> < nj ? j + kBlockJ<U> : nj;
    for (; i < ni; ++i)
      for (int64_t k = j; k < end; ++k) out[i * out_ld + k] = in[k * in_ld + i];
  }
}

WS_KERNELS_END
