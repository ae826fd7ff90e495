// linear_quantized: out {y}, in {x, values, scales, levels, bias}, attr {swiglu}. y[M, N] = x[M, K] W^T + bias,
// packed, f32 or bf16 each; with swiglu W has 2 N rows, N a multiple of 16, and y is silu of the first half times the
// other, each rounded to y's dtype before. values u8 [blocks, groups, 512 or 256] (quantized.h), scales f32 [N] or
// f16 [blocks, groups, 16]; levels i8 [16] for 4 bits, else undefined; bias f32 [N] or undefined.
// embedding_quantized: out {y}, in {values, scales, levels, ids}: rows of such a weight, f32.

#include "chips/cpu/kernels/quantized.h"

#include <bit>

#include "chips/cpu/kernels/swiglu.h"
#include "chips/cpu/native.h"

WS_KERNELS_BEGIN

struct Quantized {
  int64_t groups = 0, block_bytes = 0;
  bool by_row = false;
  const uint8_t* values = nullptr;
  const float* row_scales = nullptr;       // by row
  const uint16_t* group_scales = nullptr;  // by group
  const int8_t* levels = nullptr;

  static Quantized of(const char* kernel, const View& values, const View& scales, const View& levels) {
    Quantized q;
    q.groups = values.shape[1], q.block_bytes = values.shape[2];
    q.values = static_cast<const uint8_t*>(values.data);
    q.by_row = scales.dtype == DType::f32;
    if (q.by_row)
      q.row_scales = static_cast<const float*>(scales.data);
    else if (scales.dtype == DType::f16)
      q.group_scales = static_cast<const uint16_t*>(scales.data);
    else
      cpu::kernel_refuses(kernel, "scales are neither f32 nor f16");
    q.levels = levels.defined() ? static_cast<const int8_t*>(levels.data) : nullptr;
    if (q.block_bytes != (q.levels ? 256 : 512)) cpu::kernel_refuses(kernel, "a block has another size");
    return q;
  }
};

// Sixteen values to the nearest integers, even ones among equals; returns their sum. Within +-127, or anything.
WS_INLINE uint32_t round_to_bytes(vf v, int8_t* to) {
#if WS_ISA_LEVEL >= 2
  const __m512i whole = _mm512_cvtps_epi32((__m512)v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtsepi32_epi8(whole));
  return static_cast<uint32_t>(_mm512_reduce_add_epi32(whole));
#else
  alignas(64) float x[kLanes];
  store(x, v);
  int32_t sum = 0;
  for (int i = 0; i < kLanes; ++i) {
    const int32_t w = static_cast<int32_t>(__builtin_rintf(x[i]));
    to[i] = static_cast<int8_t>(w < -127 ? -127 : w > 127 ? 127 : w);
    sum += to[i];
  }
  return static_cast<uint32_t>(sum);
#endif
}

// A row of x to bytes, as lane of a tile of so many rows: each group's greatest magnitude becomes 127.
template <class T>
void quantize_row(const T* x, int64_t k, int64_t groups, int32_t* to, int64_t rows) {
  for (int64_t g = 0; g < groups; ++g, x += kGroup, to += kGroupWords * rows) {
    const int64_t n = k - g * kGroup < kGroup ? k - g * kGroup : kGroup;
    const vf a = load_n(x, static_cast<int>(n < kLanes ? n : kLanes));
    const vf b = n > kLanes ? load_n(x + kLanes, static_cast<int>(n - kLanes)) : vf{};
    const float top = max_lanes(vmax(vmax(a, -a), vmax(b, -b)));
    const float scale = group_scale(top);
    // Not finite: the products are to show it.
    const bool usable = top > 0 && scale < __builtin_inff();
    const vf inverse = splat(usable ? 127.0f / top : 0.0f);
    alignas(64) int8_t values[kGroup];
    const uint32_t sum = round_to_bytes(a * inverse, values) + round_to_bytes(b * inverse, values + kLanes);
    const bool finite = sum_lanes((a - a) + (b - b)) == 0;  // else NaN
    to[0] = finite ? -128 * static_cast<int32_t>(sum) : 0;
    to[rows] = std::bit_cast<int32_t>(finite ? usable ? scale : 0.0f : __builtin_nanf(""));
    for (int64_t c = 0; c < kGroup / 4; ++c) std::memcpy(to + (2 + c) * rows, values + 4 * c, 4);
  }
}

