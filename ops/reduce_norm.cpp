// Checks and derivatives of norms, of variance with mean, and of the reductions that go with them.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/reduce_call.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kVar("reduce_var"), kMean("reduce_mean"), kLogSumExp("reduce_logsumexp");
KernelRef kNorm0("reduce_norm0"), kNorm1("reduce_norm1"), kNorm2("reduce_norm2"),
    kNormPower("reduce_norm_power"), kNormGreatest("reduce_norm_greatest"),
    kNormLeast("reduce_norm_least");

const KernelRef& norm_kernel(double order) {
  if (order == 0) return kNorm0;
  if (order == 1) return kNorm1;
  if (order == 2) return kNorm2;
  if (std::isinf(order)) return order > 0 ? kNormGreatest : kNormLeast;
  return kNormPower;
}

// d norm / d x: where the norm is 0, so is the derivative.
Tensor norm_gradient(const Tensor& x, const Tensor& norm, const Tensor& g, double order,
                     const Shape& kept) {
  if (order == 0) return Tensor::zeros(x.shape(), x.dtype(), x.device());
  if (order == 1) return mul(sign(x), g);
  if (order == 2) return where(eq(norm, 0), Scalar(0), mul(x, div(g, norm)));
  if (std::isinf(order)) {
    const DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
    const Tensor chosen = to(eq(abs(x), norm), wide);
    return mul(mul(sign(x), chosen), div(g, sum_to(chosen, kept)));
  }
  // |x|^(p-1) sign(x) / norm^(p-1)
  const Tensor share = mul(sign(x), pow(div(abs(x), norm), order - 1));
  return where(logical_or(eq(norm, 0), eq(x, 0)), Scalar(0), mul(share, g));
}

// The variance's gradient, from g for the variance and gm for the mean (either may be undefined).
Tensor var_gradient(const Tensor& x, const Tensor& g, const Tensor& gm, const Reduced& r,
                    double correction) {
  const auto at = [&](const Tensor& t) { return view(contiguous(t), r.kept); };
  Tensor dx;
  if (g.defined()) {
    const DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
    const Tensor center = Tensor::empty(r.kept, wide, x.device());
    launch(kMean, {center}, {x});
    const double freedom = std::max(0.0, static_cast<double>(r.count) - correction);
    dx = mul(sub(x, center), mul(at(g), 2.0 / freedom));
  }
  if (gm.defined()) {
    const Tensor share = expand(mul(at(gm), 1.0 / static_cast<double>(r.count)), x.shape());
    dx = dx.defined() ? add(dx, share) : share;
  }
  return to(dx, x.dtype());
}

void check_correction(const char* op, const Tensor& x, int64_t correction) {
  if (correction < 0)
    throw Error(Fault::usage,
                str(op, " of ", x.text(), ": correction ", correction, " is negative"));
}

}  // namespace

std::tuple<Tensor, Tensor> var_mean(const Tensor& x, const std::vector<int>& dims,
                                    int64_t correction, bool keepdim) {
  check_floating("var_mean", x);
  check_correction("var_mean", x, correction);
  const Reduced r = reduced("var_mean", x, dims, keepdim);
  Tensor out[2];
  for (Tensor& t : out) t = Tensor::empty(r.kept, x.dtype(), x.device());
  if (x.device().is_cpu()) {
    launch(kVar, {out[0], out[1]}, {x}, {correction});
  } else {  // kernels of other chips give the variance alone
    launch(kVar, {out[0]}, {x}, {correction});
    launch(kMean, {out[1]}, {x});
  }
  for (Tensor& t : out) t = t.as_strided(r.result, contiguous_strides(r.result), 0);
  if (should_record({&x}))
    record("var_mean", {x}, {out[0], out[1]},
           [x = Saved(x), r, correction](BackwardContext& c) -> Tensors {
             return {var_gradient(c.saved(x), c.grad(0), c.grad(1), r,
                                  static_cast<double>(correction))};
           });
  return {out[0], out[1]};
}

