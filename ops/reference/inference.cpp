// Products with quantised weights and attention to pages, as they are defined.

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

constexpr int64_t kBlockRows = 16, kGroup = 32, kPage = 64;

// A weight that ops/schema/inference.yaml describes.
struct Weight {
  Values values, scales, levels;
  int64_t groups;
  bool pairs;
  Weight(const View& v, const View& s, const View& l)
      : values(v), scales(s), levels(l), groups(v.shape[1]), pairs(v.dtype == DType::bf16) {}
  double at(int64_t row, int64_t column) const {
    if (pairs) return values[((row / kBlockRows * groups + column / 2) * kBlockRows + row % kBlockRows) * 2 + column % 2];
    const int64_t block = row / kBlockRows, r = row % kBlockRows, g = column / kGroup, j = column % kGroup;
    const int64_t base = (block * groups + g) * values.extent(2);
    const double scale = scales.shape.size() == 2 ? scales[row] : scales[(block * groups + g) * kBlockRows + r];
    if (!levels.size()) return (values[base + 64 * (j / 4) + 4 * r + j % 4] - 128) * scale;
    const int byte = static_cast<int>(values[base + 64 * (j % 16 / 4) + 4 * r + j % 4]);
    return levels[j < 16 ? byte & 15 : byte >> 4] * scale;
  }
};

// What 8 bits leave of the activations: their rounding is part of the definition, and is f32's.
void quantize(Values& x, int64_t width) {
  for (int64_t row = 0; width && row < x.size() / width; ++row)
    for (int64_t k = 0; k < width; k += kGroup) {
      double* g = &x[row * width + k];
      const int64_t n = std::min(kGroup, width - k);
      float top = 0;
      bool finite = true;
      for (int64_t i = 0; i < n; ++i) {
        finite &= std::isfinite(g[i]);
        top = std::max(top, std::fabs(static_cast<float>(g[i])));
      }
      const float scale = top / 127.0f, inverse = top > 0 ? 127.0f / top : 0.0f;
      for (int64_t i = 0; i < n; ++i) {
        const double q = std::nearbyint(static_cast<float>(g[i]) * inverse);
        g[i] = finite ? std::clamp(q, -127.0, 127.0) * scale : std::numeric_limits<double>::quiet_NaN();
      }
    }
}

void linear_quantized(const Call& call) {
  Values x(call.in[0]);
  const Weight w(call.in[1], call.in[2], call.in[3]);
  const Values bias(call.in[4]);
  Values y(Shape(std::vector<int64_t>(call.out[0].shape, call.out[0].shape + call.out[0].dims)));
  const bool swiglu = call.attr[0].i != 0;
  const int64_t K = x.extent(-1), N = y.extent(-1);
  if (w.pairs)
    for (double& v : x.data) v = to_float(to_bf16(static_cast<float>(v)));
  else
    quantize(x, K);
  const auto product = [&](int64_t row, int64_t n) {
    double sum = 0;
    for (int64_t k = 0; k < K; ++k) sum += x[row * K + k] * w.at(n, k);
    return sum + (bias.size() ? bias[n] : 0);
  };
  for (int64_t row = 0; N && row < y.size() / N; ++row)
    for (int64_t n = 0; n < N; ++n) {
      const double v = product(row, n);
      y[row * N + n] = swiglu ? v / (1 + std::exp(-v)) * product(row, N + n) : v;
    }
  y.write(call.out[0]);
}
WS_REFERENCE("linear_quantized", linear_quantized);

void embedding_quantized(const Call& call) {
  const Weight w(call.in[0], call.in[1], call.in[2]);
  const Values ids(call.in[3]);
  Values y(Shape(std::vector<int64_t>(call.out[0].shape, call.out[0].shape + call.out[0].dims)));
  const int64_t width = y.extent(-1);
  for (int64_t i = 0; i < ids.size(); ++i)
    for (int64_t k = 0; k < width; ++k) y[i * width + k] = w.at(static_cast<int64_t>(ids[i]), k);
  y.write(call.out[0]);
}
WS_REFERENCE("embedding_quantized", embedding_quantized);