// The products of a group: `p` the first of B blocks' bytes, `x` the tile's words.
template <int T, int B, bool kHalfBytes>
WS_INLINE void add_group(BlockSum (&d)[T][B], const uint8_t* p, int64_t stride, const Levels& levels, const int32_t* x) {
  if constexpr (kHalfBytes) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      BlockBytes low[B], high[B];
#pragma GCC unroll 2
      for (int b = 0; b < B; ++b) levels.load(p + b * stride + 64 * c, low[b], high[b]);
#pragma GCC unroll 6
      for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
        for (int b = 0; b < B; ++b) {
          add_products(d[t][b], low[b], x[c * T + t]);
          add_products(d[t][b], high[b], x[(4 + c) * T + t]);
        }
      }
    }
  } else {
#pragma GCC unroll 8
    for (int c = 0; c < 8; ++c) {
      BlockBytes v[B];
#pragma GCC unroll 2
      for (int b = 0; b < B; ++b) v[b] = load_block(p + b * stride + 64 * c);
#pragma GCC unroll 6
      for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
        for (int b = 0; b < B; ++b) add_products(d[t][b], v[b], x[c * T + t]);
      }
    }
  }
}

template <int T, int B, Scales S, bool kHalfBytes>
WS_INLINE void multiply(const Quantized& w, int64_t block, const int32_t* a, vf (&acc)[T][B]) {
  const int64_t stride = w.groups * w.block_bytes;
  const uint8_t* p = w.values + block * stride;
  const uint16_t* scales = S == Scales::by_group ? w.group_scales + block * w.groups * kBlockRows : nullptr;
  static constexpr int8_t kNone[16] = {};
  const Levels levels(kHalfBytes ? w.levels : kNone);
  for (int64_t g = 0; g < w.groups; ++g, p += w.block_bytes, a += kGroupWords * T) {
    BlockSum d[T][B];
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 2
      for (int b = 0; b < B; ++b) d[t][b].begin(a[t]);
    }
    add_group<T, B, kHalfBytes>(d, p, stride, levels, a + 2 * T);
    vf s[B];
    if constexpr (S == Scales::by_group) {
      for (int b = 0; b < B; ++b) s[b] = load_halves(scales + (b * w.groups + g) * kBlockRows);
    }
#pragma GCC unroll 6
    for (int t = 0; t < T; ++t) {
      const vf scale = splat(std::bit_cast<float>(a[T + t]));
#pragma GCC unroll 2
      for (int b = 0; b < B; ++b)
        acc[t][b] = fma(S == Scales::by_group ? to_floats(d[t][b]) * s[b] : to_floats(d[t][b]), scale, acc[t][b]);
    }
  }
  if constexpr (S == Scales::by_row) {
    for (int b = 0; b < B; ++b) {
      const vf s = load(w.row_scales + (block + b) * kBlockRows);
      for (int t = 0; t < T; ++t) acc[t][b] = acc[t][b] * s;
    }
  }
}

// Columns of a product with n of them: `data` has those from first_column on, of rows from first_row on.
struct Output {
  void* data;
  int64_t n, stride;
  bool half;
  const float* bias;
  int64_t first_row = 0, first_column = 0;
  WS_INLINE void put(int64_t row, int64_t block, vf v) const {
    const int64_t column = block * kBlockRows;
    const int count = static_cast<int>(n - column < kLanes ? n - column : kLanes);
    const int64_t place = (row - first_row) * stride + column - first_column;
    if (bias) v += load_n(bias + column, count);
    if (half)
      store_n(static_cast<bf16_t*>(data) + place, v, count);
    else
      store_n(static_cast<float*>(data) + place, v, count);
  }
};

// Calls product(first, last, begin, end, output) for blocks [first, last) of the weight and rows [begin, end). With
// `half` blocks in each half of a gated weight: for those and for as many of the other half, into memory that stays
// in the cache until silu of the ones times the others has gone to y.
template <class F>
WS_INLINE void times_or_gated(int64_t half, int64_t first, int64_t last, int64_t begin, int64_t end, const Output& y, F&& product) {
  if (!half) return product(first, last, begin, end, y);
  const int64_t width = (last - first) * kBlockRows, size = (end - begin) * width;
  const auto through = [&]<class T>(T* gate) {
    T* up = gate + size;
    product(first, last, begin, end, Output{gate, y.n, width, y.half, y.bias, begin, first * kBlockRows});
    product(half + first, half + last, begin, end, Output{up, y.n, width, y.half, y.bias, begin, (half + first) * kBlockRows});
    for (int64_t row = begin; row < end; ++row, gate += width, up += width)
      swiglu_row(gate, up, static_cast<T*>(y.data) + row * y.stride + first * kBlockRows, width);
  };
  void* memory = cpu::scratch(5, static_cast<size_t>(2 * size) * sizeof(float));
  y.half ? through(static_cast<bf16_t*>(memory)) : through(static_cast<float*>(memory));
}

