// quantize_weight: out {values, scales}, in {w, levels, feedback}. w [N, K], packed f32 or bf16, becomes the
// blocks of quantized.h: 8 bits by row (scales f32 [blocks, 16]) or by group (f16 [blocks, groups, 16]), or 4
// bits with levels i8 [16], which rise. feedback f32 [K, K] or undefined (4 bits): below.

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

constexpr int64_t kGroup = 32, kBlockRows = 16;

// Columns of a group for the 16 rows of a block, a row in each lane.
struct Columns {
  vf x[kGroup];
  vf top;  // greatest magnitude
};

void read_columns(const Rows& w, int64_t block, int64_t group, Columns& c) {
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

// Scales worth trying are fitted to the values that a share of the greatest magnitude would choose.
constexpr int kTrials = 18;
struct Fit {
  vf scale, gain;  // of the square error
};
Fit fit(const Columns& c, const LevelTable& t, int trial) {
  const float f = (0.74f + 0.05f * static_cast<float>(trial % 9)) / 127.0f * (trial < 9 ? 1.0f : -1.0f);
  const vf inverse = inverse_of(c.top * splat(f));
  vf xq{}, qq{};
  for (int64_t k = 0; k < kGroup; ++k) {
    const vf q = t.nearest(c.x[k] * inverse);
    xq += c.x[k] * q, qq += q * q;
  }
  return {select(qq == vf{}, vf{}, xq / qq), select(qq == vf{}, vf{}, xq * xq / qq)};
}

vf best_scale(const Columns& c, const LevelTable& t) {
  vf best{}, scale{};
  for (int i = 0; i < kTrials; ++i) {
    const Fit f = fit(c, t, i);
    const vi better = f.gain > best;
    best = select(better, f.gain, best), scale = select(better, f.scale, scale);
  }
  return scale;
}

void group_of_four(const Columns& c, const LevelTable& t, vf inverse, uint8_t* values) {
  uint8_t index[kGroup][kLanes];
  for (int64_t k = 0; k < kGroup; ++k) t.indices(c.x[k] * inverse, index[k]);
  for (int64_t k = 0; k < 16; ++k)
    for (int64_t r = 0; r < kBlockRows; ++r)
      values[64 * (k / 4) + 4 * r + k % 4] = static_cast<uint8_t>(index[k][r] | index[k + 16][r] << 4);
}

// With feedback F (nn/calibration.h) column k is not chosen nearest to itself but to itself plus F[j, k] times the
// errors of the columns j before it, and an error there costs F[k, k]: what is lost then is least for the activations
// that F was made of (GPTQ, Frantar et al. 2022, in the form of LDLQ, Chee et al. 2023).
struct Feedback {
  const float* f;
  int64_t width;
  const float* row(int64_t k) const { return f + k * width; }
};

// The columns of a group one after the other with a scale: x becomes what each was nearest to, `error` what later
// columns make up for. Returns the cost.
vf choose_in_order(const Feedback& f, const LevelTable& t, int64_t k0, int64_t n, vf scale, const vf* plain, Columns& c, vf* error) {
  const vf inverse = inverse_of(scale);
  vf cost{};
  for (int64_t k = 0; k < n; ++k) {
    vf x = c.x[k];
    for (int64_t j = 0; j < k; ++j) x = fma(error[j], splat(f.row(k0 + j)[k0 + k]), x);
    const vf q = t.nearest(x * inverse) * scale, d = x - q;
    c.x[k] = x, error[k] = plain[k] - q;
    cost = fma(d * d, splat(f.row(k0 + k)[k0 + k]), cost);
  }
  return cost;
}

// What the errors of a group add to the columns behind it.
void pass_on(const Feedback& f, int64_t k0, int64_t n, const vf* error, float* targets) {
  constexpr int kColumns = 8;
  for (int64_t j = k0 + n; j < f.width; j += kColumns) {
    const int64_t most = f.width - j < kColumns ? f.width - j : kColumns;
    vf sum[kColumns] = {};
    for (int64_t k = 0; k < n; ++k) {
      const float* row = f.row(k0 + k) + j;
      if (most == kColumns)
        for (int i = 0; i < kColumns; ++i) sum[i] = fma(error[k], splat(row[i]), sum[i]);
      else
        for (int64_t i = 0; i < most; ++i) sum[i] = fma(error[k], splat(row[i]), sum[i]);
    }
    for (int64_t i = 0; i < most; ++i) store(targets + (j + i) * kLanes, load(targets + (j + i) * kLanes) + sum[i]);
  }
}

// `targets`: what was passed on to each column so far, [K] vectors.
void group_with_feedback(const Columns& plain, const LevelTable& t, const Feedback& f, int64_t k0, float* targets, uint8_t* values,
                         uint16_t* scales) {
  const int64_t n = f.width - k0 < kGroup ? f.width - k0 : kGroup;
  Columns wanted = plain;
  wanted.top = vf{};
  for (int64_t k = 0; k < n; ++k) {
    wanted.x[k] += load(targets + (k0 + k) * kLanes);
    wanted.top = vmax(wanted.top, vmax(wanted.x[k], -wanted.x[k]));
  }
  vf best = splat(__builtin_inff()), scale{}, error[kGroup];
  for (int i = 0; i < kTrials; ++i) {
    uint16_t halves[kLanes];
    const vf s = as_halves(fit(wanted, t, i).scale, halves);
    Columns c = wanted;
    const vf cost = choose_in_order(f, t, k0, n, s, plain.x, c, error);
    const vi better = cost < best;
    best = select(better, cost, best), scale = select(better, s, scale);
  }
  scale = as_halves(scale, scales);
  choose_in_order(f, t, k0, n, scale, plain.x, wanted, error);
  group_of_four(wanted, t, inverse_of(scale), values);
  pass_on(f, k0, n, error, targets);
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
  const Feedback feedback{call.in[2].defined() ? static_cast<const float*>(call.in[2].data) : nullptr, w.width};
  const int64_t blocks = values.shape[0], groups = values.shape[1], bytes = values.shape[2];
  uint8_t* to = static_cast<uint8_t*>(values.data);
  parallel_for(blocks, [&](int64_t block) {
    Columns c;
    uint8_t* p = to + block * groups * bytes;
    if (scales.dtype == DType::f32) {
      vf top{};
      for (int64_t g = 0; g < groups; ++g) read_columns(w, block, g, c), top = vmax(top, c.top);
      const vf scale = top / splat(127.0f);
      store(static_cast<float*>(scales.data) + block * kBlockRows, scale);
      for (int64_t g = 0; g < groups; ++g, p += bytes) read_columns(w, block, g, c), group_of_eight(c, inverse_of(scale), p);
      return;
    }
    uint16_t* s = static_cast<uint16_t*>(scales.data) + block * groups * kBlockRows;
    float* targets = nullptr;
    if (feedback.f) {
      const size_t size = static_cast<size_t>(w.width) * kLanes * sizeof(float);
      targets = static_cast<float*>(std::memset(cpu::scratch(7, size), 0, size));
    }
    for (int64_t g = 0; g < groups; ++g, p += bytes, s += kBlockRows) {
      read_columns(w, block, g, c);
      if (!levels) {
        group_of_eight(c, inverse_of(as_halves(c.top / splat(127.0f), s)), p);
        continue;
      }
      const LevelTable t(levels);
      if (feedback.f)
        group_with_feedback(c, t, feedback, g * kGroup, targets, p, s);
      else
        group_of_four(c, t, inverse_of(as_halves(best_scale(c, t), s)), p);
    }
  });
}
WS_KERNEL("quantize_weight", quantize_weight)

WS_KERNELS_END
