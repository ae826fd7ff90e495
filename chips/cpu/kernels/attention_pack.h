#pragma once
// Packing of strided q, k, v, gradient rows into the layouts of attention_tile.h, and back. Rows
// past the end and elements past the head width become zeros, so that tiles need no tails.

#include <utility>

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

// kWide elements as f32.
template <class T>
WS_INLINE wf widen_wide(const T* p) {
  typedef float unaligned __attribute__((vector_size(kWide * 4), aligned(2), may_alias));
  if constexpr (sizeof(T) == 4) {
    return *reinterpret_cast<const unaligned*>(p);
  } else {
#if defined(__AVX2__) && !defined(__AVX512F__)
    return (wf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16);
#else
    typedef uint16_t half __attribute__((vector_size(kWide * 2), aligned(2), may_alias));
    typedef uint32_t whole __attribute__((vector_size(kWide * 4)));
    return (wf)(__builtin_convertvector(*reinterpret_cast<const half*>(p), whole) << 16);
#endif
  }
}
// load_whole_words and load_words for a native vector.
template <class T>
WS_INLINE wf load_words_wide(const T* p) {
  if constexpr (kPairs<T>)
    return widen_wide(reinterpret_cast<const float*>(p));
  else
    return widen_wide(p);
}
template <class T>
WS_INLINE wf load_words_wide(const T* row, int64_t i, int64_t d) {
  constexpr int kElements = kPairs<T> ? 2 * kWide : kWide;
  if (i + kElements <= d) return load_words_wide(row + i);
  alignas(64) T b[kElements];
  std::memset(b, 0, sizeof b);
  if (i < d) std::memcpy(b, row + i, (d - i) * sizeof(T));
  return load_words_wide(b);
}

// Rows as they are: out[rows_to][ld], words along D; zeros from `rows` on and past the width. ld is
// a multiple of 16.
template <class T>
void pack_rows(const T* in, int64_t stride, int64_t rows, int64_t rows_to, int64_t d, float* out,
               int64_t ld) {
  constexpr int64_t kElements = kPairs<T> ? 2 : 1;
  const bool whole = d == ld * kElements;
  for (int64_t r = 0; r < rows_to; ++r, out += ld) {
    const T* row = in + r * stride;
    if (r + kAhead < rows) prefetch_row(row + kAhead * stride, d);
    if (whole && r < rows) {
      for (int64_t w = 0; w < ld; w += kLanes)
        store(out + w, load_whole_words(row + w * kElements));
    } else {
      for (int64_t w = 0; w < ld; w += kLanes)
        store(out + w, r < rows ? load_words(row, w * kElements, d) : vf{});
    }
  }
}

// Rows for a contraction over rows: out[words_across(rows_to)][ld], ld a multiple of 16 >= D; a
// word is an element, or the pair of two successive rows.
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

// One step of a transposition: rows `Gap` apart exchange blocks of that many words.
template <int Gap, size_t... I>
WS_INLINE void exchange(wf (&x)[kWide], std::index_sequence<I...>) {
#pragma GCC unroll 16
  for (int i = 0; i < kWide; ++i) {
    if (i & Gap) continue;
    const wf a = x[i], b = x[i + Gap];
    x[i] = __builtin_shufflevector(
        a, b, (I / Gap % 2 ? kWide + static_cast<int>(I) - Gap : static_cast<int>(I))...);
    x[i + Gap] = __builtin_shufflevector(
        a, b, (I / Gap % 2 ? kWide + static_cast<int>(I) : static_cast<int>(I) + Gap)...);
  }
}
// Transposes a square of words in registers.
WS_INLINE void transpose_wide(wf (&x)[kWide]) {
  constexpr std::make_index_sequence<kWide> index;
  if constexpr (kWide > 8) exchange<8>(x, index);
  if constexpr (kWide > 4) exchange<4>(x, index);
  exchange<2>(x, index);
  exchange<1>(x, index);
}
WS_INLINE void transpose16(vf (&x)[16]) {
  wf(&parts)[16][kParts] = reinterpret_cast<wf(&)[16][kParts]>(x);
  wf all[16][kParts];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kParts; ++j) all[i][j] = parts[i][j];
  }
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kParts; ++j) {
      wf square[kWide];
#pragma GCC unroll 16
      for (int r = 0; r < kWide; ++r) square[r] = all[i * kWide + r][j];
      transpose_wide(square);
#pragma GCC unroll 16
      for (int r = 0; r < kWide; ++r) parts[j * kWide + r][i] = square[r];
    }
  }
}

// Rows as lanes: out[words_along(d)][ld], lane r = row r, for `lanes` (a multiple of 16) lanes;
// zeros from `rows` on. `flip` is xored into every word (the sign bits, to negate).
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

// The reverse of pack_lanes for results: x[d][ld] with rows as lanes, times `scale` per lane, to
// `rows` rows of T. x has room for d rounded up to 16 rows.
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
