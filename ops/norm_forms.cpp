// The named forms of normalisation: over the last dimensions, groups of channels, and batches.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/norm.h"
#include "ops/norm_call.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kGroup("group_norm"), kGroupBackward("group_norm_backward"), kBatch("batch_norm"),
    kBatchBackward("batch_norm_backward");

using List = std::vector<int64_t>;

bool is_half(DType t) { return t == DType::f16; }

void check_floating_input(const char* op, const Tensor& x) {
  if (!x.defined() || !is_float(x.dtype()))
    throw Error(Fault::usage,
                str(op, ": x must be floating, but is ", x.defined() ? x.text() : "undefined"));
}

// x as rows of what is normalised together. Error unless the last dimensions are `last`.
Tensor as_rows(const char* op, const Tensor& x, const List& last) {
  check_floating_input(op, x);
  const int n = static_cast<int>(last.size()), lead = x.dims() - n;
  bool fits = n > 0 && lead >= 0;
  int64_t width = 1;
  for (int d = 0; fits && d < n; ++d) fits = x.shape()[lead + d] == last[d], width *= last[d];
  if (!fits)
    throw Error(Fault::usage, str(op, ": the last dimensions of x ", x.text(),
                                  " are not normalized_shape ", Shape(last).text()));
  return reshape(x, {width ? x.numel() / width : 0, width});
}

// A weight as f32 [width]; `missing` everywhere when there is none.
Tensor as_vector(const char* op, const char* name, const Tensor& w, int64_t width, double missing,
                 DType dtype, Device device) {
  if (!w.defined()) return Tensor::full({width}, missing, dtype, device);
  if (w.numel() != width || !is_float(w.dtype()))
    throw Error(Fault::usage,
                str(op, ": ", name, " has ", width, " floating elements, but is ", w.text()));
  return to(reshape(w, {width}), dtype);
}

// f64 by a composition: {normalised, mean, rstd} of rows.
std::tuple<Tensor, Tensor, Tensor> composed(const Tensor& rows, double eps) {
  const auto [variance, mean] = var_mean(rows, {1}, 0, true);
  const Tensor rstd = rsqrt(add(variance, eps));
  return {mul(sub(rows, mean), rstd), mean, rstd};
}

struct Normalised {
  Tensor y, mean, rstd;  // of rows: [rows, width], [rows], [rows]
};

Normalised normalise_rows(const char* op, const Tensor& rows, const Tensor& weight,
                          const Tensor& bias, double eps) {
  const int64_t n = rows.size(0), width = rows.size(1);
  const bool wide = rows.dtype() == DType::f64;
  const DType type = wide ? DType::f64 : DType::f32;
  const Tensor w = as_vector(op, "weight", weight, width, 1, type, rows.device());
  const Tensor b = as_vector(op, "bias", bias, width, 0, type, rows.device());
  if (width == 0) return {rows, Tensor::full({n}, NAN, type), Tensor::full({n}, NAN, type)};
  if (wide) {
    const auto [y, mean, rstd] = composed(rows, eps);
    return {add(mul(y, w), b), reshape(mean.detach(), {n}), reshape(rstd.detach(), {n})};
  }
  const Tensor x = is_half(rows.dtype()) ? to(rows, DType::f32) : rows;
  const auto [y, stats] = layer_norm_with_stats(op, x, w, b, eps);
  return {is_half(rows.dtype()) ? to(y, DType::f16) : y, select(stats, 1, 0), select(stats, 1, 1)};
}

// The default of PyTorch when none is given.
double eps_of(std::optional<double> eps, DType t) {
  if (eps) return *eps;
  return t == DType::f64    ? 2.220446049250313e-16
         : t == DType::f32  ? 1.1920928955078125e-07
         : t == DType::bf16 ? 0.0078125
                            : 0.0009765625;
}

Tensor rms_rows(const char* op, const Tensor& rows, const Tensor& weight, double eps) {
  const int64_t width = rows.size(1);
  const bool wide = rows.dtype() == DType::f64;
  const Tensor w =
      as_vector(op, "weight", weight, width, 1, wide ? DType::f64 : DType::f32, rows.device());
  if (width == 0) return rows;
  if (wide) return mul(mul(rows, rsqrt(add(mean(square(rows), {1}, true), eps))), w);
  if (is_half(rows.dtype())) return to(rms_norm(to(rows, DType::f32), w, eps), DType::f16);
  return rms_norm(rows, w, eps);
}