// Rows in as few passes over the block as registers allow: f<T>(row) is called for T rows, kMost or fewer, from `row` on.
template <int kMost, class F>
void rows_together(int64_t begin, int64_t end, F&& f) {
  int64_t row = begin;
  for (; row + kMost <= end; row += kMost) f.template operator()<kMost>(row);
  if constexpr (kMost > 8)
    if (row + 8 <= end) f.template operator()<8>(row), row += 8;
  if constexpr (kMost > 6)
    if (row + 6 <= end) f.template operator()<6>(row), row += 6;
  if (row + 4 <= end) f.template operator()<4>(row), row += 4;
  if (row + 3 <= end) f.template operator()<3>(row), row += 3;
  if (row + 2 <= end) f.template operator()<2>(row), row += 2;
  if (row < end) f.template operator()<1>(row);
}

template <int T, int B, Scales S, bool kHalfBytes>
__attribute__((noinline)) void tile_of_rows(const Quantized& w, int64_t block, const int32_t* a, int64_t row, const Output& y) {
  vf acc[T][B] = {};
  multiply<T, B, S, kHalfBytes>(w, block, a, acc);
  for (int t = 0; t < T; ++t)
    for (int b = 0; b < B; ++b) y.put(row + t, block + b, acc[t][b]);
}

// The first of so many rows, at most kTileRows.
template <int B, Scales S, bool kHalfBytes, int T = kTileRows>
void tile_times_blocks(int64_t rows, const Quantized& w, int64_t block, const int32_t* a, int64_t row, const Output& y) {
  if constexpr (T > 1)
    if (rows < T) return tile_times_blocks<B, S, kHalfBytes, T - 1>(rows, w, block, a, row, y);
  tile_of_rows<T, B, S, kHalfBytes>(w, block, a, row, y);
}

// Rows [begin, end), of which `begin` begins a tile, times blocks [first, last), B at once while there are.
template <int B, Scales S, bool kHalfBytes>
void rows_times_blocks(const Quantized& w, int64_t first, int64_t last, const int32_t* a, int64_t begin, int64_t end, const Output& y) {
  const int64_t words = w.groups * kGroupWords;
  int64_t block = first;
  for (; block + B <= last; block += B)
    for (int64_t row = begin; row < end; row += kTileRows)
      tile_times_blocks<B, S, kHalfBytes>(end - row, w, block, a + row * words, row, y);
  if constexpr (B > 1)
    if (block < last) rows_times_blocks<1, S, kHalfBytes>(w, block, last, a, begin, end, y);
}

// `few` rows wait for memory, which gives most from one place after the other.
void multiply_rows(const Quantized& w, int64_t first, int64_t last, const int32_t* a, int64_t begin, int64_t end, bool few, const Output& y) {
  if (w.levels)
    rows_times_blocks<1, Scales::by_group, true>(w, first, last, a, begin, end, y);
  else if (few && w.by_row)
    rows_times_blocks<1, Scales::by_row, false>(w, first, last, a, begin, end, y);
  else if (few)
    rows_times_blocks<1, Scales::by_group, false>(w, first, last, a, begin, end, y);
  else if (w.by_row)
    rows_times_blocks<kTileBlocks, Scales::by_row, false>(w, first, last, a, begin, end, y);
  else
    rows_times_blocks<kTileBlocks, Scales::by_group, false>(w, first, last, a, begin, end, y);
}

// Blocks [first, last) with their 4 bits in 8, so that not each tile of rows looks them up.
Quantized in_bytes(const Quantized& w, int64_t first, int64_t last, uint8_t* to) {
  const Levels levels(w.levels);
  const uint8_t* p = w.values + first * w.groups * w.block_bytes;
  Quantized bytes = w;
  bytes.levels = nullptr, bytes.block_bytes = 512;
  bytes.values = to - first * w.groups * 512;
  for (int64_t i = 0; i < (last - first) * w.groups; ++i, to += 512)
    for (int c = 0; c < 4; ++c, p += 64) {
      BlockBytes low, high;
      levels.load(p, low, high);
      store_block(to + 64 * c, low), store_block(to + 256 + 64 * c, high);
    }
  return bytes;
}

