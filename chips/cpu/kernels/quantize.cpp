// quantize_weight: out {values, scales}, in {w, levels, importance}. w [N, K], packed f32 or bf16, becomes the
// blocks of quantized.h: 8 bits by row (scales f32 [blocks, 16]) or by group (f16 [blocks, groups, 16]), or 4
// bits with levels i8 [16], which rise. importance f32 [K] or undefined: how much a column's error counts.

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

constexpr int64_t kGroup = 32, kBlockRows = 16;

// Columns of a group for the 16 rows of a block, a row in each lane.
struct Columns {
  vf x[kGroup];
  vf weight[kGroup];
  vf top;  // greatest magnitude
};

void read_columns(const Rows& w, int64_t block, int64_t group, const float* importance, Columns& c) {
  const int64_t k0 = group * kGroup, n = w.width - k0 < kGroup ? w.width - k0 : kGroup;
  alignas(64) float x[kGroup][kLanes] = {};
  for (int64_t r = 0; r < kBlockRows; ++r) {
    const int64_t row = block * kBlockRows + r;
    if (row >= w.count) break;
    for (int64_t k = 0; k < n; ++k) x[k][r] = w.half ? to_float(w.halves(row)[k0 + k]) : w.floats(row)[k0 + k];
  }
  c.top = vf{};
  for (int64_t k = 0; k < kGroup; ++k) {
    c.x[k] = load(x[k]);
    c.weight[k] = splat(importance && k < n ? importance[k0 + k] : 1.0f);
    c.top = vmax(c.top, vmax(c.x[k], -c.x[k]));
  }
}

WS_INLINE vf as_halves(vf x, uint16_t* to) {
  alignas(64) float f[kLanes];
  store(f, x);
  for (int i = 0; i < kLanes; ++i) {
    const f16_t h = to_f16(f[i]);
    to[i] = h.bits, f[i] = to_float(h);
  }
  return load(f);
}

WS_INLINE vf inverse_of(vf s) { return select(s == vf{}, vf{}, splat(1.0f) / s); }

// The levels and the borders between them.
struct LevelTable {
  float level[16], border[15];
  explicit LevelTable(const int8_t* levels) {
    for (int i = 0; i < 16; ++i) level[i] = levels[i];
    for (int i = 0; i < 15; ++i) border[i] = 0.5f * (level[i] + level[i + 1]);
  }
  WS_INLINE vf nearest(vf x) const {
    vf q = splat(level[0]);
    for (int i = 0; i < 15; ++i) q = select(x > splat(border[i]), splat(level[i + 1]), q);
    return q;
  }
  WS_INLINE void indices(vf x, uint8_t* to) const {
    alignas(64) float f[kLanes];
    vf n{};
    for (int i = 0; i < 15; ++i) n += select(x > splat(border[i]), splat(1.0f), vf{});
    store(f, n);
    for (int i = 0; i < kLanes; ++i) to[i] = static_cast<uint8_t>(f[i]);
  }
};

// The scale with the least weighted square error: for each of some, whose values are fitted once more.
vf best_scale(const Columns& c, const LevelTable& t) {
  vf best{}, scale{};
  for (int side = 0; side < 2; ++side)
    for (int step = 0; step < 9; ++step) {
      const float f = (0.74f + 0.05f * static_cast<float>(step)) / 127.0f * (side ? -1.0f : 1.0f);
      const vf inverse = inverse_of(c.top * splat(f));
      vf xq{}, qq{};
      for (int64_t k = 0; k < kGroup; ++k) {
        const vf q = t.nearest(c.x[k] * inverse);
        xq += c.weight[k] * c.x[k] * q, qq += c.weight[k] * q * q;
      }
      const vf gain = select(qq == vf{}, vf{}, xq * xq / qq);
      const vi better = gain > best;
      best = select(better, gain, best), scale = select(better, select(qq == vf{}, vf{}, xq / qq), scale);
    }
  return scale;
}

void group_of_four(const Columns& c, const LevelTable& t, uint8_t* values, uint16_t* scales) {
  const vf inverse = inverse_of(as_halves(best_scale(c, t), scales));
  uint8_t index[kGroup][kLanes];
  for (int64_t k = 0; k < kGroup; ++k) t.indices(c.x[k] * inverse, index[k]);
  for (int64_t k = 0; k < 16; ++k)
    for (int64_t r = 0; r < kBlockRows; ++r)
      values[64 * (k / 4) + 4 * r + k % 4] = static_cast<uint8_t>(index[k][r] | index[k + 16][r] << 4);
}

void group_of_eight(const Columns& c, vf inverse, uint8_t* values) {
  alignas(64) float f[kLanes];
  for (int64_t k = 0; k < kGroup; ++k) {
    store(f, c.x[k] * inverse);
    for (int64_t r = 0; r < kBlockRows; ++r) {
      const int v = static_cast<int>(__builtin_rintf(f[r]));
      values[64 * (k / 4) + 4 * r + k % 4] = static_cast<uint8_t>((v < -127 ? -127 : v > 127 ? 127 : v) + 128);
    }
  }
}

// Rows side by side, in pairs of columns (quantized.cpp).
void interleave(const Rows& w, const View& values) {
  bf16_t* to = static_cast<bf16_t*>(values.data);
  const int64_t pairs = values.shape[1];
  parallel_for(values.shape[0], [&](int64_t block) {
    bf16_t* p = to + block * pairs * 2 * kBlockRows;
    for (int64_t r = 0; r < kBlockRows; ++r) {
      const int64_t row = block * kBlockRows + r;
      for (int64_t k = 0; k < 2 * pairs; ++k) {
        bf16_t v = to_bf16(0);
        if (row < w.count && k < w.width) v = w.half ? w.halves(row)[k] : to_bf16(w.floats(row)[k]);
        p[(k / 2 * kBlockRows + r) * 2 + k % 2] = v;
      }
    }
  });
}

void quantize_weight(const Call& call) {
  const View &values = call.out[0], &scales = call.out[1];
  const Rows w = packed_rows("quantize_weight", call.in[0]);
  if (values.dtype == DType::bf16) return interleave(w, values);
  const int8_t* levels = call.in[1].defined() ? static_cast<const int8_t*>(call.in[1].data) : nullptr;
  const float* importance = call.in[2].defined() ? static_cast<const float*>(call.in[2].data) : nullptr;
  const int64_t blocks = values.shape[0], groups = values.shape[1], bytes = values.shape[2];
  uint8_t* to = static_cast<uint8_t*>(values.data);
  parallel_for(blocks, [&](int64_t block) {
    Columns c;
    uint8_t* p = to + block * groups * bytes;
    if (scales.dtype == DType::f32) {
      vf top{};
      for (int64_t g = 0; g < groups; ++g) read_columns(w, block, g, nullptr, c), top = vmax(top, c.top);
      const vf scale = top / splat(127.0f);
      store(static_cast<float*>(scales.data) + block * kBlockRows, scale);
      for (int64_t g = 0; g < groups; ++g, p += bytes) read_columns(w, block, g, nullptr, c), group_of_eight(c, inverse_of(scale), p);
      return;
    }
    uint16_t* s = static_cast<uint16_t*>(scales.data) + block * groups * kBlockRows;
    for (int64_t g = 0; g < groups; ++g, p += bytes, s += kBlockRows) {
      read_columns(w, block, g, importance, c);
      if (levels)
        group_of_four(c, LevelTable(levels), p, s);
      else
        group_of_eight(c, inverse_of(as_halves(c.top / splat(127.0f), s)), p);
    }
  });
}
WS_KERNEL("quantize_weight", quantize_weight)

WS_KERNELS_END