void check_skip(const char* op, const Tensor& x, const Tensor& residual) {
  check_floating_input(op, x);
  if (!residual.defined() || !(residual.shape() == x.shape()) || residual.dtype() != x.dtype())
    throw Error(Fault::usage, str(op, ": residual must be as x, ", x.text(), ", but is ",
                                  residual.defined() ? residual.text() : "undefined"));
}

bool is_fused(const Tensor& x) { return x.dtype() == DType::f32 || x.dtype() == DType::bf16; }

// Group normalisation of packed f32 or bf16 x [N, C, L].
std::tuple<Tensor, Tensor> grouped(const char* op, const Tensor& x, int64_t groups,
                                   const Tensor& weight, const Tensor& bias, double eps) {
  const int64_t n = x.size(0), channels = x.size(1);
  const Tensor in = packed(x), y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Tensor stats = Tensor::empty({n * groups, 2}, DType::f32, x.device());
  const Tensor w = packed(weight), b = packed(bias);
  launch(kGroup, {y, stats}, {in, w, b}, {groups, eps});
  if (should_record({&x, &weight, &bias}))
    record(op, {x, weight, bias}, {y},
           [in = Saved(in), w = Saved(w), stats = Saved(stats), groups,
            channels](BackwardContext& c) -> Tensors {
             const Tensor x = c.saved(in), dx = Tensor::empty(x.shape(), x.dtype(), x.device());
             const Tensor dw = Tensor::empty({channels}, DType::f32, x.device()),
                          db = Tensor::empty({channels}, DType::f32, x.device());
             launch(kGroupBackward, {dx, dw, db},
                    {packed_as(c.grad(), x.dtype()), x, c.saved(w), c.saved(stats)}, {groups});
             return {dx, dw, db};
           });
  return {y, stats};
}

// {y of x's shape, mean [N, groups], rstd [N, groups]}
std::tuple<Tensor, Tensor, Tensor> normalise_groups(const char* op, const Tensor& x, int64_t groups,
                                                    const Tensor& weight, const Tensor& bias,
                                                    double eps) {
  check_floating_input(op, x);
  if (x.dims() < 2 || groups < 1 || x.size(1) % groups)
    throw Error(Fault::usage, str(op, ": x [N, C, ...] has channels for ", groups,
                                  " groups of the same number, but is ", x.text()));
  const int64_t n = x.size(0), channels = x.size(1);
  const bool wide = x.dtype() == DType::f64;
  const DType type = wide ? DType::f64 : DType::f32;
  const Tensor w = as_vector(op, "weight", weight, channels, 1, type, x.device());
  const Tensor b = as_vector(op, "bias", bias, channels, 0, type, x.device());
  if (x.numel() == 0)
    return {clone(x), Tensor::zeros({n, groups}, type), Tensor::zeros({n, groups}, type)};
  const Tensor flat = reshape(x, {n, channels, x.numel() / (n * channels)});
  if (wide) {
    const auto [y, mean, rstd] =
        composed(reshape(flat, {n * groups, flat.numel() / (n * groups)}), eps);
    const Tensor scaled =
        add(mul(reshape(y, flat.shape()), reshape(w, {channels, 1})), reshape(b, {channels, 1}));
    return {reshape(scaled, x.shape()), reshape(mean.detach(), {n, groups}),
            reshape(rstd.detach(), {n, groups})};
  }
  const Tensor in = is_half(x.dtype()) ? to(flat, DType::f32) : flat;
  const auto [y, stats] = grouped(op, in, groups, w, b, eps);
  const Tensor result = is_half(x.dtype()) ? to(y, DType::f16) : y;
  return {reshape(result, x.shape()), reshape(select(stats, 1, 0), {n, groups}),
          reshape(select(stats, 1, 1), {n, groups})};
}

