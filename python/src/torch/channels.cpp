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

KernelRef kGroupBackward("group_norm_backward"), kBatchBackward("batch_norm_backward");

void check_f32(const Tensor& t) {
  if (t.defined() && t.dtype() != DType::f32) throw NotTaken();
}

// Running statistics, moved towards those of this batch.
Tensor followed(const Tensor& running, const Tensor& now, double momentum) {
  return running.defined() ? add(mul(running, 1 - momentum), mul(now, momentum)) : Tensor();
}

// Rows shorter than a vector are left to PyTorch, which goes along the channels.
constexpr int64_t kLeastWidth = 16;

// One call of the forward's names.
struct BatchNorm {
  Tensor x, weight, bias, running_mean, running_var;
  bool training;
  double momentum, eps;
};

// result, mean, 1 / sqrt(var + eps), which are empty without training
R normalised(const BatchNorm& b) {
  for (const Tensor& t : {b.weight, b.bias, b.running_mean, b.running_var}) check_f32(t);
  if (!b.training)
    return std::tuple(
        batch_norm(b.x, b.weight, b.bias, b.running_mean, b.running_var, false, b.momentum, b.eps),
        Tensor::empty({0}), Tensor::empty({0}));
  if (b.x.dims() < 2) throw NotTaken();
  const int64_t channels = b.x.size(1), count = b.x.numel() / channels;
  if (count < 2) throw NotTaken();
  std::vector<int> dims = {0};
  for (int d = 2; d < b.x.dims(); ++d) dims.push_back(d);
  const auto [variance, mean] = var_mean(b.x, dims, 0);
  const double n = static_cast<double>(count);
  const Tensor moved[] = {followed(b.running_mean, mean, b.momentum),
                          followed(b.running_var, mul(variance, n / (n - 1)), b.momentum)};
  const R results =
      std::tuple(batch_norm(b.x, b.weight, b.bias, mean, variance, false, b.momentum, b.eps), mean,
                 rsqrt(add(variance, b.eps)));
  // Last: PyTorch may have to answer until then.
  if (moved[0].defined()) b.running_mean.copy_from(moved[0]);
  if (moved[1].defined()) b.running_var.copy_from(moved[1]);
  return results;
}

// input, weight, bias, running_mean, running_var, training, momentum, eps
R batch_norm_forward(A a) {
  return normalised({a.tensor(0), a.tensor_or_none(1), a.tensor_or_none(2), a.tensor_or_none(3),
                     a.tensor_or_none(4), a.flag(5), a.real(6), a.real(7)});
}
// input, weight, bias, training, momentum, eps
R batch_norm_alone(A a) {
  return normalised({a.tensor(0),
                     a.tensor_or_none(1),
                     a.tensor_or_none(2),
                     {},
                     {},
                     a.flag(3),
                     a.real(4),
                     a.real(5)});
}

// grad_out, input, weight, running_mean, running_var, mean, rstd, train, eps, output_mask
R batch_norm_backward(A a) {
  const Tensor dy = a.tensor(0), x = a.packed(1);
  const bool training = a.flag(7);
  Tensor weight = a.tensor_or_none(2), mean = a.tensor_or_none(training ? 5 : 3),
         rstd = a.tensor_or_none(training ? 6 : 4);
  const auto mask = a.list(9);
  for (const Tensor& t : {dy, weight, mean, rstd}) check_f32(t);
  if (!mean.defined() || !rstd.defined() || dy.shape() != x.shape() || x.dims() < 2)
    throw NotTaken();
  const int64_t channels = x.size(1), width = x.numel() / (x.size(0) * channels);
  if (width < kLeastWidth) throw NotTaken();
  if (!weight.defined()) weight = Tensor::full({channels}, 1);
  if (!training) rstd = rsqrt(add(rstd, a.real(8)));
  const Shape flat{x.size(0), channels, width};
  const Tensor dx = Tensor::empty(x.shape()), dw = Tensor::empty({channels}),
               db = Tensor::empty({channels});
  launch(kBatchBackward, {reshape(dx, flat), dw, db},
         {reshape(dy, flat), reshape(x, flat), weight, mean, rstd}, {training});
  const auto wanted = [&](size_t i, const Tensor& t) { return mask.at(i) ? t : Tensor(); };
  return std::tuple(wanted(0, dx), wanted(1, dw), wanted(2, db));
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
    {"_native_batch_norm_legit.no_stats", 6, batch_norm_alone, Named::kF32},
    {"native_batch_norm_backward", 10, batch_norm_backward, Named::kF32, false, false, true},
    {"native_group_norm", 8, group_norm_forward, Named::kF32},
    {"native_group_norm_backward", 10, group_norm_backward, Named::kF32},
};

}  // namespace

void add_channels(std::vector<Entry>* all) { add_named(kChannels, all); }

}  // namespace wellspring::python
