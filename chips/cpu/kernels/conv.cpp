// Convolution of images [N, C, H, W] as matrix products whose operand of patches is packed straight
// from the image (gemm_window.h). Three kernels, with the attributes {stride y, x, padding y, x,
// dilation y, x, groups}:
//   "conv"         out y [N, O, Y, X], in x, weight [O, C / groups, R, S] row-major, bias [O]
//   "conv_input"   out x, in y, weight, bias [C]: the gradient of x, and the transposed convolution
//   "conv_weight"  out the gradient of weight (f32 or f64, row-major), in x, y
// bias may be undefined. With one channel in each group the work goes to conv_depthwise.cpp.

#include "chips/cpu/kernels/conv.h"

WS_KERNELS_BEGIN

void* moved(void* p, int64_t elements, DType t) {
  return static_cast<char*>(p) + elements * static_cast<int64_t>(size_of(t));
}

// Groups one after another with the team inside each, or many groups at a time.
template <class F>
void each_group(int64_t groups, F&& f) {
  if (groups >= 8) return parallel_for(groups, [&](int64_t g) { f(g); });
  for (int64_t g = 0; g < groups; ++g) f(g);
}

// A window of one tap that meets every element of an image whose rows follow one another is a
// window over one long row.
void flatten(Window& w) {
  const bool one_tap = w.taps_y == 1 && w.taps_x == 1 && w.step_y == 1 && w.step_x == 1 &&
                       w.base_y == 0 && w.base_x == 0;
  if (!one_tap || w.out_rows != w.rows || w.out_columns != w.columns) return;
  if (w.row_stride != w.columns * w.column_stride) return;
  w.out_columns = w.columns = w.rows * w.columns;
  w.out_rows = w.rows = 1;
  w.row_stride = w.columns * w.column_stride;
}

Window window_on(const View& image, int64_t first_channel) {
  Window w;
  w.data = moved(image.data, first_channel * image.strides[1], image.dtype);
  w.image_stride = image.strides[0], w.channel_stride = image.strides[1];
  w.row_stride = image.strides[2], w.column_stride = image.strides[3];
  w.rows = image.shape[2], w.columns = image.shape[3];
  return w;
}

// The patches of x under the positions of y.
Window patches(const ConvShape& c, const View& x, int64_t group) {
  Window w = window_on(x, group * c.channels);
  w.out_rows = c.out_rows, w.out_columns = c.out_columns;
  w.taps_y = c.taps_y, w.taps_x = c.taps_x;
  w.step_y = c.stride_y, w.step_x = c.stride_x, w.tap_y = c.dilation_y, w.tap_x = c.dilation_x;
  w.base_y = -c.padding_y, w.base_x = -c.padding_x;
  return w;
}

Positions positions_on(const View& image, int64_t out_rows, int64_t out_columns) {
  return {out_rows, out_columns, image.strides[0], image.strides[2], image.strides[3]};
}

void add_bias(Gemm& g, const View& bias, int64_t first) {
  if (!bias.defined()) return;
  g.bias = moved(bias.data, first * bias.strides[0], bias.dtype);
  g.bias_stride = bias.strides[0], g.bias_type = bias.dtype, g.bias_by_row = true;
}

void conv(const Call& call) {
  const View &y = call.out[0], &x = call.in[0], &weight = call.in[1], &bias = call.in[2];
  const ConvShape c = conv_shape("conv", call, x, weight.shape, y);
  if (c.depthwise()) return conv_depthwise(c, x, weight, bias, y);
  each_group(c.groups, [&](int64_t group) {
    Window w = patches(c, x, group);
    flatten(w);
    const Positions to = positions_on(y, c.out_rows, c.out_columns);
    Gemm g;
    g.m = c.filters, g.k = c.channels * c.taps_y * c.taps_x;
    g.n = c.images * c.out_rows * c.out_columns;
    g.a = moved(weight.data, group * g.m * g.k, weight.dtype), g.a_row = g.k, g.a_col = 1;
    g.b = x.data, g.b_window = &w, g.c_positions = &to;
    g.c = moved(y.data, group * c.filters * y.strides[1], y.dtype), g.c_row = y.strides[1];
    g.a_type = weight.dtype, g.b_type = x.dtype, g.c_type = y.dtype;
    add_bias(g, bias, group * c.filters);
    gemm(g);
  });
}
WS_KERNEL("conv", conv)

// Of the positions of x that are `phase` modulo the stride: the taps that reach them, and where
// those read y.
struct Phase {
  int64_t count = 0;                // positions
  int64_t first = 0, step = 1;      // taps first, first + step, ...
  int64_t taps = 0, base = 0, tap;  // they read position + base + i * tap
};
Phase phase_of(int64_t phase, int64_t extent, int64_t stride, int64_t padding, int64_t dilation,
               int64_t taps) {
  Phase p;
  p.count = extent > phase ? (extent - phase + stride - 1) / stride : 0;
  p.first = -1;
  for (int64_t r = 0; r < taps; ++r) {
    if ((phase + padding - r * dilation) % stride != 0) continue;
    if (p.first < 0)
      p.first = r;
    else if (p.taps == 1)
      p.step = r - p.first;
    ++p.taps;
  }
  if (p.first >= 0) p.base = (phase + padding - p.first * dilation) / stride;
  p.tap = -(p.step * dilation) / stride;
  return p;
}

