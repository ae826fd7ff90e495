// linear_quantized: out {y}, in {x, values, scales, levels, bias}. y[M, N] = x[M, K] W^T + bias, packed, f32
// or bf16 each. values u8 [blocks, groups, 512 or 256] (quantized.h), scales f32 [N] or f16 [blocks, groups,
// 16]; levels i8 [16] for 4 bits, else undefined; bias f32 [N] or undefined.
// embedding_quantized: out {y}, in {values, scales, levels, ids}: rows of such a weight, f32.

#include "chips/cpu/kernels/quantized.h"

#include <bit>

#include "chips/cpu/kernels/rows.h"

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

struct Output {
  void* data;
  int64_t n;
  bool half;
  const float* bias;
  WS_INLINE void put(int64_t row, int64_t block, vf v) const {
    const int64_t column = block * kBlockRows;
    const int count = static_cast<int>(n - column < kLanes ? n - column : kLanes);
    if (bias) v += load_n(bias + column, count);
    if (half)
      store_n(static_cast<bf16_t*>(data) + row * n + column, v, count);
    else
      store_n(static_cast<float*>(data) + row * n + column, v, count);
  }
};

// Rows in as few passes over the block as registers allow: f<T>(row) is called for T rows from `row` on.
template <class F>
void rows_together(int64_t begin, int64_t end, F&& f) {
  int64_t row = begin;
  for (; row + 12 <= end; row += 12) f.template operator()<12>(row);
  if (row + 8 <= end) f.template operator()<8>(row), row += 8;
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
WS_INLINE vf add_pairs(vf sum, vu w, uint32_t x) {
  return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512i)w, (__m512bh)_mm512_set1_epi32(static_cast<int>(x)));
}
#else
WS_INLINE vf add_pairs(vf sum, vu w, uint32_t x) {
  const vf low = splat(std::bit_cast<float>(x << 16)), high = splat(std::bit_cast<float>(x & 0xffff0000u));
  return fma((vf)(w & 0xffff0000u), high, fma((vf)(w << 16), low, sum));
}
#endif

WS_INLINE vu load_words(const uint32_t* p) { return (vu)load(reinterpret_cast<const float*>(p)); }

template <int T>
__attribute__((noinline)) void rows_of_pairs(const uint32_t* w, int64_t pairs, int64_t block, const uint32_t* a, int64_t row,
                                             const Output& y) {
  const uint32_t* p = w + block * pairs * kBlockRows;
  const uint32_t* x = a + row * pairs;
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

void linear_pairs(const Call& call, int64_t M, int64_t K, const Rows& rows, const Output& out) {
  const View& values = call.in[1];
  const int64_t blocks = values.shape[0], pairs = values.shape[1];
  const uint32_t* w = static_cast<const uint32_t*>(values.data);
  uint32_t* a = static_cast<uint32_t*>(cpu::scratch(3, static_cast<size_t>(M * pairs) * 4 + 64));
  const auto prepare = [&](int64_t row) {
    bf16_t* to = reinterpret_cast<bf16_t*>(a + row * pairs);
    std::memset(to + K, 0, static_cast<size_t>(2 * pairs - K) * 2);
    if (rows.half)
      std::memcpy(to, rows.halves(row), static_cast<size_t>(K) * 2);
    else
      each_vector(K, [&](int64_t i, int n) { store_n(to + i, load_n(rows.floats(row) + i, n), n); });
  };
  if (M <= 8)
    for (int64_t row = 0; row < M; ++row) prepare(row);
  else
    parallel_for((M + 7) / 8, [&](int64_t tile) {
      for (int64_t row = tile * 8; row < M && row < tile * 8 + 8; ++row) prepare(row);
    });
  // A block's weights stay in the second cache while pieces of rows pass by.
  const int64_t fit = (256 << 10) / (pairs ? pairs * 4 : 4), piece = fit < 12 ? 12 : fit > 96 ? 96 : fit / 12 * 12;
  const int64_t each = pairs * 64 > (64 << 10) ? 1 : (64 << 10) / (pairs * 64 + 1) + 1;
  parallel_for((blocks + each - 1) / each, [&](int64_t tile) {
    const int64_t last = (tile + 1) * each < blocks ? (tile + 1) * each : blocks;
    for (int64_t begin = 0; begin < M; begin += piece) {
      const int64_t end = begin + piece < M ? begin + piece : M;
      for (int64_t block = tile * each; block < last; ++block)
        rows_together(begin, end, [&]<int T>(int64_t row) { rows_of_pairs<T>(w, pairs, block, a, row, out); });
    }
  });
}

void linear_quantized(const Call& call) {
  const View &y = call.out[0], &x = call.in[0], &bias = call.in[4];
  const Rows rows = packed_rows("linear_quantized", x);
  const int64_t K = rows.width, N = y.shape[y.dims - 1];
  int64_t M = 1;
  for (int d = 0; d + 1 < y.dims; ++d) M *= y.shape[d];
  const Output out{y.data, N, y.dtype == DType::bf16, bias.defined() ? static_cast<const float*>(bias.data) : nullptr};
  if (M == 0 || N == 0) return;
  if (call.in[1].dtype == DType::bf16) return linear_pairs(call, M, K, rows, out);
  const Quantized w = Quantized::of("linear_quantized", call.in[1], call.in[2], call.in[3]);
  const int64_t blocks = call.in[1].shape[0], words = w.groups * kGroupWords;
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
  const int64_t most = block_bytes ? (128 << 10) / block_bytes / kTileBlocks * kTileBlocks : kTileBlocks;
  const int64_t each = most < kTileBlocks ? kTileBlocks : most > 16 ? 16 : most;
  constexpr int64_t kPiece = 96 / kTileRows * kTileRows;
  parallel_for((blocks + each - 1) / each, [&](int64_t part) {
    const int64_t first = part * each, last = first + each < blocks ? first + each : blocks;
    const Quantized v =
        unpack ? in_bytes(w, first, last, static_cast<uint8_t*>(cpu::scratch(4, static_cast<size_t>(each * block_bytes) + 64))) : w;
    for (int64_t row = 0; row < M; row += kPiece) {
      const int64_t end = row + kPiece < M ? row + kPiece : M;
      multiply_rows(v, first, last, a, row, end, few, out);
    }
  });
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