// 8 bits as they are defined. Of 4 bits only what the rest follows from: the scale that another kernel chose
// is not defined, so cases compare errors (ops/inference_test.cpp).
void quantize_weight(const Call& call) {
  const Values w(call.in[0]);
  Values values(call.out[0]), scales(call.out[1]);
  if (!call.out[1].defined()) {
    const int64_t pairs = call.out[0].shape[1];
    for (int64_t row = 0; row < call.out[0].shape[0] * kBlockRows; ++row)
      for (int64_t k = 0; k < 2 * pairs; ++k)
        values[((row / kBlockRows * pairs + k / 2) * kBlockRows + row % kBlockRows) * 2 + k % 2] =
            row < w.extent(0) && k < w.extent(1) ? w[row * w.extent(1) + k] : 0;
    return values.write(call.out[0]);
  }
  const int64_t N = w.extent(0), K = w.extent(1), groups = call.out[0].shape[1];
  const bool by_row = scales.shape.size() == 2;
  for (int64_t row = 0; row < call.out[0].shape[0] * kBlockRows; ++row)
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = by_row ? 0 : g * kGroup, end = by_row ? K : std::min(K, begin + kGroup);
      float top = 0;
      for (int64_t k = begin; row < N && k < end; ++k) top = std::max(top, std::fabs(static_cast<float>(w[row * K + k])));
      float scale = top / 127.0f;
      if (!by_row) scale = to_float(to_f16(scale));
      const int64_t block = row / kBlockRows, r = row % kBlockRows;
      scales[by_row ? row : (block * groups + g) * kBlockRows + r] = scale;
      for (int64_t j = 0; j < kGroup; ++j) {
        const int64_t k = g * kGroup + j;
        const float inverse = scale == 0 ? 0.0f : 1.0f / scale;
        const float q = row < N && k < K ? std::nearbyint(static_cast<float>(w[row * K + k]) * inverse) : 0.0f;
        values[((block * groups + g) * 512) + 64 * (j / 4) + 4 * r + j % 4] = std::clamp(q, -127.0f, 127.0f) + 128;
      }
    }
  values.write(call.out[0]), scales.write(call.out[1]);
}
WS_REFERENCE("quantize_weight", quantize_weight);

void kv_put(const Call& call) {
  const Values k(call.in[0]), v(call.in[1]), slots(call.in[2]);
  Values keys(call.out[0]), values(call.out[1]), key_scales(call.out[2]), value_scales(call.out[3]);
  const int64_t N = k.extent(0), Hk = k.extent(1), D = k.extent(2);
  const auto scale_of = [&](const Values& x, int64_t row) {
    float top = 0;
    for (int64_t d = 0; d < D; ++d) top = std::max(top, std::fabs(static_cast<float>(x[row * D + d])));
    return top;
  };
  const auto stored = [&](double x, float top) {
    if (!key_scales.size()) return x;
    const float inverse = top > 0 ? 127.0f / top : 0.0f;
    return std::clamp<double>(std::nearbyint(static_cast<float>(x) * inverse), -127, 127);
  };
  for (int64_t i = 0; i < N; ++i)
    for (int64_t h = 0; h < Hk; ++h) {
      const int64_t slot = static_cast<int64_t>(slots[i]), head = slot / kPage * Hk + h, place = slot % kPage;
      const float kt = scale_of(k, i * Hk + h), vt = scale_of(v, i * Hk + h);
      for (int64_t d = 0; d < D; ++d) {
        keys[(head * D + d) * kPage + place] = stored(k[(i * Hk + h) * D + d], kt);
        values[(head * kPage + place) * D + d] = stored(v[(i * Hk + h) * D + d], vt);
      }
      if (key_scales.size()) key_scales[head * kPage + place] = kt / 127.0f, value_scales[head * kPage + place] = vt / 127.0f;
    }
  keys.write(call.out[0]), values.write(call.out[1]);
  if (key_scales.size()) key_scales.write(call.out[2]), value_scales.write(call.out[3]);
}
WS_REFERENCE("kv_put", kv_put);

void attention_paged(const Call& call) {
  const Values q(call.in[0]), keys(call.in[1]), values(call.in[2]), key_scales(call.in[3]), value_scales(call.in[4]);
  const Values tables(call.in[5]), segments(call.in[6]);
  const int64_t H = q.extent(1), D = q.extent(2), Hk = keys.extent(1), most = tables.extent(1);
  const double scale = call.attr[0].f != 0 ? call.attr[0].f : 1 / std::sqrt(static_cast<double>(D));
  Values y(q.shape);
  for (int64_t s = 0; s < segments.extent(0); ++s)
    for (int64_t i = 0; i < static_cast<int64_t>(segments[3 * s + 1]); ++i)
      for (int64_t h = 0; h < H; ++h) {
        const int64_t row = static_cast<int64_t>(segments[3 * s]) + i, seen = static_cast<int64_t>(segments[3 * s + 2]) + i + 1;
        const int64_t hk = h / (H / Hk);
        const auto head = [&](int64_t j) { return static_cast<int64_t>(tables[s * most + j / kPage]) * Hk + hk; };
        std::vector<double> p(seen);
        double top = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t j = 0; j < seen; ++j) {
          for (int64_t d = 0; d < D; ++d) p[j] += q[(row * H + h) * D + d] * keys[(head(j) * D + d) * kPage + j % kPage];
          p[j] *= scale * (key_scales.size() ? key_scales[head(j) * kPage + j % kPage] : 1);
          top = std::max(top, p[j]);
        }
        for (double& x : p) sum += x = std::exp(x - top);
        for (int64_t j = 0; j < seen; ++j)
          for (int64_t d = 0; d < D; ++d)
            y[(row * H + h) * D + d] += p[j] / sum * values[(head(j) * kPage + j % kPage) * D + d] *
                                        (value_scales.size() ? value_scales[head(j) * kPage + j % kPage] : 1);
      }
  y.write(call.out[0]);
}
WS_REFERENCE("attention_paged", attention_paged);

}  // namespace
}  // namespace wellspring::reference
