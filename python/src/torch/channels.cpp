// native_batch_norm and native_group_norm of row-major f32.

#include "ops/norm.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "python/src/torch/call.h"

namespace wellspring::python {
namespace {

using A = const Arguments&;
using R = Results;

KernelRef kGroupBackward("group_norm_backward");

void check_f32(const Tensor& t) {
  if (t.defined() && t.dtype() != DType::f32) throw NotTaken();
}

// Moves running statistics towards those of this batch.
void follow(const Tensor& running, const Tensor& now, double momentum) {
  if (running.defined()) running.copy_from(add(mul(running, 1 - momentum), mul(now, momentum)));
}

// input, weight, bias, running_mean, running_var, training, momentum, eps
// -> result, mean, 1 / sqrt(var + eps), which are empty without training
R batch_norm_forward(A a) {
  const Tensor x = a.tensor(0), weight = a.tensor_or_none(1), bias = a.tensor_or_none(2),
               running_mean = a.tensor_or_none(3), running_var = a.tensor_or_none(4);
  const double momentum = a.real(6), eps = a.real(7);
  for (const Tensor& t : {weight, bias, running_mean, running_var}) check_f32(t);
  if (!a.flag(5))
    return std::tuple(batch_norm(x, weight, bias, running_mean, running_var, false, momentum, eps),
                      Tensor::empty({0}), Tensor::empty({0}));
  if (x.dims() < 2) throw NotTaken();
  const int64_t channels = x.size(1), count = x.numel() / channels;
  if (count < 2) throw NotTaken();
  Shape across{channels};
  std::vector<int> dims = {0};
  for (int d = 2; d < x.dims(); ++d) across.push_back(1), dims.push_back(d);
  const auto [variance, mean] = var_mean(x, dims, 0);
  const double n = static_cast<double>(count);
  follow(running_mean, mean, momentum);
  follow(running_var, mul(variance, n / (n - 1)), momentum);
  const Tensor deviation = rsqrt(add(variance, eps));
  const Tensor scale = weight.defined() ? mul(deviation, weight) : deviation;
  const Tensor moved = mul(mean, scale), shift = bias.defined() ? sub(bias, moved) : neg(moved);
  return std::tuple(addcmul(reshape(shift, across), x, reshape(scale, across)), mean, deviation);
}

// input, weight, bias, N, C, HxW, group, eps
R group_norm_forward(A a) {
  const Tensor weight = a.tensor_or_none(1), bias = a.tensor_or_none(2);
  check_f32(weight), check_f32(bias);
  return native_group_norm(a.tensor(0), weight, bias, a.integer(3), a.integer(4), a.integer(5),
                           a.integer(6), a.real(7));
}

// grad_out, input, mean, rstd, weight, N, C, HxW, group, output_mask
R group_norm_backward(A a) {
  const Tensor dy = a.tensor(0), x = a.tensor(1), mean = a.tensor(2), rstd = a.tensor(3);
  Tensor weight = a.tensor_or_none(4);
  const int64_t n = a.integer(5), channels = a.integer(6), length = a.integer(7),
                groups = a.integer(8);
  const auto mask = a.list(9);
  for (const Tensor& t : {x, mean, rstd, weight}) check_f32(t);
  if (!weight.defined()) weight = Tensor::full({channels}, 1);
  const Tensor parts[] = {reshape(mean, {n * groups, 1}), reshape(rstd, {n * groups, 1})};
  const Shape flat{n, channels, length};
  const Tensor dx = Tensor::empty(flat), dw = Tensor::empty({channels}),
               db = Tensor::empty({channels});
  launch(kGroupBackward, {dx, dw, db}, {reshape(dy, flat), reshape(x, flat), weight, cat(parts, 1)},
         {groups});
  const auto wanted = [&](size_t i, const Tensor& t) { return mask.at(i) ? t : Tensor(); };
  return std::tuple(wanted(0, reshape(dx, x.shape())), wanted(1, dw), wanted(2, db));
}

constexpr Named kChannels[] = {
    {"native_batch_norm", 8, batch_norm_forward, Named::kF32},
    {"_native_batch_norm_legit", 8, batch_norm_forward, Named::kF32},
    {"native_group_norm", 8, group_norm_forward, Named::kF32},
    {"native_group_norm_backward", 10, group_norm_backward, Named::kF32},
};

}  // namespace

void add_channels(std::vector<Entry>* all) { add_named(kChannels, all); }

}  // namespace wellspring::python