// The phase's taps of one group's weights, as rows [channels, filters * taps].
template <class T>
void pick_weights(const ConvShape& c, const T* weight, const Phase& v, const Phase& h, T* out) {
  for (int64_t channel = 0; channel < c.channels; ++channel)
    for (int64_t o = 0; o < c.filters; ++o) {
      const T* from = weight + (o * c.channels + channel) * c.taps_y * c.taps_x;
      for (int64_t i = 0; i < v.taps; ++i)
        for (int64_t j = 0; j < h.taps; ++j)
          *out++ = from[(v.first + i * v.step) * c.taps_x + h.first + j * h.step];
    }
}

void conv_input(const Call& call) {
  const View &x = call.out[0], &y = call.in[0], &weight = call.in[1], &bias = call.in[2];
  const ConvShape c = conv_shape("conv_input", call, x, weight.shape, y);
  if (c.depthwise()) return conv_depthwise_input(c, y, weight, bias, x);
  const int64_t group_words = c.filters * c.channels * c.taps_y * c.taps_x;
  each_group(c.groups, [&](int64_t group) {
    void* picked = cpu::scratch(0, group_words * size_of(weight.dtype));
    for (int64_t phase = 0; phase < c.stride_y * c.stride_x; ++phase) {
      const int64_t py = phase / c.stride_x, px = phase % c.stride_x;
      const Phase v = phase_of(py, x.shape[2], c.stride_y, c.padding_y, c.dilation_y, c.taps_y);
      const Phase h = phase_of(px, x.shape[3], c.stride_x, c.padding_x, c.dilation_x, c.taps_x);
      if (v.count * h.count == 0) continue;
      const void* from = moved(weight.data, group * group_words, weight.dtype);
      if (size_of(weight.dtype) == 2)
        pick_weights(c, static_cast<const bf16_t*>(from), v, h, static_cast<bf16_t*>(picked));
      else if (size_of(weight.dtype) == 4)
        pick_weights(c, static_cast<const float*>(from), v, h, static_cast<float*>(picked));
      else
        pick_weights(c, static_cast<const double*>(from), v, h, static_cast<double*>(picked));
      Window w = window_on(y, group * c.filters);
      w.out_rows = v.count, w.out_columns = h.count;
      w.taps_y = v.taps ? v.taps : 1, w.taps_x = h.taps ? h.taps : 1;  // none: a sum of nothing
      w.tap_y = v.tap, w.tap_x = h.tap, w.base_y = v.base, w.base_x = h.base;
      flatten(w);
      Positions to = positions_on(x, v.count, h.count);
      to.row_stride *= c.stride_y, to.column_stride *= c.stride_x;
      Gemm g;
      g.m = c.channels, g.k = c.filters * v.taps * h.taps, g.n = c.images * v.count * h.count;
      g.a = picked, g.a_row = g.k, g.a_col = 1;
      g.b = y.data, g.b_window = &w, g.c_positions = &to;
      g.c = moved(x.data, group * c.channels * x.strides[1] + py * x.strides[2] + px * x.strides[3],
                  x.dtype);
      g.c_row = x.strides[1];
      g.a_type = weight.dtype, g.b_type = y.dtype, g.c_type = x.dtype;
      add_bias(g, bias, group * c.channels);
      gemm(g);
    }
  });
}
WS_KERNEL("conv_input", conv_input)

void conv_weight(const Call& call) {
  const View &dweight = call.out[0], &x = call.in[0], &y = call.in[1];
  const ConvShape c = conv_shape("conv_weight", call, x, dweight.shape, y);
  if (c.depthwise()) return conv_depthwise_weight(c, x, y, dweight);
  each_group(c.groups, [&](int64_t group) {
    Window places = patches(c, x, group), rows = window_on(y, group * c.filters);
    rows.out_rows = c.out_rows, rows.out_columns = c.out_columns;
    flatten(places), flatten(rows);
    Gemm g;
    g.m = c.filters, g.n = c.channels * c.taps_y * c.taps_x;
    g.k = c.images * c.out_rows * c.out_columns;
    g.a = y.data, g.a_window = &rows, g.b = x.data, g.b_window = &places, g.b_by_place = true;
    g.c = moved(dweight.data, group * g.m * g.n, dweight.dtype), g.c_row = g.n;
    g.a_type = y.dtype, g.b_type = x.dtype, g.c_type = dweight.dtype;
    gemm(g);
  });
}
WS_KERNEL("conv_weight", conv_weight)

WS_KERNELS_END
