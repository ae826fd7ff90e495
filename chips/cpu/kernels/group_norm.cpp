// Group normalisation of packed x [N, C, L], and that by given statistics.
//   "group_norm"           out {y, stats [N groups, {mean, rstd}]}, in {x, weight, bias},
//                          attr {groups, eps}
//   "group_norm_backward"  out {dx, dweight, dbias}, in {dy, x, weight, stats}, attr {groups}
//   "batch_norm"           out y, in {x, weight, bias, mean, variance}, attr eps; mean and variance
//                          f32 [C]
//   "batch_norm_backward"  out {dx, dweight, dbias}, in {dy, x, weight, mean, rstd}, f32 but for
//                          x, dy and dx; attr {whether mean and rstd are those of x}
// weight, bias and their gradients are f32 [C]. A tile is one group of one image; what each adds to
// the gradients of the weights is kept apart and added in the order of the images.

#include <cmath>

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

// The rows of a group as one row, and as one row for each channel.
struct Groups {
  Rows whole, channels;
  int64_t images, groups, each;  // channels of a group

  Groups(const char* kernel, const View& x, int64_t groups) : groups(groups) {
    channels = packed_rows(kernel, x);
    whole = channels;
    images = x.shape[0], each = x.shape[1] / groups;
    channels.count = images * x.shape[1], channels.width = x.shape[2];
    whole.count = images * groups, whole.width = each * channels.width;
  }
};

// Calls f(group) for all of them, small ones together.
template <class F>
void each_group(const Groups& x, F&& f) {
  const int64_t share = 1 + 8192 / (x.whole.width + 1), count = x.whole.count;
  parallel_for((count + share - 1) / share, [&](int64_t tile) {
    const int64_t end = (tile + 1) * share < count ? (tile + 1) * share : count;
    for (int64_t k = tile * share; k < end; ++k) f(k);
  });
}

void group_norm(const Call& call) {
  const Groups x("group_norm", call.in[0], call.attr[0].i), y("group_norm", call.out[0], x.groups);
  const auto* weight = static_cast<const float*>(call.in[1].data);
  const auto* bias = static_cast<const float*>(call.in[2].data);
  auto* stats = static_cast<float*>(call.out[1].data);
  const double eps = call.attr[1].f;
  const int64_t width = x.channels.width, all = x.whole.width;
  each_group(x, [&](int64_t tile) {
    const float* v = x.whole.read(tile, row_buffer(0, all));
    const auto n = static_cast<float>(all);
    const float mean = row_sum(all, [&](int64_t i, int m) { return load_n(v + i, m); }) / n;
    const float squares = row_sum(all, [&](int64_t i, int m) {
      const vf d = (m == kLanes ? load(v + i) : load_part(v + i, m, mean)) - mean;
      return d * d;
    });
    const auto rstd = static_cast<float>(1.0 / std::sqrt(static_cast<double>(squares / n) + eps));
    stats[2 * tile] = mean, stats[2 * tile + 1] = rstd;
    float* to = y.whole.target(tile, row_buffer(1, all));
    for (int64_t c = 0; c < x.each; ++c) {
      const int64_t channel = tile % x.groups * x.each + c;
      const float scale = rstd * weight[channel], shift = bias[channel];
      const float* from = v + c * width;
      float* out = to + c * width;
      each_vector(width, [&](int64_t i, int m) {
        store_n(out + i, (load_n(from + i, m) - mean) * scale + shift, m);
      });
    }
    y.whole.finish(tile, to);
  });
}
WS_KERNEL("group_norm", group_norm)

void group_norm_backward(const Call& call) {
  const int64_t groups = call.attr[0].i;
  const Groups dx("group_norm_backward", call.out[0], groups),
      dy("group_norm_backward", call.in[0], groups), x("group_norm_backward", call.in[1], groups);
  const auto* weight = static_cast<const float*>(call.in[2].data);
  const auto* stats = static_cast<const float*>(call.in[3].data);
  const int64_t width = x.channels.width, all = x.whole.width, count = x.channels.count;
  // For each channel of each image: the sums of dy h and of dy.
  float* sums = static_cast<float*>(cpu::scratch(7, (2 * count + 2) * sizeof(float)));
  each_group(x, [&](int64_t tile) {
    const float mean = stats[2 * tile], rstd = stats[2 * tile + 1];
    const float* v = x.whole.read(tile, row_buffer(0, all));
    const float* g = dy.whole.read(tile, row_buffer(1, all));
    float mean_g = 0, mean_gh = 0;
    for (int64_t c = 0; c < x.each; ++c) {
      const float *a = v + c * width, *b = g + c * width;
      const float with = row_sum(width, [&](int64_t i, int m) {
        return load_n(b + i, m) * ((load_n(a + i, m) - mean) * rstd);
      });
      const float plain = row_sum(width, [&](int64_t i, int m) { return load_n(b + i, m); });
      const float w = weight[tile % groups * x.each + c];
      sums[2 * (tile * x.each + c)] = with, sums[2 * (tile * x.each + c) + 1] = plain;
      mean_gh += w * with, mean_g += w * plain;
    }
    mean_g /= static_cast<float>(all), mean_gh /= static_cast<float>(all);
    float* to = dx.whole.target(tile, row_buffer(2, all));
    for (int64_t c = 0; c < x.each; ++c) {
      const float w = weight[tile % groups * x.each + c];
      const float *a = v + c * width, *b = g + c * width;
      float* out = to + c * width;
      each_vector(width, [&](int64_t i, int m) {
        const vf h = (load_n(a + i, m) - mean) * rstd;
        store_n(out + i, ((load_n(b + i, m) * w - mean_g) - h * mean_gh) * rstd, m);
      });
    }
    dx.whole.finish(tile, to);
  });
  auto* dweight = static_cast<float*>(call.out[1].data);
  auto* dbias = static_cast<float*>(call.out[2].data);
  const int64_t channels = groups * x.each;
  for (int64_t c = 0; c < channels; ++c) {
    float with = 0, plain = 0;
    for (int64_t n = 0; n < x.images; ++n)
      with += sums[2 * (n * channels + c)], plain += sums[2 * (n * channels + c) + 1];
    dweight[c] = with, dbias[c] = plain;
  }
}
WS_KERNEL("group_norm_backward", group_norm_backward)

