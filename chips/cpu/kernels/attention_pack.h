#pragma once
// Packing of strided q, k, v, gradient rows into the layouts of attention_tile.h, and back. Rows past the
// end and elements past the head width become zeros, so that tiles need no tails.

#include "chips/cpu/kernels/attention_tile.h"

WS_KERNELS_BEGIN

// Whether rows of T are kept as bf16 pairs.
template <class T>
constexpr bool kPairs = WS_BF16_PAIRS && sizeof(T) == 2;
// Words of a row of D elements of T, when the contraction runs along D.
template <class T>
constexpr int64_t words_along(int64_t d) {
  return kPairs<T> ? (d + 1) / 2 : d;
}
template <class T>
constexpr int64_t words_across(int64_t rows) {
  return kPairs<T> ? (rows + 1) / 2 : rows;
}
constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Rows lie apart (another head's are between them), where hardware does not prefetch.
constexpr int64_t kAhead = 16;
template <class T>
WS_INLINE void prefetch_row(const T* row, int64_t d) {
  for (int64_t e = 0; e < d; e += static_cast<int64_t>(64 / sizeof(T))) __builtin_prefetch(row + e);
}

// The words of 16 or 32 successive elements.
template <class T>
WS_INLINE vf load_whole_words(const T* p) {
  if constexpr (kPairs<T>)
    return load(reinterpret_cast<const float*>(p));
  else
    return load(p);
}
// The same from element `i` of a row of d, with zeros past its end.
template <class T>
WS_INLINE vf load_words(const T* row, int64_t i, int64_t d) {
  constexpr int kElements = kPairs<T> ? 32 : 16;
  if (i + kElements <= d) return load_whole_words(row + i);
  alignas(64) T b[kElements];
  std::memset(b, 0, sizeof b);
  if (i < d) std::memcpy(b, row + i, (d - i) * sizeof(T));
  return load_whole_words(b);
}

// Rows as they are: out[rows_to][ld], words along D; zeros from `rows` on and past the width. ld is a
// multiple of 16.
template <class T>
void pack_rows(const T* in, int64_t stride, int64_t rows, int64_t rows_to, int64_t d, float* out,
               int64_t ld) {
  constexpr int64_t kElements = kPairs<T> ? 2 : 1;
  const bool whole = d == ld * kElements;
  for (int64_t r = 0; r < rows_to; ++r, out += ld) {
    const T* row = in + r * stride;
    if (r + kAhead < rows) prefetch_row(row + kAhead * stride, d);
    if (whole && r < rows) {
      for (int64_t w = 0; w < ld; w += kLanes) store(out + w, load_whole_words(row + w * kElements));
    } else {
      for (int64_t w = 0; w < ld; w += kLanes)
        store(out + w, r < rows ? load_words(row, w * kElements, d) : vf{});
    }
  }
}

// Rows for a contraction over rows: out[words_across(rows_to)][ld], ld a multiple of 16 >= D; a word is
// an element, or the pair of two successive rows.
template <class T>
void pack_across(const T* in, int64_t stride, int64_t rows, int64_t rows_to, int64_t d, float* out,
                 int64_t ld) {
  if constexpr (!kPairs<T>) {
    pack_rows(in, stride, rows, rows_to, d, out, ld);
  } else {
#if WS_BF16_PAIRS
    for (int64_t r = 0; r < rows_to; r += 2) {
      for (int64_t e = 0; e < ld; e += kLanes) {
        alignas(64) bf16_t part[kLanes];
        __m512i pair = _mm512_setzero_si512();
        for (int i = 0; i < 2; ++i) {
          if (r + i >= rows) break;
          const bf16_t* p = in + (r + i) * stride + e;
          if (e + kLanes > d) {
            std::memset(part, 0, sizeof part);
            if (e < d) std::memcpy(part, p, (d - e) * sizeof(bf16_t));
            p = part;
          }
          const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
          pair = _mm512_or_si512(pair, i ? _mm512_slli_epi32(wide, 16) : wide);
        }
        _mm512_store_si512(out + r / 2 * ld + e, pair);
      }
    }
#endif
  }
}

// Transposes 16 x 16 words in registers.
WS_INLINE void transpose16(vf (&x)[16]) {
  vf y[16];
#define WS_STEP(from, to, gap, ...)                                    \
  _Pragma("GCC unroll 16") for (int i = 0; i < 16; ++i) {              \
    if (i & gap) continue;                                             \
    to[i] = __builtin_shufflevector(from[i], from[i + gap], __VA_ARGS__##_LOW);       \
    to[i + gap] = __builtin_shufflevector(from[i], from[i + gap], __VA_ARGS__##_HIGH); \
  }
#define WS_G8_LOW 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define WS_G8_HIGH 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define WS_G4_LOW 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define WS_G4_HIGH 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define WS_G2_LOW 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define WS_G2_HIGH 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define WS_G1_LOW 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define WS_G1_HIGH 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
  WS_STEP(x, y, 8, WS_G8)
  WS_STEP(y, x, 4, WS_G4)
  WS_STEP(x, y, 2, WS_G2)
  WS_STEP(y, x, 1, WS_G1)
#undef WS_STEP
}

// Rows as lanes: out[words_along(d)][ld], lane r = row r, for `lanes` (a multiple of 16) lanes; zeros from
// `rows` on. `flip` is xored into every word (the sign bits, to negate).
template <class T>
void pack_lanes(const T* in, int64_t stride, int64_t rows, int64_t lanes, int64_t d, uint32_t flip,
                float* out, int64_t ld) {
  constexpr int64_t kElements = kPairs<T> ? 2 : 1;
  const int64_t words = words_along<T>(d);
  for (int64_t r0 = 0; r0 < lanes; r0 += 16) {
    const T* row = in + r0 * stride;
    for (int64_t w = 0; w < words; w += 16) {
      vf x[16];
      if (r0 + 16 <= rows && (w + 16) * kElements <= d) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) x[i] = load_whole_words(row + i * stride + w * kElements);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i)
          x[i] = r0 + i < rows ? load_words(row + i * stride, w * kElements, d) : vf{};
      }
      transpose16(x);
      float* to = out + w * ld + r0;
      if (w + 16 <= words) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) store(to + i * ld, (vf)((vu)x[i] ^ flip));
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i)
          if (w + i < words) store(to + i * ld, (vf)((vu)x[i] ^ flip));
      }
    }
  }
}

