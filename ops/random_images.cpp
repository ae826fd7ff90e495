// Random calls of what reads images by windows, and of Fourier transforms.

#include <algorithm>

#include "ops/complex.h"
#include "ops/conv.h"
#include "ops/fft.h"
#include "ops/pool.h"
#include "ops/random_entries.h"
#include "ops/resize.h"

namespace wellspring::random_calls {
namespace {

// [N, C, ...], seldom without N or with a dimension too many.
Tensor images(C c, int spatial) {
  Shape s;
  if (!c.rarely(8)) s.push_back(c.below(3));
  s.push_back(c.below(8) ? 1 + c.below(6) : 0);
  for (int d = c.rarely(40) ? -1 : 0; d < spatial; ++d) s.push_back(c.below(10));
  return c.tensor(s, c.floating());
}

// For each spatial dimension, or one for all, seldom 0.
std::vector<int64_t> steps(C c, int spatial, int most) {
  return numbers(c, c.rarely(4) ? 1 : spatial, c.below(20) ? 1 : 0, most + 1);
}
std::vector<int64_t> paddings(C c, int spatial, int most) {
  return numbers(c, c.rarely(4) ? 1 : spatial, c.below(30) ? 0 : -1, most + 1);
}

template <int spatial, bool transposed>
Tensors call_conv(C c) {
  const int64_t groups = 1 + c.below(3), in = groups * (1 + c.below(4)), out = 1 + c.below(4);
  Shape image{1 + c.below(2), in};
  Shape taps = transposed ? Shape{like(c, in), out} : Shape{groups * out, like(c, in / groups)};
  for (int d = 0; d < spatial; ++d) image.push_back(c.below(12)), taps.push_back(1 + c.below(4));
  const DType t = c.floating();
  const Tensor x = c.tensor(image, t), weight = c.tensor(taps, t);
  const Tensor bias = c.tensor_or_none({like(c, groups * out)}, t);
  const auto stride = steps(c, spatial, 3), dilation = steps(c, spatial, 2);
  return {convolution(x, weight, bias, stride, paddings(c, spatial, 2), dilation, transposed,
                      transposed ? paddings(c, spatial, 1) : std::vector<int64_t>{0}, groups)};
}

constexpr Entry kConvolutions[] = {
    {"convolution 1d", call_conv<1, false>},
    {"convolution 2d", call_conv<2, false>},
    {"convolution 2d", call_conv<2, false>},  // most uses, most ways of the kernel
    {"transposed 1d", call_conv<1, true>},
    {"transposed 2d", call_conv<2, true>},
    {"depthwise 2d",
     [](C c) -> Tensors {
       const int64_t n = 1 + c.below(20), k = 1 + c.below(5);
       const DType t = c.floating();
       const Tensor x = c.tensor({1 + c.below(2), n, c.below(12), 1 + c.below(12)}, t);
       return {conv2d(x, c.tensor({n, 1, k, k}, t), c.tensor_or_none({n}, t), steps(c, 2, 2),
                      paddings(c, 2, 2), steps(c, 2, 2), n)};
     }},
    {"padding by name",
     [](C c) -> Tensors {
       static constexpr const char* kHow[] = {"same", "valid", "same", "some"};
       const DType t = c.floating();
       const Tensor x = c.tensor({2, 3, c.below(12), 1 + c.below(12)}, t);
       const Tensor w = c.tensor({1 + c.below(9), 3, 1 + c.below(4), 1 + c.below(4)}, t);
       return {conv2d_padded(x, w, Tensor(), {1}, c.of(kHow), steps(c, 2, 2))};
     }},
};

constexpr Entry kPools[] = {
    {"max_pool2d_with_indices",
     [](C c) -> Tensors {
       const Tensor x = images(c, 2);
       const auto size = steps(c, 2, 4), stride = steps(c, c.below(3), 3);
       const auto padding = paddings(c, 2, 2);
       return list_of(max_pool2d_with_indices(x, size, stride, padding, steps(c, 2, 2), c.coin()));
     }},
    {"max_pool1d",
     [](C c) -> Tensors {
       const Tensor x = images(c, 1);
       const auto size = steps(c, 1, 4), stride = steps(c, 1, 3), padding = paddings(c, 1, 2);
       return {max_pool1d(x, size, stride, padding, steps(c, 1, 2), c.coin())};
     }},
    {"avg_pool2d",
     [](C c) -> Tensors {
       const Tensor x = images(c, 2);
       const auto size = steps(c, 2, 4), stride = steps(c, c.below(3), 3);
       const auto padding = paddings(c, 2, 2);
       const bool ceil = c.coin(), padded = c.coin();
       return {avg_pool2d(x, size, stride, padding, ceil, padded,
                          c.rarely(3) ? std::optional<int64_t>(c.below(7) - 1) : std::nullopt)};
     }},
    {"avg_pool1d",
     [](C c) -> Tensors {
       const Tensor x = images(c, 1);
       const auto size = steps(c, 1, 4), stride = steps(c, 1, 3), padding = paddings(c, 1, 2);
       const bool ceil = c.coin();
       return {avg_pool1d(x, size, stride, padding, ceil, c.coin())};
     }},
    {"adaptive_avg_pool2d",
     [](C c) -> Tensors { return {adaptive_avg_pool2d(images(c, 2), paddings(c, 2, 7))}; }},
    {"adaptive_avg_pool1d",
     [](C c) -> Tensors { return {adaptive_avg_pool1d(images(c, 1), paddings(c, 1, 7))}; }},
    {"adaptive_max_pool2d",
     [](C c) -> Tensors { return list_of(adaptive_max_pool2d(images(c, 2), paddings(c, 2, 7))); }},
};

template <Tensor (*resize)(X, const std::vector<int64_t>&, const std::vector<double>&), int spatial>
Tensors call_resized(C c) {
  const Tensor x = images(c, spatial);
  if (c.coin()) return {resize(x, steps(c, spatial, 20), {})};
  std::vector<double> scales;
  for (int d = 0; d < spatial; ++d) scales.push_back(0.375 * c.below(9));
  return {resize(x, {}, scales)};
}

constexpr Entry kResizes[] = {
    {"upsample_nearest1d", call_resized<upsample_nearest1d, 1>},
    {"upsample_nearest2d", call_resized<upsample_nearest2d, 2>},
    {"_upsample_nearest_exact1d", call_resized<_upsample_nearest_exact1d, 1>},
    {"_upsample_nearest_exact2d", call_resized<_upsample_nearest_exact2d, 2>},
};

// Lengths of every way: powers of two, other small factors, large primes.
Shape signal_shape(C c) {
  static constexpr int64_t kLengths[] = {1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 17, 30, 64, 97, 128, 0};
  Shape s;
  for (int d = c.below(3); d > 0; --d) s.push_back(1 + c.below(4));
  s.push_back(c.of(kLengths));
  return s;
}
Tensor signal(C c) { return c.tensor(signal_shape(c), c.rarely(8) ? c.any_dtype() : DType::f32); }
Tensor complex_signal(C c) {
  const Shape s = signal_shape(c);
  const Tensor a = c.tensor(s, DType::f32);
  return complex(a, c.tensor(s, DType::f32));
}

std::optional<int64_t> length(C c) {
  return c.coin() ? std::nullopt : std::optional<int64_t>(c.below(40));
}
const char* scaling(C c) {
  static constexpr const char* kHow[] = {"backward", "ortho", "forward", "other"};
  return kHow[c.below(10) ? c.below(3) : 3];
}
template <Tensor (*fft)(X, std::optional<int64_t>, int, std::string_view)>
Tensors transformed(C c, X x) {
  const std::optional<int64_t> n = length(c);
  const int d = c.dim(x.dims());
  return {fft(x, n, d, scaling(c))};
}

// The last argument, below `end`, is a flag or an extent.
template <auto fft, int end>
Tensors of_dims(C c, X x) {
  const std::vector<int> dims = c.dims(x.dims());
  const int how = c.below(3);
  return {fft(x, dims, how, c.below(end))};
}

constexpr Entry kTransforms[] = {
    {"fft_rfft", transformed<fft_rfft>, signal},
    {"fft_fft", transformed<fft_fft>, signal},
    {"fft_fft complex", transformed<fft_fft>, complex_signal},
    {"fft_ifft", transformed<fft_ifft>, complex_signal},
    {"fft_irfft", transformed<fft_irfft>, complex_signal},
    {"_fft_r2c", of_dims<_fft_r2c, 2>, signal},
    {"_fft_c2c", of_dims<_fft_c2c, 2>, complex_signal},
    {"_fft_c2r", of_dims<_fft_c2r, 40>, complex_signal},
};
}  // namespace

Tensors call_convolution(Choices& c) { return one_of(c, kConvolutions); }
Tensors call_pool(Choices& c) { return one_of(c, kPools); }
Tensors call_resize(Choices& c) { return one_of(c, kResizes); }
Tensors call_fft(Choices& c) { return one_of(c, kTransforms); }

}  // namespace wellspring::random_calls
