// rms_norm and layer_norm, forward and backward; operands as in chips/cpu/kernels/norm*.cpp.
#include <cmath>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

template <bool Layer>
void norm(const Call& call) {
  Values x(call.in[0]), weight(call.in[1]), bias(call.in[2]), residual(call.in[3]);
  const int64_t width = x.extent(-1), rows = x.rows();
  if (residual.size()) {
    for (int64_t i = 0; i < x.size(); ++i) x[i] += residual[i];
    x.write(call.out[2]);
    x = Values(call.out[2]);  // what is normalised is what was stored
  }
  Values y(x.shape), stats(Shape{rows, Layer ? 2 : 1});
  for (int64_t r = 0; r < rows; ++r) {
    const double* v = &x.data[r * width];
    double mean = 0, squares = 0;
    for (int64_t i = 0; Layer && i < width; ++i) mean += v[i] / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) squares += (v[i] - mean) * (v[i] - mean);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(width) + call.attr[0].f);
    for (int64_t i = 0; i < width; ++i)
      y[r * width + i] = (v[i] - mean) * rstd * weight[i] + (Layer ? bias[i] : 0);
    if (Layer) stats[2 * r] = mean;
    stats[Layer ? 2 * r + 1 : r] = rstd;
  }
  y.write(call.out[0]);
  stats.write(call.out[1]);
}

template <bool Layer>
void norm_backward(const Call& call) {
  const Values dy(call.in[0]), x(call.in[1]), weight(call.in[2]), stats(call.in[3]),
      dsum(call.in[4]);
  const int64_t width = x.extent(-1);
  Values dx(x.shape), dweight(Shape{width}), dbias(Shape{width});
  for (int64_t r = 0; r < x.rows(); ++r) {
    const double mean = Layer ? stats[2 * r] : 0, rstd = stats[Layer ? 2 * r + 1 : r];
    double mean_g = 0, mean_gh = 0;
    for (int64_t i = 0, at = r * width; i < width; ++i, ++at) {
      const double h = (x[at] - mean) * rstd, g = dy[at] * weight[i];
      if (Layer) mean_g += g / static_cast<double>(width);
      mean_gh += g * h / static_cast<double>(width);
      dweight[i] += dy[at] * h;
      dbias[i] += dy[at];
    }
    for (int64_t i = 0, at = r * width; i < width; ++i, ++at) {
      const double h = (x[at] - mean) * rstd;
      dx[at] = rstd * (dy[at] * weight[i] - mean_g - h * mean_gh) + (dsum.size() ? dsum[at] : 0);
    }
  }
  dx.write(call.out[0]);
  dx.write(call.out[1]);
  dweight.write(call.out[2]);
  if (Layer) dbias.write(call.out[3]);
}

// The groups of x [N, C, L]: element i of the whole belongs to group(i) and channel(i).
struct Groups {
  int64_t channels, width, groups, size;
  Groups(const Values& x, int64_t groups)
      : channels(x.extent(1)),
        width(x.extent(2)),
        groups(groups),
        size(channels / groups * width) {}
  int64_t group(int64_t i) const { return i / size; }
  int64_t channel(int64_t i) const { return i / width % channels; }
};

void group_norm(const Call& call) {
  const Values x(call.in[0]), weight(call.in[1]), bias(call.in[2]);
  const Groups g(x, call.attr[0].i);
  Values y(x.shape), stats(Shape{x.size() / g.size, 2});
  const auto n = static_cast<double>(g.size);
  for (int64_t i = 0; i < x.size(); ++i) stats[2 * g.group(i)] += x[i] / n;
  for (int64_t i = 0; i < x.size(); ++i) {
    const double d = x[i] - stats[2 * g.group(i)];
    stats[2 * g.group(i) + 1] += d * d / n;
  }
  for (int64_t k = 0; k < stats.size(); k += 2)
    stats[k + 1] = 1 / std::sqrt(stats[k + 1] + call.attr[1].f);
  for (int64_t i = 0; i < x.size(); ++i)
    y[i] = (x[i] - stats[2 * g.group(i)]) * stats[2 * g.group(i) + 1] * weight[g.channel(i)] +
           bias[g.channel(i)];
  y.write(call.out[0]);
  stats.write(call.out[1]);
}
WS_REFERENCE("group_norm", group_norm);

void batch_norm(const Call& call) {
  const Values x(call.in[0]), weight(call.in[1]), bias(call.in[2]), mean(call.in[3]),
      variance(call.in[4]);
  const Groups g(x, 1);
  Values y(x.shape);
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t c = g.channel(i);
    y[i] = (x[i] - mean[c]) / std::sqrt(variance[c] + call.attr[0].f) * weight[c] + bias[c];
  }
  y.write(call.out[0]);
}
WS_REFERENCE("batch_norm", batch_norm);

void batch_norm_backward(const Call& call) {
  const Values dy(call.in[0]), x(call.in[1]), weight(call.in[2]), mean(call.in[3]),
      rstd(call.in[4]);
  const Groups g(x, 1);
  const double share =
      call.attr[0].i ? static_cast<double>(g.channels) / static_cast<double>(x.size()) : 0;
  Values dx(x.shape), dweight(weight.shape), dbias(weight.shape);
  const auto normal = [&](int64_t i) {
    const int64_t c = g.channel(i);
    return (x[i] - mean[c]) * rstd[c];
  };
  for (int64_t i = 0; i < x.size(); ++i)
    dweight[g.channel(i)] += dy[i] * normal(i), dbias[g.channel(i)] += dy[i];
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t c = g.channel(i);
    dx[i] = weight[c] * rstd[c] * (dy[i] - share * (dbias[c] + normal(i) * dweight[c]));
  }
  dx.write(call.out[0]);
  dweight.write(call.out[1]);
  dbias.write(call.out[2]);
}
WS_REFERENCE("batch_norm_backward", batch_norm_backward);

void group_norm_backward(const Call& call) {
  const Values dy(call.in[0]), x(call.in[1]), weight(call.in[2]), stats(call.in[3]);
  const Groups g(x, call.attr[0].i);
  Values dx(x.shape), dweight(weight.shape), dbias(weight.shape), means(stats.shape);
  const auto normal = [&](int64_t i) {
    return (x[i] - stats[2 * g.group(i)]) * stats[2 * g.group(i) + 1];
  };
  for (int64_t i = 0; i < x.size(); ++i) {
    const double share = dy[i] * weight[g.channel(i)] / static_cast<double>(g.size);
    means[2 * g.group(i)] += share, means[2 * g.group(i) + 1] += share * normal(i);
    dweight[g.channel(i)] += dy[i] * normal(i), dbias[g.channel(i)] += dy[i];
  }
  for (int64_t i = 0; i < x.size(); ++i)
    dx[i] = stats[2 * g.group(i) + 1] * (dy[i] * weight[g.channel(i)] - means[2 * g.group(i)] -
                                         normal(i) * means[2 * g.group(i) + 1]);
  dx.write(call.out[0]);
  dweight.write(call.out[1]);
  dbias.write(call.out[2]);
}
WS_REFERENCE("group_norm_backward", group_norm_backward);

constexpr Kernel kRms = norm<false>, kLayer = norm<true>;
constexpr Kernel kRmsBackward = norm_backward<false>, kLayerBackward = norm_backward<true>;
WS_REFERENCE("rms_norm", kRms);
WS_REFERENCE("layer_norm", kLayer);
WS_REFERENCE("rms_norm_backward", kRmsBackward);
WS_REFERENCE("layer_norm_backward", kLayerBackward);

}  // namespace
}  // namespace wellspring::reference
