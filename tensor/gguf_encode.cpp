#include "tensor/gguf_encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "tensor/dtype.h"

namespace wellspring {
namespace {

void put_gguf_u16(uint8_t* p, uint16_t v) {
  p[0] = static_cast<uint8_t>(v);
  p[1] = static_cast<uint8_t>(v >> 8);
}

// Stores a scale, which must be finite, and returns it as readers will see it.
float put_scale(uint8_t* p, float value, const char* type) {
  const f16_t half = to_f16(value);
  const float kept = to_float(half);
  if (!std::isfinite(kept))
    throw Error(Fault::data, str("a value is not finite, or too large for GGUF type ", type,
                                 "; write F32 or BF16"));
  put_gguf_u16(p, half.bits);
  return kept;
}

void check_finite(const float* x, int n, const char* type) {
  float sum = 0;  // of nothing, unless a value is not finite
  for (int i = 0; i < n; ++i) sum += x[i] * 0.0f;
  if (!(sum == 0))
    throw Error(Fault::data, str("a value is not finite, which GGUF type ", type,
                                 " cannot hold; write F32 or BF16"));
}

uint8_t level_of(float v, int most) {
  return static_cast<uint8_t>(std::clamp(v, 0.0f, static_cast<float>(most)));
}

// Scale and minimum of 32 values as scale * q - minimum, q in 0 .. 15.
struct PartFit {
  float scale = 0, minimum = 0;
};

// 0 for scales so small that the inverse overflows: they are 0 in f16, too.
float inverse_of(float v) {
  const float inverse = v != 0 ? 1 / v : 0;
  return std::isfinite(inverse) ? inverse : 0;
}

// The nearest levels, as floats: 2^23 more leaves no room for a fraction.
void part_levels(const float* x, PartFit fit, float* q) {
  const float inverse = inverse_of(fit.scale);
  for (int i = 0; i < 32; ++i) {
    float v = (x[i] + fit.minimum) * inverse;
    v = v > 0 ? v : 0;
    v = v < 15 ? v : 15;
    q[i] = (v + 0x1p23f) - 0x1p23f;
  }
}

// A sum over 32 places in eight lanes, which compilers make vectors of.
template <class F>
float lane_sum(F f) {
  float lane[8] = {};
  for (int i = 0; i < 32; i += 8)
    for (int j = 0; j < 8; ++j) lane[j] += f(i + j);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

// Weighted sums of a part that do not depend on its levels.
struct PartSums {
  float w, wx, wxx;
};

// Replaces `fit` by the scale and minimum of least weighted squared error for levels q, neither
// negative (unless all levels are the same, or nearly), and returns that error.
float least_squares(const float* x, const float* weight, const float* q, const PartSums& sums,
                    PartFit* fit) {
  const float wq = lane_sum([&](int i) { return weight[i] * q[i]; });
  const float wqq = lane_sum([&](int i) { return weight[i] * q[i] * q[i]; });
  const float wqx = lane_sum([&](int i) { return weight[i] * q[i] * x[i]; });
  const float determinant = sums.w * wqq - wq * wq;
  if (determinant > 1e-5f * sums.w * wqq) {
    fit->scale = (sums.w * wqx - wq * sums.wx) / determinant;
    fit->minimum = (wq * wqx - wqq * sums.wx) / determinant;
    if (fit->minimum < 0) *fit = {wqx / wqq, 0};
    if (!(fit->scale > 0)) fit->scale = 0;
  }
  const float s = fit->scale, m = fit->minimum;
  return s * (s * wqq - 2 * m * wq - 2 * wqx) + m * (m * sums.w + 2 * sums.wx) + sums.wxx;
}

// Tries ranges around the whole one: clipping an outlier often costs less than coarse steps. Great
// values weigh more, as they matter more in a product.
PartFit fit_part(const float* x) {
  float low = 0, high = 0, weight[32], q[32];
  for (int i = 0; i < 32; ++i) low = std::min(low, x[i]), high = std::max(high, x[i]);
  if (high == low) return {};
  const float mean = std::sqrt(lane_sum([&](int i) { return x[i] * x[i]; }) / 32);
  for (int i = 0; i < 32; ++i) weight[i] = mean + std::fabs(x[i]);
  const PartSums sums{lane_sum([&](int i) { return weight[i]; }),
                      lane_sum([&](int i) { return weight[i] * x[i]; }),
                      lane_sum([&](int i) { return weight[i] * x[i] * x[i]; })};
  PartFit best;
  float least = -1;
  for (int step = -10; step <= 10; ++step) {
    PartFit fit{(high - low) / (15 + 0.2f * static_cast<float>(step)), -low};
    part_levels(x, fit, q);
    const float error = std::max(0.0f, least_squares(x, weight, q, sums, &fit));
    if (least < 0 || error < least) least = error, best = fit;
  }
  return best;
}

// 6-bit scales and minima in 12 bytes: see part_scales() of gguf_types.cpp.
void put_part_scales(uint8_t* s, const uint8_t* scales, const uint8_t* minima) {
  for (int i = 0; i < 4; ++i) {
    s[i] = static_cast<uint8_t>(scales[i] | scales[i + 4] >> 4 << 6);
    s[i + 4] = static_cast<uint8_t>(minima[i] | minima[i + 4] >> 4 << 6);
    s[i + 8] = static_cast<uint8_t>((scales[i + 4] & 15) | (minima[i + 4] & 15) << 4);
  }
}

}  // namespace

void gguf_encode_f32(const float* from, int64_t n, uint8_t* to) {
  std::memcpy(to, from, static_cast<size_t>(n) * 4);
}

void gguf_encode_f16(const float* from, int64_t n, uint8_t* to) {
  for (int64_t i = 0; i < n; ++i) {
    const f16_t half = to_f16(from[i]);
    if ((half.bits & 0x7fff) == 0x7c00 && std::isfinite(from[i]))
      throw Error(Fault::data, str("the value ", from[i], " is too large for F16; write BF16"));
    put_gguf_u16(to + 2 * i, half.bits);
  }
}

void gguf_encode_bf16(const float* from, int64_t n, uint8_t* to) {
  for (int64_t i = 0; i < n; ++i) put_gguf_u16(to + 2 * i, to_bf16(from[i]).bits);
}

void gguf_encode_q8_0(const float* x, int64_t blocks, uint8_t* to) {
  for (; blocks-- > 0; x += 32, to += 34) {
    check_finite(x, 32, "Q8_0");
    float most = 0;
    for (int i = 0; i < 32; ++i) most = std::max(most, std::fabs(x[i]));
    const float d = most / 127, inverse = inverse_of(d);
    put_scale(to, d, "Q8_0");
    for (int i = 0; i < 32; ++i)
      to[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(x[i] * inverse)));
  }
}

void gguf_encode_q4_0(const float* x, int64_t blocks, uint8_t* to) {
  for (; blocks-- > 0; x += 32, to += 18) {
    check_finite(x, 32, "Q4_0");
    float most = 0;  // the value of greatest magnitude becomes level 0, which reaches furthest
    for (int i = 0; i < 32; ++i)
      if (std::fabs(x[i]) > std::fabs(most)) most = x[i];
    const float d = most / -8, inverse = inverse_of(d);
    put_scale(to, d, "Q4_0");
    for (int i = 0; i < 16; ++i)
      to[2 + i] = static_cast<uint8_t>(level_of(x[i] * inverse + 8.5f, 15) |
                                       level_of(x[i + 16] * inverse + 8.5f, 15) << 4);
  }
}

void gguf_encode_q4_k(const float* x, int64_t blocks, uint8_t* to) {
  for (; blocks-- > 0; x += 256, to += 144) {
    check_finite(x, 256, "Q4_K");
    PartFit fits[8];
    float scale = 0, minimum = 0;
    for (int i = 0; i < 256; ++i)
      if (std::fabs(x[i]) > 1e9f) put_scale(to, x[i], "Q4_K");  // refused: sums would overflow
    for (int part = 0; part < 8; ++part) {
      fits[part] = fit_part(x + 32 * part);
      scale = std::max(scale, fits[part].scale);
      minimum = std::max(minimum, fits[part].minimum);
    }
    const float d = put_scale(to, scale / 63, "Q4_K"), m = put_scale(to + 2, minimum / 63, "Q4_K");
    uint8_t scales[8], minima[8];
    float q[2][32];
    for (int part = 0; part < 8; ++part) {
      scales[part] = level_of(fits[part].scale * inverse_of(d) + 0.5f, 63);
      minima[part] = level_of(fits[part].minimum * inverse_of(m) + 0.5f, 63);
      part_levels(x + 32 * part,
                  {d * static_cast<float>(scales[part]), m * static_cast<float>(minima[part])},
                  q[part % 2]);
      if (part % 2)
        for (int i = 0; i < 32; ++i)
          to[16 + part / 2 * 32 + i] = static_cast<uint8_t>(q[0][i] + 16 * q[1][i]);
    }
    put_part_scales(to + 4, scales, minima);
  }
}

}  // namespace wellspring
