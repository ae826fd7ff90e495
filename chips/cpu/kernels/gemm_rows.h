#pragma once
// Products of one to four rows with a weight that is stored along K (decoding): bound by reading
// the weight once. Blocks of 8 x 8 words are transposed in registers, so that each lane adds up one
// column of C in the order of the register tiles and gets their bits. Include inside kernel sources
// only.

#include "chips/cpu/kernels/gemm.h"
#include "chips/cpu/kernels/gemm_pack.h"

WS_KERNELS_BEGIN

#if defined(__AVX2__)
constexpr int64_t kStreamRows = 4;
constexpr int kWordRows = 8;  // rows of the weight whose words are transposed together
// Such groups at once. Each sum is a chain of dependent additions, so one row of A needs several to
// hide their latency. A group's whole cache lines are used before the next group's are touched: of
// sixteen rows a power of two apart the lines would push one another out of the first cache.
template <int M>
constexpr int kGroups = M == 1 ? 2 : 1;

// sum += the elements of one transposed word per lane times their partners in x.
template <class Op, class In>
WS_INLINE __m256 add_word(__m256 sum, __m256 word, const float* x) {
  if constexpr (sizeof(In) == 4) {
    return _mm256_fmadd_ps(word, _mm256_broadcast_ss(x), sum);
  } else {
#if WS_PAIR_PRODUCTS
    if constexpr (Op::kStep == 2)
      return _mm256_dpbf16_ps(sum, (__m256bh)word, (__m256bh)_mm256_broadcast_ss(x));
#endif
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

// Eight words along K of each of eight rows. `left` elements remain (Whole: at least eight words of
// them).
template <class Op, class In, int M, bool Whole>
WS_INLINE void stream_words(__m256 (&acc)[M], const In* const* row, int64_t k, int64_t left,
                            int64_t ahead, const float* x, int64_t x_row) {
  constexpr int kPerWord =
      sizeof(In) == 2 && Op::kStep == 1 ? 2 : 1;  // words of x for one of these
  __m256 t[8];
#pragma GCC unroll 8
  for (int l = 0; l < 8; ++l) {
    const In* p = row[l] + k;
    t[l] = raw_words<In, Whole>(p, left);
    if (Whole) __builtin_prefetch(p + ahead, 0, 2);
  }
  transpose8(t);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
      acc[m] = add_word<Op, In>(acc[m], t[i], x + m * x_row + i * kPerWord);
  }
}

// Elements [k, k + count) of the rows of all groups: sums[m][row]. x[m] holds the words of row m.
template <class Op, class In, int M>
WS_INLINE void stream_block(const In* const* row, int64_t k, int64_t count, int64_t ahead,
                            const float* x, int64_t x_row, float* sums) {
  constexpr int G = kGroups<M>;
  constexpr int64_t kElements = 32 / sizeof(In);  // of eight words in memory
  __m256 acc[G][M];
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) acc[g][m] = _mm256_setzero_ps();
  const int64_t end = k + count;
  x += k / Op::kStep;
  constexpr int64_t kX = kElements / Op::kStep;
  for (; k + 2 * kElements <= end; k += 2 * kElements, x += 2 * kX)
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g) {
      const In* const* rows = row + g * kWordRows;
      stream_words<Op, In, M, true>(acc[g], rows, k, kElements, ahead, x, x_row);
      stream_words<Op, In, M, true>(acc[g], rows, k + kElements, kElements, ahead, x + kX, x_row);
    }
  for (; k < end; k += kElements, x += kX)
#pragma GCC unroll 2
    for (int g = 0; g < G; ++g) {
      const In* const* rows = row + g * kWordRows;
      if (k + kElements <= end)
        stream_words<Op, In, M, true>(acc[g], rows, k, kElements, ahead, x, x_row);
      else
        stream_words<Op, In, M, false>(acc[g], rows, k, end - k, ahead, x, x_row);
    }
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) _mm256_storeu_ps(sums + (m * G + g) * kWordRows, acc[g][m]);
}

// Columns [from, to) of C for M rows.
template <class Op, class In, class Out, int M>
__attribute__((noinline)) void stream(const Gemm& g, int64_t block_length, const float* x,
                                      int64_t x_row, const float* bias, int64_t from, int64_t to) {
  constexpr int kColumns = kWordRows * kGroups<M>;
  for (int64_t n = from; n < to; n += kColumns) {
    const int64_t rows = to - n < kColumns ? to - n : kColumns;
    const In* row[kColumns];
    for (int64_t l = 0; l < kColumns; ++l)
      row[l] = static_cast<const In*>(g.b) + (n + (l < rows ? l : 0)) * g.b_col;
    Out* c = static_cast<Out*>(g.c) + n * g.c_col;
    alignas(32) float total[M * kColumns], sums[M * kColumns];
    for (int64_t k = 0; k == 0 || k < g.k; k += block_length) {
      const int64_t count = g.k - k < block_length ? g.k - k : block_length;
      // The rows after these are fetched meanwhile, unless they are another tile's.
      const int64_t ahead = n + 2 * kColumns <= to ? kColumns * g.b_col : 0;
      stream_block<Op, In, M>(row, k, count, ahead, x, x_row, sums);
      for (int i = 0; i < M * kColumns; ++i) total[i] = k ? total[i] + sums[i] : sums[i];
      if (k || !g.accumulate) continue;
      if constexpr (sizeof(Out) == 4)
        for (int m = 0; m < M; ++m)
          for (int64_t i = 0; i < rows; ++i)
            total[m * kColumns + i] = c[m * g.c_row + i * g.c_col] + sums[m * kColumns + i];
    }
    for (int m = 0; m < M; ++m)
      for (int64_t i = 0; i < rows; ++i) {
        float v = total[m * kColumns + i];
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
