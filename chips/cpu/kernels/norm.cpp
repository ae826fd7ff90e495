// RMS and layer normalisation of rows, forward, with the addition to the residual before it.
//   out {y, stats, sum}, in {x, weight, bias, residual}, attr {eps}
// stats f32 [rows, 1 or 2] receives rstd, or mean and rstd; stats, sum and residual may be
// undefined.

#include <cmath>

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

struct Statistics {
  float mean, rstd;
};

template <bool Layer>
WS_INLINE Statistics statistics_of(const float* x, int64_t width, double eps) {
  const auto n = static_cast<float>(width);
  float mean = 0;
  if constexpr (Layer)
    mean = row_sum(width, [&](int64_t i, int m) { return load_n(x + i, m); }) / n;
  const float squares = row_sum(width, [&](int64_t i, int m) {
    // Past the end the fill is the mean, so that nothing is added.
    const vf v = m == kLanes ? load(x + i) : load_part(x + i, m, mean);
    const vf d = Layer ? v - mean : v;
    return d * d;
  });
  return {mean, static_cast<float>(1.0 / std::sqrt(static_cast<double>(squares / n) + eps))};
}

// sum = residual + x as it is stored; returns the values.
WS_INLINE const float* add_row(const Rows& residual, const Rows& x, const Rows& sum, int64_t row) {
  const int64_t width = x.width;
  const float* a = residual.read(row, row_buffer(1, width));
  const float* b = x.read(row, row_buffer(2, width));
  float* s = sum.target(row, row_buffer(0, width));
  each_vector(width,
              [&](int64_t i, int m) { store_n(s + i, load_n(a + i, m) + load_n(b + i, m), m); });
  sum.finish(row, s);
  return sum.read(row, row_buffer(0, width));
}

template <bool Layer>
WS_INLINE void norm(const char* name, const Call& call) {
  const Rows y = packed_rows(name, call.out[0]), sum = packed_rows(name, call.out[2]);
  const Rows x = packed_rows(name, call.in[0]), residual = packed_rows(name, call.in[3]);
  const auto* weight = static_cast<const float*>(call.in[1].data);
  const auto* bias = static_cast<const float*>(call.in[2].data);
  auto* stats = call.out[1].defined() ? static_cast<float*>(call.out[1].data) : nullptr;
  const double eps = call.attr[0].f;
  const int64_t width = x.width;
  each_row(x.count, width, [&](int64_t row) {
    const float* v = residual ? add_row(residual, x, sum, row) : x.read(row, row_buffer(0, width));
    const Statistics s = statistics_of<Layer>(v, width, eps);
    if (stats && Layer) stats[2 * row] = s.mean, stats[2 * row + 1] = s.rstd;
    if (stats && !Layer) stats[row] = s.rstd;
    float* to = y.target(row, row_buffer(1, width));
    each_vector(width, [&](int64_t i, int m) {
      const vf w = load_n(weight + i, m), e = load_n(v + i, m);
      store_n(to + i, Layer ? fma((e - s.mean) * s.rstd, w, load_n(bias + i, m)) : e * s.rstd * w,
              m);
    });
    y.finish(row, to);
  });
}

void rms_norm(const Call& call) { norm<false>("rms_norm", call); }
void layer_norm(const Call& call) { norm<true>("layer_norm", call); }
WS_KERNEL("rms_norm", rms_norm)
WS_KERNEL("layer_norm", layer_norm)

WS_KERNELS_END