// Weights of 16 bits: values bf16 [blocks, pairs, 32], a word for each row holds columns 2 p and 2 p + 1. Two sums of
// each element, of even and odd pairs, from the first to the last.
#if WS_ISA_LEVEL == 3
using Pair = uint32_t;  // of activations
constexpr int kPairRows = 12;
constexpr int64_t kPairRoom = 64 << 10;  // bytes of weights that rows pass by at once

WS_INLINE vf add_pairs(vf sum, vu w, Pair x) {
  return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512i)w, (__m512bh)_mm512_set1_epi32(static_cast<int>(x)));
}
WS_INLINE vu load_words(const uint32_t* p) { return (vu)load(reinterpret_cast<const float*>(p)); }

template <int T>
__attribute__((noinline)) void rows_of_pairs(const uint32_t* w, int64_t pairs, int64_t block, const Pair* a, int64_t row,
                                             const Output& y) {
  const uint32_t* p = w + block * pairs * kBlockRows;
  const Pair* x = a + row * pairs;
  vf acc[T][2] = {};
  for (int64_t i = 0; i < pairs; i += 2, p += 2 * kBlockRows) {
    const vu even = load_words(p), odd = load_words(p + kBlockRows);
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
      acc[t][0] = add_pairs(acc[t][0], even, x[t * pairs + i]);
      acc[t][1] = add_pairs(acc[t][1], odd, x[t * pairs + i + 1]);
    }
  }
  for (int t = 0; t < T; ++t) y.put(row + t, block, acc[t][0] + acc[t][1]);
}

// A row of x, rounded to bf16.
void pairs_of(const Rows& x, int64_t row, int64_t pairs, Pair* to) {
  bf16_t* halves = reinterpret_cast<bf16_t*>(to);
  std::memset(halves + x.width, 0, static_cast<size_t>(2 * pairs - x.width) * 2);
  if (x.half)
    std::memcpy(halves, x.halves(row), static_cast<size_t>(x.width) * 2);
  else
    each_vector(x.width, [&](int64_t i, int n) { store_n(halves + i, load_n(x.floats(row) + i, n), n); });
}
#else
struct Pair {  // widened, so that a product takes it from memory as it is
  float low, high;
};
constexpr int kPairRows = kVectorBytes == 64 ? 12 : 6;  // two sums each, two words and their halves: the registers
constexpr int64_t kPairRoom = 320 << 10;

template <int T>
__attribute__((noinline)) void rows_of_pairs(const uint32_t* w, int64_t pairs, int64_t block, const Pair* a, int64_t row,
                                             const Output& y) {
  // A few rows take what they read whole; for more, a part of the block's rows at a time leaves room for the sums.
  constexpr int L = kWidth<float>, kAll = kBlockRows / L, kParts = 2 * T * kAll <= 12 ? kAll : 1;
  alignas(64) float sums[T][kBlockRows];
  for (int64_t lane = 0; lane < kBlockRows; lane += L * kParts) {
    const uint32_t* p = w + block * pairs * kBlockRows + lane;
    const Pair* x = a + row * pairs;
    native<float> acc[T][2][kParts] = {};
    for (int64_t i = 0; i < pairs; i += 2, p += 2 * kBlockRows) {
#pragma GCC unroll 8
      for (int s = 0; s < 2 * kParts; ++s) {
        const int odd = s / kParts, part = s % kParts;
        const native<uint32_t> word = load_native(p + odd * kBlockRows + part * L);
        const native<float> low = (native<float>)(word << 16), high = (native<float>)(word & 0xffff0000u);
#pragma GCC unroll 12
        for (int t = 0; t < T; ++t) {
          acc[t][odd][part] += low * x[t * pairs + i + odd].low;
          acc[t][odd][part] += high * x[t * pairs + i + odd].high;
        }
      }
    }
    for (int t = 0; t < T; ++t)
      for (int part = 0; part < kParts; ++part) store_native(&sums[t][lane + part * L], acc[t][0][part] + acc[t][1][part]);
  }
  for (int t = 0; t < T; ++t) y.put(row + t, block, load(sums[t]));
}