Tensor stddev(const Tensor& x, const std::vector<int>& dims, int64_t correction, bool keepdim) {
  return std::get<0>(std_mean(x, dims, correction, keepdim));
}

std::tuple<Tensor, Tensor> std_mean(const Tensor& x, const std::vector<int>& dims,
                                    int64_t correction, bool keepdim) {
  check_floating("std_mean", x);
  check_correction("std_mean", x, correction);
  Tensor deviation, mean;
  {
    NoGrad no_grad;
    std::tie(deviation, mean) = var_mean(x, dims, correction, keepdim);
    sqrt_(deviation);
  }
  if (should_record({&x})) {
    const Reduced r = reduced("std_mean", x, dims, keepdim);
    record("std_mean", {x}, {deviation, mean},
           [x = Saved(x), d = Saved(deviation), r, correction](BackwardContext& c) -> Tensors {
             Tensor g;
             if (c.grad(0).defined()) {
               const Tensor root = c.saved(d);
               g = where(eq(root, 0), Scalar(0), div(c.grad(0), mul(root, 2)));
             }
             return {var_gradient(c.saved(x), g, c.grad(1), r, static_cast<double>(correction))};
           });
  }
  return {deviation, mean};
}

Tensor vector_norm(const Tensor& x, double order, const std::vector<int>& dims, bool keepdim,
                   std::optional<DType> dtype) {
  if (dtype && *dtype != x.dtype()) {
    if (!is_float(*dtype))
      throw Error(Fault::usage,
                  str("vector_norm of ", x.text(), ": the result cannot be ", name_of(*dtype)));
    return vector_norm(to(x, *dtype), order, dims, keepdim);
  }
  check_floating("vector_norm", x);
  if (std::isnan(order)) throw Error(Fault::usage, "vector_norm: the order is NaN");
  const Reduced r = reduced("vector_norm", x, dims, keepdim);
  if (std::isinf(order) || order < 0) check_not_nothing("vector_norm", x, r.count);
  const KernelRef& kernel = norm_kernel(order);
  const Tensor y = &kernel == &kNormPower ? run_reduce(kernel, x, r, x.dtype(), {order})
                                          : run_reduce(kernel, x, r, x.dtype());
  if (should_record({&x}))
    record("vector_norm", {x}, {y},
           [x = Saved(x), y = Saved(y), r, order](BackwardContext& c) -> Tensors {
             const Tensor value = c.saved(x);
             return {to(norm_gradient(value, view(c.saved(y), r.kept),
                                      view(contiguous(c.grad()), r.kept), order, r.kept),
                        value.dtype())};
           });
  return y;
}

Tensor logsumexp(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  if (!is_float(x.dtype())) return logsumexp(to(x, DType::f32), dims, keepdim);
  const Reduced r = reduced("logsumexp", x, dims, keepdim);
  const Tensor y = run_reduce(kLogSumExp, x, r, x.dtype());
  if (should_record({&x}))
    record("logsumexp", {x}, {y}, [x = Saved(x), y = Saved(y), r](BackwardContext& c) -> Tensors {
      const Tensor value = c.saved(x), g = view(contiguous(c.grad()), r.kept);
      return {to(mul(exp(sub(value, view(c.saved(y), r.kept))), g), value.dtype())};
    });
  return y;
}

Tensor count_nonzero(const Tensor& x, const std::vector<int>& dims) {
  check_real("count_nonzero", x);
  return run_reduce(kNorm0, x, reduced("count_nonzero", x, dims, false), DType::i64);
}

namespace {
void check_some(const char* op, const Tensor& x) {
  if (x.numel() == 0)
    throw Error(Fault::usage, str(op, " of ", x.text(), ": there is none among no elements"));
}
}  // namespace
Tensor max(const Tensor& x) {
  check_some("max", x);
  return amax(x);
}
Tensor min(const Tensor& x) {
  check_some("min", x);
  return amin(x);
}
Tensor max(const Tensor& x, const Tensor& y) { return maximum(x, y); }
Tensor min(const Tensor& x, const Tensor& y) { return minimum(x, y); }

}  // namespace wellspring
