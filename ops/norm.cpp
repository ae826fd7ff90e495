// Checks and derivatives of RMS and layer normalisation: four operators over two pairs of kernels.
// D width of a row.

#include "ops/norm.h"

#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/norm_call.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kRms("rms_norm"), kRmsBackward("rms_norm_backward");
KernelRef kLayer("layer_norm"), kLayerBackward("layer_norm_backward");

struct NormCall {
  const char* op;
  bool layer, adds;
  Tensor residual, x, weight, bias;  // residual only when it adds, bias only of a layer norm
  double eps;
};

void check_vector(const NormCall& c, const char* operand, const Tensor& v) {
  if (!v.defined() || v.dtype() != DType::f32 || v.dims() != 1 || v.size(0) != c.x.size(-1))
    throw Error(Fault::usage,
                str(c.op, ": ", operand, " must be f32[", c.x.size(-1), "], the width of x ",
                    c.x.text(), ", but is ", v.defined() ? v.text() : "undefined"));
}

void check_residual(const NormCall& c) {
  if (!c.adds) return;
  check_f32_or_bf16(c.op, "residual", c.residual);
  if (!(c.residual.shape() == c.x.shape()))
    throw Error(Fault::usage, str(c.op, ": residual ", c.residual.text(), " and x ", c.x.text(),
                                  " must have the same shape"));
}

void check(const NormCall& c, std::optional<DType> dtype) {
  check_f32_or_bf16(c.op, "x", c.x);
  if (c.x.dims() == 0 || c.x.size(-1) == 0)
    throw Error(Fault::usage, str(c.op, ": x ", c.x.text(), " has no last dimension to normalise"));
  check_vector(c, "weight", c.weight);
  if (c.layer) check_vector(c, "bias", c.bias);
  check_residual(c);
  if (dtype && *dtype != DType::f32 && *dtype != DType::bf16)
    throw Error(Fault::usage, str(c.op, ": the result is f32 or bf16, not ", name_of(*dtype)));
  if (!(c.eps >= 0) || !std::isfinite(c.eps))
    throw Error(Fault::usage, str(c.op, ": eps must be finite and not negative, but is ", c.eps));
}

// The gradients of residual (if there is one), x, weight and bias. `value` is what was normalised.
Tensors gradients(BackwardContext& ctx, const NormCall& c, const Tensor& value, DType x_dtype,
                  const Tensor& stats) {
  // The residual's gradient grows in its own memory when nobody else sees it.
  const bool in_place = c.adds && is_exclusive(ctx.grad(0)) && ctx.grad(0).dtype() == value.dtype();
  const Tensor dsum = c.adds ? packed(ctx.grad(0)) : Tensor(),
               dy = packed(ctx.grad(c.adds ? 1 : 0));
  if (!dy.defined()) return c.layer ? Tensors{dsum, dsum, {}, {}} : Tensors{dsum, dsum, {}};
  const int at = c.adds ? 2 : 1;
  const Tensor dx =
      in_place ? ctx.grad(0) : Tensor::empty(value.shape(), value.dtype(), value.device());
  Tensor other, dweight, dbias;
  if (x_dtype != value.dtype()) other = Tensor::empty(value.shape(), x_dtype, value.device());
  if (ctx.needs(at)) dweight = Tensor::empty({value.size(-1)}, DType::f32, value.device());
  if (c.layer && ctx.needs(at + 1))
    dbias = Tensor::empty({value.size(-1)}, DType::f32, value.device());
  launch(c.layer ? kLayerBackward : kRmsBackward, {dx, other, dweight, dbias},
         {dy, value, c.weight, stats, dsum});
  if (in_place) dx.changed();
  Tensors result;
  if (c.adds) result.push_back(dx);
  result.push_back(other.defined() ? other : dx);
  result.push_back(dweight);
  if (c.layer) result.push_back(dbias);
  return result;
}