void batch_norm(const Call& call) {
  const Rows x = packed_rows("batch_norm", call.in[0]), y = packed_rows("batch_norm", call.out[0]);
  const float* of[4];  // weight, bias, mean, variance
  for (int i = 0; i < 4; ++i) of[i] = static_cast<const float*>(call.in[i + 1].data);
  const int64_t channels = call.in[0].shape[1];
  float* factors = static_cast<float*>(cpu::scratch(7, (2 * channels + 1) * sizeof(float)));
  for (int64_t c = 0; c < channels; ++c) {
    const float scale = 1.0f / std::sqrt(of[3][c] + static_cast<float>(call.attr[0].f)) * of[0][c];
    factors[2 * c] = scale, factors[2 * c + 1] = of[1][c] - of[2][c] * scale;
  }
  each_row(x.count, x.width, [&](int64_t row) {
    const float scale = factors[2 * (row % channels)], shift = factors[2 * (row % channels) + 1];
    const auto run = [&](auto* from, auto* to) {
      each_vector(x.width, [&](int64_t i, int m) {
        store_n(to + i, load_n(from + i, m) * scale + shift, m);
      });
    };
    x.half ? run(x.halves(row), y.halves(row)) : run(x.floats(row), y.floats(row));
  });
}
WS_KERNEL("batch_norm", batch_norm)

// Calls f(part, channel, first image, end) in parallel, `parts` for each channel.
struct ChannelParts {
  int64_t images, channels, share, parts;
  ChannelParts(const Rows& x, int64_t channels)
      : images(x.count / channels),
        channels(channels),
        share(rows_per_tile(x.width)),
        parts(tiles_of(images, share)) {}
  template <class F>
  void each(F&& f) const {
    parallel_for(channels * parts, [&](int64_t tile) {
      const int64_t first = tile % parts * share, end = first + share;
      f(tile, tile / parts, first, end < images ? end : images);
    });
  }
};

// dweight and dbias of each channel, the sums of dy h and of dy, added in the order of the parts.
void sum_channels(const ChannelParts& parts, const Rows& dy, const Rows& x, const float* mean,
                  const float* rstd, float* dweight, float* dbias) {
  const int64_t channels = parts.channels;
  float* sums =
      static_cast<float*>(cpu::scratch(7, (2 * channels * parts.parts + 2) * sizeof(float)));
  parts.each([&](int64_t part, int64_t channel, int64_t first, int64_t end) {
    vf with = {}, plain = {};
    const auto add = [&](const auto* v, const auto* g) {
      each_vector(x.width, [&](int64_t i, int n) {
        const vf d = load_n(g + i, n);
        with += d * (load_n(v + i, n) - mean[channel]), plain += d;
      });
    };
    for (int64_t row = first * channels + channel; row < end * channels; row += channels)
      x.half ? add(x.halves(row), dy.halves(row)) : add(x.floats(row), dy.floats(row));
    sums[2 * part] = sum_lanes(with), sums[2 * part + 1] = sum_lanes(plain);
  });
  for (int64_t c = 0; c < channels; ++c) {
    double with = 0, plain = 0;
    for (int64_t k = c * parts.parts; k < (c + 1) * parts.parts; ++k)
      with += static_cast<double>(sums[2 * k]), plain += static_cast<double>(sums[2 * k + 1]);
    dweight[c] = static_cast<float>(with) * rstd[c], dbias[c] = static_cast<float>(plain);
  }
}

void batch_norm_backward(const Call& call) {
  const char* name = "batch_norm_backward";
  const Rows dx = packed_rows(name, call.out[0]), dy = packed_rows(name, call.in[0]),
             x = packed_rows(name, call.in[1]);
  const auto *weight = static_cast<const float*>(call.in[2].data),
             *mean = static_cast<const float*>(call.in[3].data),
             *rstd = static_cast<const float*>(call.in[4].data);
  const ChannelParts parts(x, call.in[1].shape[1]);
  auto *dweight = static_cast<float*>(call.out[1].data),
       *dbias = static_cast<float*>(call.out[2].data);
  sum_channels(parts, dy, x, mean, rstd, dweight, dbias);
  // Where the statistics are those of x, they change with it.
  const float share = call.attr[0].i ? 1.0f / static_cast<float>(parts.images * x.width) : 0.0f;
  parts.each([&](int64_t, int64_t c, int64_t first, int64_t end) {
    const float scale = weight[c] * rstd[c], even = dbias[c] * share,
                slope = dweight[c] * rstd[c] * share;
    const auto run = [&](const auto* v, const auto* g, auto* to) {
      each_vector(x.width, [&](int64_t i, int n) {
        store_n(to + i, ((load_n(g + i, n) - even) - (load_n(v + i, n) - mean[c]) * slope) * scale,
                n);
      });
    };
    for (int64_t row = first * parts.channels + c; row < end * parts.channels;
         row += parts.channels)
      x.half ? run(x.halves(row), dy.halves(row), dx.halves(row))
             : run(x.floats(row), dy.floats(row), dx.floats(row));
  });
}
WS_KERNEL("batch_norm_backward", batch_norm_backward)

WS_KERNELS_END