// Moves a running statistic towards a new one.
void follow(const Tensor& running, const Tensor& now, double momentum) {
  if (!running.defined()) return;
  mul_(running, 1 - momentum);
  add_(running, to(now, running.dtype()), momentum);
}

// By given statistics in one pass, of f32 or bf16 x; `of_batch`: they are those of x.
Tensor normalise_channels(const Tensor& x, const Tensor& weight, const Tensor& bias,
                          const Tensor& mean, const Tensor& variance, double eps, bool of_batch) {
  const int64_t n = x.size(0), channels = x.size(1);
  const Shape flat{n, channels, x.numel() / (n * channels)};
  const Tensor in = packed(x.detach()), y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const Tensor w = packed(weight), m = packed(mean.detach()), v = packed(variance.detach());
  launch(kBatch, {reshape(y, flat)}, {reshape(in, flat), w, packed(bias), m, v}, {eps});
  if (!should_record({&x, &weight, &bias})) return y;
  record("batch_norm", {x, weight, bias}, {y},
         [in = Saved(in), w = Saved(w), m = Saved(m), rstd = rsqrt(add(v, eps)), flat,
          of_batch](BackwardContext& c) -> Tensors {
           const Tensor x = c.saved(in), dx = Tensor::empty(x.shape(), x.dtype(), x.device());
           const Tensor dw = Tensor::empty({flat[1]}, DType::f32, x.device()),
                        db = Tensor::empty({flat[1]}, DType::f32, x.device());
           const Tensor dy = packed_as(c.grad(), x.dtype());
           launch(kBatchBackward, {reshape(dx, flat), dw, db},
                  {reshape(dy, flat), reshape(x, flat), c.saved(w), c.saved(m), rstd}, {of_batch});
           return {dx, dw, db};
         });
  return y;
}

}  // namespace

Tensor layer_norm(const Tensor& x, const List& normalized_shape, const Tensor& weight,
                  const Tensor& bias, double eps) {
  const Tensor rows = as_rows("layer_norm", x, normalized_shape);
  return reshape(normalise_rows("layer_norm", rows, weight, bias, eps).y, x.shape());
}

std::tuple<Tensor, Tensor, Tensor> native_layer_norm(const Tensor& x, const List& normalized_shape,
                                                     const Tensor& weight, const Tensor& bias,
                                                     double eps) {
  const Tensor rows = as_rows("native_layer_norm", x, normalized_shape);
  const Normalised n = normalise_rows("native_layer_norm", rows, weight, bias, eps);
  Shape kept = x.shape();
  for (size_t d = 0; d < normalized_shape.size(); ++d)
    kept[kept.size() - 1 - static_cast<int>(d)] = 1;
  return {reshape(n.y, x.shape()), reshape(n.mean, kept), reshape(n.rstd, kept)};
}

Tensor rms_norm(const Tensor& x, const List& normalized_shape, const Tensor& weight,
                std::optional<double> eps) {
  const Tensor rows = as_rows("rms_norm", x, normalized_shape);
  return reshape(rms_rows("rms_norm", rows, weight, eps_of(eps, x.dtype())), x.shape());
}

Tensor skip_layer_norm(const Tensor& x, const Tensor& residual, const List& normalized_shape,
                       const Tensor& weight, const Tensor& bias, double eps) {
  const char* op = "skip_layer_norm";
  check_skip(op, x, residual);
  const Tensor rows = as_rows(op, x, normalized_shape);
  if (!is_fused(x) || rows.size(1) == 0)
    return layer_norm(add(x, residual), normalized_shape, weight, bias, eps);
  const Tensor w = as_vector(op, "weight", weight, rows.size(1), 1, DType::f32, x.device());
  const Tensor b = as_vector(op, "bias", bias, rows.size(1), 0, DType::f32, x.device());
  const Tensor other = as_rows(op, residual, normalized_shape);
  return reshape(std::get<1>(add_layer_norm(other, rows, w, b, eps)), x.shape());
}