// {sum, normalised}; sum is undefined without a residual. `with_stats` gets the statistics of the
// rows.
std::tuple<Tensor, Tensor> normalise(const NormCall& c, std::optional<DType> dtype,
                                     Tensor* with_stats = nullptr) {
  check(c, dtype);
  const bool recorded = should_record({&c.residual, &c.x, &c.weight, &c.bias});
  const Shape& shape = c.x.shape();
  const Tensor x = packed(c.x), y = Tensor::empty(shape, dtype.value_or(c.x.dtype()), x.device());
  Tensor sum, stats;
  if (c.adds) sum = Tensor::empty(shape, c.residual.dtype(), x.device());
  if (recorded || with_stats)
    stats = Tensor::empty({shape.numel() / shape[shape.size() - 1], c.layer ? 2 : 1}, DType::f32,
                          x.device());
  const Tensor weight = packed(c.weight), bias = packed(c.bias);
  launch(c.layer ? kLayer : kRms, {y, stats, sum}, {x, weight, bias, packed(c.residual)}, {c.eps});
  if (with_stats) *with_stats = stats;
  if (!recorded) return {sum, y};
  Tensors inputs, outputs;
  if (c.adds) inputs = {c.residual}, outputs = {sum};
  inputs.insert(inputs.end(), {c.x, c.weight});
  if (c.layer) inputs.push_back(c.bias);
  outputs.push_back(y);
  record(c.op, inputs, outputs,
         [op = c.op, layer = c.layer, adds = c.adds, eps = c.eps, x_dtype = x.dtype(),
          value = Saved(c.adds ? sum : x), weight = Saved(weight),
          stats = Saved(stats)](BackwardContext& ctx) {
           const NormCall saved{op, layer, adds, {}, {}, ctx.saved(weight), {}, eps};
           return gradients(ctx, saved, ctx.saved(value), x_dtype, ctx.saved(stats));
         });
  return {sum, y};
}

// f64 and f16, which the kernels do not take, go through the forms of ops/norm_forms.cpp.
bool by_named_form(const Tensor& x) {
  return x.defined() && (x.dtype() == DType::f64 || x.dtype() == DType::f16) && x.dims() > 0;
}
const Tensor& given(const char* op, const Tensor& vector) {
  if (!vector.defined()) throw Error(Fault::usage, str(op, ": a weight or bias is undefined"));
  return vector;
}
// In residual's dtype.
Tensor summed(const char* op, const Tensor& residual, const Tensor& x) {
  if (!residual.defined() || !x.defined() || !is_float(residual.dtype()) || !is_float(x.dtype()) ||
      !(residual.shape() == x.shape()))
    throw Error(
        Fault::usage,
        str(op, ": residual ", residual.defined() ? residual.text() : "undefined", " and x ",
            x.defined() ? x.text() : "undefined", " must be floating and have the same shape"));
  return add(residual, to(x, residual.dtype()));
}

}  // namespace

std::tuple<Tensor, Tensor> layer_norm_with_stats(const char* op, const Tensor& x,
                                                 const Tensor& weight, const Tensor& bias,
                                                 double eps) {
  Tensor stats;
  const Tensor y = std::get<1>(normalise({op, true, false, {}, x, weight, bias, eps}, {}, &stats));
  return {y, stats};
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps, std::optional<DType> dtype) {
  if (by_named_form(x))
    return to(rms_norm(x, {x.size(-1)}, given("rms_norm", weight), eps), dtype.value_or(x.dtype()));
  return std::get<1>(normalise({"rms_norm", false, false, {}, x, weight, {}, eps}, dtype));
}

std::tuple<Tensor, Tensor> add_rms_norm(const Tensor& residual, const Tensor& x,
                                        const Tensor& weight, double eps,
                                        std::optional<DType> dtype) {
  if (by_named_form(residual) || by_named_form(x)) {
    const Tensor sum = summed("add_rms_norm", residual, x);
    return {sum, to(rms_norm(sum, {sum.size(-1)}, given("add_rms_norm", weight), eps),
                    dtype.value_or(x.dtype()))};
  }
  return normalise({"add_rms_norm", false, true, residual, x, weight, {}, eps}, dtype);
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                  std::optional<DType> dtype) {
  if (by_named_form(x))
    return to(
        layer_norm(x, {x.size(-1)}, given("layer_norm", weight), given("layer_norm", bias), eps),
        dtype.value_or(x.dtype()));
  return std::get<1>(normalise({"layer_norm", true, false, {}, x, weight, bias, eps}, dtype));
}

std::tuple<Tensor, Tensor> add_layer_norm(const Tensor& residual, const Tensor& x,
                                          const Tensor& weight, const Tensor& bias, double eps,
                                          std::optional<DType> dtype) {
  if (by_named_form(residual) || by_named_form(x)) {
    const char* op = "add_layer_norm";
    const Tensor sum = summed(op, residual, x);
    return {sum, to(layer_norm(sum, {sum.size(-1)}, given(op, weight), given(op, bias), eps),
                    dtype.value_or(x.dtype()))};
  }
  return normalise({"add_layer_norm", true, true, residual, x, weight, bias, eps}, dtype);
}

}  // namespace wellspring