void pairs_of(const Rows& x, int64_t row, int64_t pairs, Pair* to) {
  float* floats = &to->low;
  std::memset(floats + x.width, 0, static_cast<size_t>(2 * pairs - x.width) * 4);
  each_vector(x.width, [&](int64_t i, int n) {
    alignas(64) bf16_t rounded[kLanes];
    if (!x.half) store_n(rounded, load_n(x.floats(row) + i, n), n);
    store_n(floats + i, load_n(x.half ? x.halves(row) + i : rounded, n), n);
  });
}
#endif

void linear_pairs(const Call& call, int64_t M, const Rows& rows, int64_t half, const Output& out) {
  const View& values = call.in[1];
  const int64_t blocks = half ? half : values.shape[0], pairs = values.shape[1];
  const uint32_t* w = static_cast<const uint32_t*>(values.data);
  Pair* a = static_cast<Pair*>(cpu::scratch(3, static_cast<size_t>(M * pairs) * sizeof(Pair) + 64));
  const auto prepare = [&](int64_t row) { pairs_of(rows, row, pairs, a + row * pairs); };
  if (M <= 8)
    for (int64_t row = 0; row < M; ++row) prepare(row);
  else
    parallel_for((M + 7) / 8, [&](int64_t tile) {
      for (int64_t row = tile * 8; row < M && row < tile * 8 + 8; ++row) prepare(row);
    });
  // Weights of some blocks stay in the second cache while pieces of rows pass by.
  const int64_t row_bytes = (pairs ? pairs : 1) * static_cast<int64_t>(sizeof(Pair)), fit = (256 << 10) / row_bytes;
  const int64_t piece = fit < 12 ? 12 : fit > 96 ? 96 : fit / 12 * 12;
  const int64_t room = M > 12 ? kPairRoom : 64 << 10, each = pairs * 64 > room ? 1 : room / (pairs * 64 + 1) + 1;
  parallel_for((blocks + each - 1) / each, [&](int64_t tile) {
    const int64_t last = (tile + 1) * each < blocks ? (tile + 1) * each : blocks;
    for (int64_t begin = 0; begin < M; begin += piece) {
      const int64_t end = begin + piece < M ? begin + piece : M;
      times_or_gated(half, tile * each, last, begin, end, out, [&](int64_t from, int64_t to, int64_t, int64_t, const Output& y) {
        for (int64_t block = from; block < to; ++block)
          rows_together<kPairRows>(begin, end, [&]<int T>(int64_t row) { rows_of_pairs<T>(w, pairs, block, a, row, y); });
      });
    }
  });
}

void linear_bytes(const Call& call, int64_t M, const Rows& rows, int64_t half, const Output& out) {
  const int64_t K = rows.width;
  const bool gated = half > 0;
  const Quantized w = Quantized::of("linear_quantized", call.in[1], call.in[2], call.in[3]);
  const int64_t blocks = gated ? half : call.in[1].shape[0], words = w.groups * kGroupWords;
  int32_t* a = static_cast<int32_t*>(cpu::scratch(3, static_cast<size_t>(M * words) * 4 + 64));
  const int64_t tiles = (M + kTileRows - 1) / kTileRows;
  const auto prepare = [&](int64_t tile) {
    const int64_t begin = tile * kTileRows, count = M - begin < kTileRows ? M - begin : kTileRows;
    for (int64_t t = 0; t < count; ++t) {
      int32_t* to = a + begin * words + t;
      if (rows.half)
        quantize_row(rows.halves(begin + t), K, w.groups, to, count);
      else
        quantize_row(rows.floats(begin + t), K, w.groups, to, count);
    }
  };
  if (M <= 8)
    for (int64_t tile = 0; tile < tiles; ++tile) prepare(tile);
  else
    parallel_for(tiles, prepare);
  // Weights of a part stay in the second cache while the rows pass by in pieces that do, too.
  const bool few = M <= 2 * kTileRows, unpack = w.levels && !few;
  const int64_t block_bytes = w.groups * (unpack ? 512 : w.block_bytes);
  const int64_t room = gated ? 64 << 10 : 128 << 10;
  const int64_t most = block_bytes ? room / block_bytes / kTileBlocks * kTileBlocks : kTileBlocks;
  const int64_t each = most < kTileBlocks ? kTileBlocks : most > 16 ? 16 : most;
  constexpr int64_t kPiece = 96 / kTileRows * kTileRows;
  parallel_for((blocks + each - 1) / each, [&](int64_t part) {
    const int64_t first = part * each, last = first + each < blocks ? first + each : blocks;
    Quantized v = w, up = w;  // of the two halves, when there are
    if (unpack) {
      uint8_t* bytes = static_cast<uint8_t*>(cpu::scratch(4, static_cast<size_t>((gated ? 2 : 1) * each * block_bytes) + 64));
      v = in_bytes(w, first, last, bytes);
      if (gated) up = in_bytes(w, half + first, half + last, bytes + each * block_bytes);
    }
    for (int64_t row = 0; row < M; row += kPiece)
      times_or_gated(half, first, last, row, row + kPiece < M ? row + kPiece : M, out,
                     [&](int64_t from, int64_t to, int64_t begin, int64_t end, const Output& y_of) {
                       multiply_rows(from == first ? v : up, from, to, a, begin, end, few, y_of);
                     });
  });
}