Tensor skip_rms_norm(const Tensor& x, const Tensor& residual, const List& normalized_shape,
                     const Tensor& weight, double eps) {
  const char* op = "skip_rms_norm";
  check_skip(op, x, residual);
  const Tensor rows = as_rows(op, x, normalized_shape);
  if (!is_fused(x) || rows.size(1) == 0)
    return rms_norm(add(x, residual), normalized_shape, weight, eps);
  const Tensor w = as_vector(op, "weight", weight, rows.size(1), 1, DType::f32, x.device());
  const Tensor other = as_rows(op, residual, normalized_shape);
  return reshape(std::get<1>(add_rms_norm(other, rows, w, eps)), x.shape());
}

Tensor group_norm(const Tensor& x, int64_t num_groups, const Tensor& weight, const Tensor& bias,
                  double eps) {
  return std::get<0>(normalise_groups("group_norm", x, num_groups, weight, bias, eps));
}

std::tuple<Tensor, Tensor, Tensor> native_group_norm(const Tensor& x, const Tensor& weight,
                                                     const Tensor& bias, int64_t n, int64_t c,
                                                     int64_t hxw, int64_t group, double eps) {
  if (x.dims() < 2 || x.size(0) != n || x.size(1) != c || x.numel() != n * c * hxw)
    throw Error(Fault::usage, str("native_group_norm: x ", x.text(), " is not [", n, ", ", c, ", ",
                                  hxw, " elements]"));
  return normalise_groups("native_group_norm", x, group, weight, bias, eps);
}

Tensor instance_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const int64_t channels = x.defined() && x.dims() > 1 ? x.size(1) : 1;
  return std::get<0>(normalise_groups("instance_norm", x, channels, weight, bias, eps));
}

Tensor batch_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const Tensor& running_mean, const Tensor& running_var, bool training,
                  double momentum, double eps) {
  const char* op = "batch_norm";
  check_floating_input(op, x);
  if (x.dims() < 2) throw Error(Fault::usage, str(op, ": x is [N, C, ...], but is ", x.text()));
  if (!training && (!running_mean.defined() || !running_var.defined()))
    throw Error(Fault::usage, str(op, ": without training it needs running_mean and running_var"));
  const int64_t channels = x.size(1);
  const DType type = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const auto of = [&](const char* name, const Tensor& t, double missing) {
    return as_vector(op, name, t, channels, missing, type, x.device());
  };
  // A chip without the kernels composes it, and so do rows that are shorter than a vector.
  const bool in_rows =
      is_fused(x) && x.device().is_cpu() && x.numel() && x.numel() / (x.size(0) * channels) >= 16;
  if (!training && in_rows)
    return normalise_channels(x, of("weight", weight, 1), of("bias", bias, 0),
                              of("running_mean", running_mean, 0),
                              of("running_var", running_var, 1), eps, false);
  Shape across{channels};
  std::vector<int> dims = {0};
  for (int d = 2; d < x.dims(); ++d) across.push_back(1), dims.push_back(d);
  const auto at = [&](const char* name, const Tensor& t, double missing) {
    return reshape(of(name, t, missing), across);
  };
  Tensor mean, variance;
  if (training) {
    std::tie(variance, mean) = var_mean(to(in_rows ? x.detach() : x, type), dims, 0, true);
    const double n =
        static_cast<double>(x.numel()) / static_cast<double>(std::max<int64_t>(1, channels));
    {
      NoGrad no_grad;
      follow(running_mean, reshape(mean, {channels}), momentum);
      follow(running_var, reshape(mul(variance, n / (n - 1)), {channels}), momentum);
    }
    if (in_rows)
      return normalise_channels(x, of("weight", weight, 1), of("bias", bias, 0),
                                reshape(mean, {channels}), reshape(variance, {channels}), eps,
                                true);
    mean = reshape(mean, across), variance = reshape(variance, across);
  } else {
    mean = at("running_mean", running_mean, 0), variance = at("running_var", running_var, 1);
  }
  const Tensor scale = mul(rsqrt(add(variance, eps)), at("weight", weight, 1));
  const Tensor shift = sub(at("bias", bias, 0), mul(mean, scale));
  if (x.dtype() == type || should_record({&x, &scale, &shift}))
    return to(addcmul(shift, x, scale), x.dtype());
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  addcmul_out(y, shift, x, scale);
  return y;
}

}  // namespace wellspring
