#pragma once
// Products of one to four rows with a weight that is stored along K (decoding): bound by reading
// the weight once. Words of as many rows as a vector has lanes are transposed in registers, so that
// each lane adds up one column of C in the order of the register tiles and gets their bits. Include
// inside kernel sources only.

#include "chips/cpu/kernels/gemm.h"
#include "chips/cpu/kernels/gemm_pack.h"

WS_KERNELS_BEGIN

#if defined(__AVX2__)
constexpr int64_t kStreamRows = 4;

#if defined(__AVX512F__)
constexpr int kWordRows = 16;  // rows of the weight whose words are transposed together
constexpr int64_t kMostFetchedBytes = 256 << 10;  // of 16 rows

// sum += the elements of one transposed word per lane times their partners in x.
template <class Op, class In>
WS_INLINE __m512 add_word(__m512 sum, __m512 word, const float* x) {
  if constexpr (sizeof(In) == 4) {
    return _mm512_fmadd_ps(word, _mm512_set1_ps(*x), sum);
  } else {
#if WS_PAIR_PRODUCTS
    if constexpr (Op::kStep == 2)
      return _mm512_dpbf16_ps(sum, (__m512bh)word, (__m512bh)_mm512_set1_ps(*x));
#endif
    const __m512i both = (__m512i)word;
    const __m512 low = (__m512)_mm512_slli_epi32(both, 16);
    const __m512 high =
        (__m512)_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
    float even = x[0], odd = 0;
    if constexpr (Op::kStep == 2) {  // where the processor has none, in the order of Pairs::add
      const uint32_t pair = std::bit_cast<uint32_t>(*x);
      even = std::bit_cast<float>(pair << 16), odd = std::bit_cast<float>(pair & 0xffff0000u);
    } else {
      odd = x[1];
    }
    sum = _mm512_fmadd_ps(low, _mm512_set1_ps(even), sum);
    return _mm512_fmadd_ps(high, _mm512_set1_ps(odd), sum);
  }
}

// The 16 words (cache line) from element k of 16 rows, transposed: t[i] holds word i of each. Past
// `left` elements zeros (Whole: there are that many). A line is loaded whole, at once: rows a power
// of two apart share the few places of the first cache.
template <class In, bool Whole>
WS_INLINE void transposed_line(const In* const* row, int64_t k, int64_t left, __m512 (&t)[16]) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    if (Whole) {
      t[i] = _mm512_loadu_ps(row[i] + k);
    } else {
      alignas(64) char padded[64] = {};
      std::memcpy(padded, row[i] + k, left * sizeof(In));
      t[i] = _mm512_load_ps(padded);
    }
  }
  transpose16(t);
}

// Fetches a line of each of 16 rows, the first of which is `from`: those at element k or, where the rows
// touch, as many in the order of memory, so that all k together fetch all lines.
template <class In>
WS_INLINE void fetch_lines(const Gemm& g, const In* from, int64_t k) {
  constexpr int64_t kLine = 64 / sizeof(In);
  const bool in_order = g.b_col == g.k;
  const int64_t step = in_order ? kLine : g.b_col;
  from += in_order ? kWordRows * k : k;
#pragma GCC unroll 16
  for (int r = 0; r < kWordRows; ++r, from += step) __builtin_prefetch(from, 0, 2);
}

// Elements [k, end) of 16 rows: sums[m][row]. x holds the words of row 0. The next rows lie `next`
// behind these and are fetched into the second cache meanwhile; 0: there are none.
template <class Op, class In, int M>
WS_INLINE void stream_block(const Gemm& g, const In* const* row, int64_t k, int64_t end,
                            int64_t next, const float* x, int64_t x_row, float* sums) {
  constexpr int64_t kLine = 64 / sizeof(In);
  constexpr int kPerWord = sizeof(In) == 2 && Op::kStep == 1 ? 2 : 1;  // words of x for one of these
  __m512 acc[M], t[16];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) acc[m] = _mm512_setzero_ps();
  for (; k + kLine <= end; k += kLine) {
    if (next) fetch_lines(g, row[0] + next, k);
    transposed_line<In, true>(row, k, kLine, t);
    const float* here = x + k / Op::kStep;
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m)
        acc[m] = add_word<Op, In>(acc[m], t[i], here + m * x_row + i * kPerWord);
    }
  }
  if (k < end) {
    transposed_line<In, false>(row, k, end - k, t);
    alignas(64) float words[16][16];
    for (int i = 0; i < 16; ++i) _mm512_store_ps(words[i], t[i]);
    constexpr int64_t kElements = 4 / sizeof(In);  // of a word
    for (int64_t i = 0; i * kElements < end - k; ++i)
      for (int m = 0; m < M; ++m)
        acc[m] = add_word<Op, In>(acc[m], _mm512_load_ps(words[i]),
                                  x + k / Op::kStep + m * x_row + i * kPerWord);
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) _mm512_storeu_ps(sums + m * kWordRows, acc[m]);
}

