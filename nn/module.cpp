#include "nn/module.h"

#include <cmath>
#include <tuple>

#include "base/error.h"
#include "base/text.h"
#include "ops/activation.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "tensor/dispatch.h"

namespace wellspring {

Tensor Linear::operator()(const Tensor& x) const {
  const Tensor b = has_bias ? bias.compute : Tensor();
  return packed.defined() ? linear(x, packed, b) : linear(x, weight.compute, b);
}

Tensor Linear::swiglu(Tensor x) const {
  if (packed.defined()) return linear_swiglu(x, packed, has_bias ? bias.compute : Tensor());
  Tensor both = (*this)(x);
  x = {};
  return wellspring::swiglu(both);
}

Tensor Norm::operator()(const Tensor& x, DType dtype) const {
  return layer ? layer_norm(x, weight.compute, bias.compute, eps, dtype)
               : rms_norm(x, weight.compute, eps, dtype);
}

Tensor Norm::add(Tensor& residual, const Tensor& x, DType dtype) const {
  auto [sum, normed] = layer ? add_layer_norm(residual, x, weight.compute, bias.compute, eps, dtype)
                             : add_rms_norm(residual, x, weight.compute, eps, dtype);
  residual = sum;
  return normed;
}

Tensor Embedding::operator()(const Tensor& ids) const {
  return packed.defined() ? embedding(packed, ids) : embedding(weight.compute, ids, DType::f32);
}

RotaryTable rotary_table(int64_t positions, int64_t head_width, double theta,
                         const RopeScaling* scaling) {
  if (head_width % 2)
    throw Error(Fault::config, str("rotary positions need an even head width, not ", head_width));
  const int64_t half = head_width / 2;
  constexpr double kPi = 3.14159265358979323846;
  std::vector<float> rates(half);
  for (int64_t i = 0; i < half; ++i) {
    double rate = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_width));
    if (scaling) {
      double wave = 2 * kPi / rate, context = static_cast<double>(scaling->original_context);
      double low = context / scaling->low_frequency, high = context / scaling->high_frequency;
      if (wave > low) {
        rate /= scaling->factor;
      } else if (wave >= high) {
        double smooth = (context / wave - scaling->low_frequency) /
                        (scaling->high_frequency - scaling->low_frequency);
        rate = (1 - smooth) * rate / scaling->factor + smooth * rate;
      }
    }
    rates[i] = static_cast<float>(rate);
  }
  RotaryTable table{Tensor::empty({positions, half}), Tensor::empty({positions, half})};
  float *c = table.cos.data_as<float>(), *s = table.sin.data_as<float>();
  for (int64_t p = 0; p < positions; ++p)
    for (int64_t i = 0; i < half; ++i) {
      double angle = static_cast<float>(p) * rates[i];  // f32, as the peers compute it
      c[p * half + i] = static_cast<float>(std::cos(angle));
      s[p * half + i] = static_cast<float>(std::sin(angle));
    }
  return table;
}

Tensor Dropout::operator()(const Tensor& x) {
  if (p_ <= 0) return x;
  // One stream a call: 2^40 elements of room each, 2^24 calls a step.
  uint64_t stream = seed_ ^ (step_ + 1) * 0x9E3779B97F4A7C15ull;
  return dropout(x, p_, stream, calls_++ << 40);
}

Tensor linear_f32(const Tensor& x, const Tensor& weight) {
  static KernelRef kMatmul("matmul");
  const int64_t k = weight.size(1), n = weight.size(0);
  if (x.size(-1) != k)
    throw Error(Fault::usage,
                str("linear_f32 of ", x.text(), " and ", weight.text(), ": inner extents differ"));
  WS_CHECK(x.is_contiguous() && weight.is_contiguous(), "linear_f32 takes contiguous tensors");
  const int64_t rows = k ? x.numel() / k : 0;
  Tensor out = Tensor::empty({rows, n}, DType::f32, x.device());
  if (out.numel())
    launch(kMatmul, {out},
           {x.as_strided({rows, k}, {k, 1}, x.offset()),
            weight.as_strided({k, n}, {1, k}, weight.offset()), Tensor()},
           {0});
  Shape shape = x.shape();
  shape[shape.size() - 1] = n;
  return out.as_strided(shape, contiguous_strides(shape), 0);
}

Tensor linear_f32(const Tensor& x, const Embedding& table) {
  return table.packed.defined() ? linear(x, table.packed, {}, DType::f32) : linear_f32(x, table.weight.compute);
}

}  // namespace wellspring
