// native_dropout: the form of PyTorch that gives the mask.

#include "base/error.h"
#include "base/text.h"
#include "ops/dropout.h"
#include "ops/generator.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {

static KernelRef kDropout("dropout");

std::tuple<Tensor, Tensor> native_dropout(const Tensor& x, double p, bool train,
                                          std::optional<uint64_t> seed, uint64_t offset) {
  const char* op = "native_dropout";
  if (!x.defined() || !is_float(x.dtype()))
    throw Error(Fault::usage,
                str(op, ": x must be floating, but is ", x.defined() ? x.text() : "undefined"));
  if (!(p >= 0 && p <= 1)) throw Error(Fault::usage, str(op, ": p must be in [0, 1], but is ", p));
  const auto all = [&](double v) { return Tensor::full(x.shape(), v, DType::boolean, x.device()); };
  if (!train || p == 0) return {clone(x), all(1)};
  if (p == 1) return {mul(x, 0), all(0)};
  const RandomPlace at = random_place(seed, offset, static_cast<uint64_t>(x.numel()));
  // f16 and f64 are multiplied by the mask.
  const bool fused = x.dtype() == DType::f32 || x.dtype() == DType::bf16;
  const Tensor from = fused ? packed(x) : Tensor::full(x.shape(), 1, DType::f32, x.device());
  const Tensor y = Tensor::empty(x.shape(), from.dtype(), x.device()), mask = all(0);
  launch(kDropout, {y, mask}, {from}, {p, at.seed, at.offset});
  const double scale = 1 / (1 - p);
  if (!fused) return {where(mask, mul(x, scale), Scalar(0.0)), mask};
  if (should_record({&x}))
    record(op, {x}, {y}, [mask = Saved(mask), scale](BackwardContext& c) -> Tensors {
      return {native_dropout_backward(c.grad(), c.saved(mask), scale)};
    });
  return {y, mask};
}

Tensor native_dropout_backward(const Tensor& grad, const Tensor& mask, double scale) {
  return where(mask, mul(grad, scale), Scalar(0.0));
}

}  // namespace wellspring