#else
constexpr int kWordRows = 8;
// How far ahead rows are fetched. Short ones have too little ahead: there the next eight rows are
// fetched in the order of memory.
constexpr int64_t kAheadBytes = 256, kShortRowBytes = 3 << 10;

// sum += the elements of one transposed word per lane times their partners in x.
template <class Op, class In>
WS_INLINE __m256 add_word(__m256 sum, __m256 word, const float* x) {
  if constexpr (sizeof(In) == 4) {
    return _mm256_fmadd_ps(word, _mm256_broadcast_ss(x), sum);
  } else {
    const __m256i both = (__m256i)word;
    const __m256 low = (__m256)_mm256_slli_epi32(both, 16);
    const __m256 high =
        (__m256)_mm256_and_si256(both, _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
    if constexpr (Op::kStep ==
                  2) {  // pairs where the processor has none, in the order of Pairs::add
      const uint32_t pair = std::bit_cast<uint32_t>(*x);
      sum = _mm256_fmadd_ps(_mm256_set1_ps(std::bit_cast<float>(pair << 16)), low, sum);
      return _mm256_fmadd_ps(_mm256_set1_ps(std::bit_cast<float>(pair & 0xffff0000u)), high, sum);
    }
    sum = _mm256_fmadd_ps(low, _mm256_broadcast_ss(x), sum);
    return _mm256_fmadd_ps(high, _mm256_broadcast_ss(x + 1), sum);
  }
}

// Four 32-bit words of memory; past `left` elements zeros (Whole: there are that many).
template <class In, bool Whole>
WS_INLINE __m128 four_words(const In* p, int64_t left) {
  if (Whole) return _mm_loadu_ps(reinterpret_cast<const float*>(p));
  alignas(16) char padded[16] = {};
  std::memcpy(padded, p, left * sizeof(In));
  return _mm_load_ps(reinterpret_cast<const float*>(padded));
}

// Four words along K of each of eight rows. `left` elements remain (Whole: at least four words of
// them).
template <class Op, class In, int M, bool Whole>
WS_INLINE void stream_words(__m256 (&acc)[M], const In* const* row, int64_t k, int64_t left,
                            const float* x, int64_t x_row) {
  constexpr int kPerWord =
      sizeof(In) == 2 && Op::kStep == 1 ? 2 : 1;  // words of x for one of these
  __m256 t[4];
#pragma GCC unroll 4
  for (int l = 0; l < 4; ++l) {
    const __m128 low = four_words<In, Whole>(row[l] + k, left),
                 high = four_words<In, Whole>(row[l + 4] + k, left);
    t[l] = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
  }
  transpose_fours(t);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
      acc[m] = add_word<Op, In>(acc[m], t[i], x + m * x_row + i * kPerWord);
  }
}

// Elements [k, end) of eight rows: sums[m][row]. x holds the words of row 0. The next eight rows
// lie `next` behind these; 0: there are none.
template <class Op, class In, int M>
WS_INLINE void stream_block(const Gemm& g, const In* const* row, int64_t k, int64_t end,
                            int64_t next, const float* x, int64_t x_row, float* sums) {
  constexpr int64_t kLine = 64 / sizeof(In), kPiece = kLine / 4;  // of a cache line; of four words
  constexpr int64_t kAhead = kAheadBytes / sizeof(In);
  const bool in_order = g.b_col == g.k && g.k * sizeof(In) < kShortRowBytes;
  const int64_t step = in_order ? kLine : g.b_col;
  __m256 acc[M];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) acc[m] = _mm256_setzero_ps();
  for (; k + kLine <= end; k += kLine) {
    const int64_t here = k + kAhead < end || end < g.k ? k + kAhead : k + kAhead - end + next;
    const In* fetched = row[0] + (in_order ? kWordRows * k + next : here);
#pragma GCC unroll 8
    for (int r = 0; r < kWordRows; ++r, fetched += step) __builtin_prefetch(fetched);
#pragma GCC unroll 4
    for (int64_t at = k; at < k + kLine; at += kPiece)
      stream_words<Op, In, M, true>(acc, row, at, kPiece, x + at / Op::kStep, x_row);
  }
  for (; k + kPiece <= end; k += kPiece)
    stream_words<Op, In, M, true>(acc, row, k, kPiece, x + k / Op::kStep, x_row);
  if (k < end) stream_words<Op, In, M, false>(acc, row, k, end - k, x + k / Op::kStep, x_row);
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) _mm256_storeu_ps(sums + m * kWordRows, acc[m]);
}
#endif