void linear_quantized(const Call& call) {
  const View &y = call.out[0], &bias = call.in[4];
  const Rows rows = packed_rows("linear_quantized", call.in[0]);
  const bool gated = call.attr[0].i != 0;
  const int64_t N = y.shape[y.dims - 1];
  int64_t M = 1;
  for (int d = 0; d + 1 < y.dims; ++d) M *= y.shape[d];
  if (M == 0 || N == 0) return;
  const auto product = call.in[1].dtype == DType::bf16 ? linear_pairs : linear_bytes;
  Output out{y.data, gated ? 2 * N : N, N, y.dtype == DType::bf16, bias.defined() ? static_cast<const float*>(bias.data) : nullptr};
  // Few rows wait for memory, which gives most from one place after the other: not from both halves in turn.
  if (!gated || M > 16) return product(call, M, rows, gated ? N / kBlockRows : 0, out);
  out.data = cpu::scratch(5, static_cast<size_t>(2 * M * N) * sizeof(float)), out.stride = 2 * N;
  product(call, M, rows, 0, out);
  const auto through = [&]<class T>(T* to) {
    for (int64_t row = 0; row < M; ++row) {
      const T* gate = static_cast<const T*>(out.data) + row * 2 * N;
      swiglu_row(gate, gate + N, to + row * N, N);
    }
  };
  out.half ? through(static_cast<bf16_t*>(y.data)) : through(static_cast<float*>(y.data));
}
WS_KERNEL("linear_quantized", linear_quantized)

void embedding_quantized(const Call& call) {
  const View &y = call.out[0], &ids = call.in[3];
  const Rows rows = packed_rows("embedding_quantized", y);
  const int32_t* id = static_cast<const int32_t*>(ids.data);
  if (const View& v = call.in[0]; v.dtype == DType::bf16) {
    const bf16_t* p = static_cast<const bf16_t*>(v.data);
    for (int64_t i = 0; i < rows.count; ++i)
      for (int64_t k = 0; k < rows.width; ++k)
        rows.floats(i)[k] = to_float(p[((id[i] / kBlockRows * v.shape[1] + k / 2) * kBlockRows + id[i] % kBlockRows) * 2 + k % 2]);
    return;
  }
  const Quantized w = Quantized::of("embedding_quantized", call.in[0], call.in[1], call.in[2]);
  for (int64_t i = 0; i < rows.count; ++i) {
    const int64_t block = id[i] / kBlockRows, lane = id[i] % kBlockRows;
    const uint8_t* p = w.values + block * w.groups * w.block_bytes;
    float* to = rows.floats(i);
    for (int64_t k = 0; k < rows.width; ++k) {
      const int64_t g = k / kGroup, j = k % kGroup;
      const uint8_t* group = p + g * w.block_bytes;
      int32_t v;
      if (w.levels) {
        const uint8_t byte = group[64 * (j % 16 / 4) + 4 * lane + j % 4];
        v = w.levels[j < 16 ? byte & 15 : byte >> 4];
      } else {
        v = group[64 * (j / 4) + 4 * lane + j % 4] - 128;
      }
      const float s = w.by_row ? w.row_scales[id[i]]
                                   : to_float(f16_t{w.group_scales[(block * w.groups + g) * kBlockRows + lane]});
      to[k] = static_cast<float>(v) * s;
    }
  }
}
WS_KERNEL("embedding_quantized", embedding_quantized)

WS_KERNELS_END
