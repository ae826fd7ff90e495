// Convolutions, element by element; operands as in chips/cpu/kernels/conv.cpp.
#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

// Calls f(index of x, index of y, index of weight) for every product of a convolution of images
// x [N, C, H, W] to y.
template <class F>
void each_product(const Call& call, const Shape& x, const Shape& y, const Shape& weight, F f) {
  const int64_t step[2] = {call.attr[0].i, call.attr[1].i},
                pad[2] = {call.attr[2].i, call.attr[3].i},
                dilation[2] = {call.attr[4].i, call.attr[5].i}, groups = call.attr[6].i;
  const int64_t filters = y[1] / groups, channels = weight[1];
  for (int64_t n = 0; n < y[0]; ++n)
    for (int64_t o = 0; o < y[1]; ++o)
      for (int64_t i = 0; i < y[2]; ++i)
        for (int64_t j = 0; j < y[3]; ++j)
          for (int64_t c = 0; c < channels; ++c)
            for (int64_t r = 0; r < weight[2]; ++r)
              for (int64_t s = 0; s < weight[3]; ++s) {
                const int64_t row = i * step[0] + r * dilation[0] - pad[0],
                              column = j * step[1] + s * dilation[1] - pad[1];
                if (row < 0 || row >= x[2] || column < 0 || column >= x[3]) continue;
                const int64_t channel = o / filters * channels + c;
                f(((n * x[1] + channel) * x[2] + row) * x[3] + column,
                  ((n * y[1] + o) * y[2] + i) * y[3] + j,
                  ((o * channels + c) * weight[2] + r) * weight[3] + s);
              }
}

Shape shape_of(const View& v) {
  return Shape(std::span<const int64_t>(v.shape, static_cast<size_t>(v.dims)));
}

// Images that hold the bias of their channel.
Values biased(const Shape& shape, const View& bias) {
  Values v(shape);
  const Values b(bias);
  if (bias.defined())
    for (int64_t k = 0; k < v.size(); ++k) v[k] = b[k / (shape[2] * shape[3]) % shape[1]];
  return v;
}

void conv(const Call& call) {
  const Values x(call.in[0]), weight(call.in[1]);
  Values y = biased(shape_of(call.out[0]), call.in[2]);
  each_product(call, x.shape, y.shape, weight.shape,
               [&](int64_t a, int64_t b, int64_t w) { y[b] += x[a] * weight[w]; });
  y.write(call.out[0]);
}
WS_REFERENCE("conv", conv);

void conv_input(const Call& call) {
  const Values y(call.in[0]), weight(call.in[1]);
  Values x = biased(shape_of(call.out[0]), call.in[2]);
  each_product(call, x.shape, y.shape, weight.shape,
               [&](int64_t a, int64_t b, int64_t w) { x[a] += y[b] * weight[w]; });
  x.write(call.out[0]);
}
WS_REFERENCE("conv_input", conv_input);

void conv_weight(const Call& call) {
  const Values x(call.in[0]), y(call.in[1]);
  Values weight(shape_of(call.out[0]));
  each_product(call, x.shape, y.shape, weight.shape,
               [&](int64_t a, int64_t b, int64_t w) { weight[w] += x[a] * y[b]; });
  weight.write(call.out[0]);
}
WS_REFERENCE("conv_weight", conv_weight);

}  // namespace
}  // namespace wellspring::reference