// Columns [from, to) of C for M rows.
template <class Op, class In, class Out, int M>
__attribute__((noinline)) void stream(const Gemm& g, int64_t block_length, const float* x,
                                      int64_t x_row, const float* bias, int64_t from, int64_t to) {
#if defined(__AVX512F__)
  // Long rows are fetched by the processor itself, and would not fit the second cache.
  const bool fetches = kWordRows * g.k * static_cast<int64_t>(sizeof(In)) <= kMostFetchedBytes;
  if (fetches)
    for (int64_t k = 0; k < g.k; k += 64 / static_cast<int64_t>(sizeof(In)))  // the first rows
      fetch_lines(g, static_cast<const In*>(g.b) + from * g.b_col, k);
#else
  constexpr bool fetches = true;
#endif
  for (int64_t n = from; n < to; n += kWordRows) {
    const int64_t rows = to - n < kWordRows ? to - n : kWordRows;
    const In* row[kWordRows];
    for (int64_t l = 0; l < kWordRows; ++l)
      row[l] = static_cast<const In*>(g.b) + (n + (l < rows ? l : 0)) * g.b_col;
    Out* c = static_cast<Out*>(g.c) + n * g.c_col;
    alignas(64) float total[M * kWordRows], sums[M * kWordRows];
    for (int64_t k = 0; k == 0 || k < g.k; k += block_length) {
      const int64_t end = g.k - k < block_length ? g.k : k + block_length;
      const int64_t next = !fetches || n + 2 * kWordRows > to ? 0 : kWordRows * g.b_col;
      stream_block<Op, In, M>(g, row, k, end, next, x, x_row, sums);
      for (int i = 0; i < M * kWordRows; ++i) total[i] = k ? total[i] + sums[i] : sums[i];
      if (k || !g.accumulate) continue;
      if constexpr (sizeof(Out) == 4)
        for (int m = 0; m < M; ++m)
          for (int64_t i = 0; i < rows; ++i)
            total[m * kWordRows + i] = c[m * g.c_row + i * g.c_col] + sums[m * kWordRows + i];
    }
    for (int m = 0; m < M; ++m)
      for (int64_t i = 0; i < rows; ++i) {
        float v = total[m * kWordRows + i];
        if (bias) v += bias[n + i];
        c[m * g.c_row + i * g.c_col] = convert(v, c);
      }
  }
}

// The rows of A as words, with minus zero past K: a sum of nothing more than 0 * -0 keeps its bits.
template <class Op, class In>
void widen_rows(const Gemm& g, int64_t x_row, float* x) {
  const Lanes<In> rows{static_cast<const In*>(g.a), g.a_row, g.a_col};
  const float pad = Op::kStep == 2 ? std::bit_cast<float>(0x80008000u) : -0.0f;
  for (int64_t m = 0; m < g.m; ++m) {
    int64_t i = 0;
    for (; i * Op::kStep < g.k; ++i) x[m * x_row + i] = word_at<Op>(rows, m, i * Op::kStep, g.k);
    for (; i < x_row; ++i) x[m * x_row + i] = pad;
  }
}

template <class Op, class Out>
using Stream = void (*)(const Gemm&, int64_t, const float*, int64_t, const float*, int64_t,
                        int64_t);
template <class Op, class In, class Out>
Stream<Op, Out> stream_of(int64_t m) {
  constexpr Stream<Op, Out> all[kStreamRows] = {stream<Op, In, Out, 1>, stream<Op, In, Out, 2>,
                                                stream<Op, In, Out, 3>, stream<Op, In, Out, 4>};
  return all[m - 1];
}

// The whole product; `bias` as f32 or null.
template <class Op, class Out>
void multiply_rows(const Gemm& g, int64_t block_length, const float* bias) {
  constexpr int64_t kLeastBytes = 1 << 16, kMostBytes = 1 << 20;  // of the weight in a tile
  const int64_t x_row = (g.k + 15) / 16 * 16;
  float* x = static_cast<float*>(cpu::scratch(4, (g.m * x_row + 16) * sizeof(float)));
  Stream<Op, Out> run;
  if constexpr (Op::kStep == 2) {
    widen_rows<Op, bf16_t>(g, x_row, x);
    run = stream_of<Op, bf16_t, Out>(g.m);
  } else {
    g.a_type == DType::f32 ? widen_rows<Op, float>(g, x_row, x)
                           : widen_rows<Op, bf16_t>(g, x_row, x);
    run = g.b_type == DType::f32 ? stream_of<Op, float, Out>(g.m) : stream_of<Op, bf16_t, Out>(g.m);
  }
  const int64_t row_bytes = g.k * static_cast<int64_t>(size_of(g.b_type)) + 1;
  int64_t bytes = g.n * row_bytes / (4 * threads());
  bytes = bytes < kLeastBytes ? kLeastBytes : bytes > kMostBytes ? kMostBytes : bytes;
  const int64_t columns = (bytes / row_bytes + 16) / 16 * 16;
  parallel_for((g.n + columns - 1) / columns, [&](int64_t tile) {
    const int64_t from = tile * columns, to = from + columns < g.n ? from + columns : g.n;
    run(g, block_length, x, x_row, bias, from, to);
  });
}
#endif

WS_KERNELS_END