// Stores `n` elements of a row from 16-lane vectors, converting.
template <class T>
WS_INLINE void store_row(T* out, vf v, int64_t n) {
  if (n >= kLanes)
    store(out, v);
  else
    store_part(out, v, static_cast<int>(n));
}

// Up to 16 elements as f32, zeros past `n`.
template <class T>
WS_INLINE vf load_row(const T* p, int64_t n) {
  return n >= kLanes ? load(p) : load_part(p, static_cast<int>(n));
}

// The reverse of pack_lanes for results: x[d][ld] with rows as lanes, times `scale` per lane, to `rows`
// rows of T. x has room for d rounded up to 16 rows.
template <class T>
void unpack_lanes(const float* x, int64_t ld, const float* scale, int64_t rows, int64_t d, T* out,
                  int64_t stride) {
  for (int64_t r0 = 0; r0 < rows; r0 += 16) {
    const vf s = load(scale + r0);
    for (int64_t e = 0; e < d; e += 16) {
      vf y[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) y[i] = e + i < d ? load(x + (e + i) * ld + r0) * s : vf{};
      transpose16(y);
      T* to = out + r0 * stride + e;
      if (r0 + 16 <= rows && e + 16 <= d) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) store(to + i * stride, y[i]);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i)
          if (r0 + i < rows) store_row(to + i * stride, y[i], d - e);
      }
    }
  }
}

WS_KERNELS_END
