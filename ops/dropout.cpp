// Checks and derivative of dropout.

#include "ops/dropout.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/generator.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {

static KernelRef kDropout("dropout");

Tensor dropout(const Tensor& x, double p, uint64_t seed, uint64_t offset) {
  const bool composed = x.defined() && (x.dtype() == DType::f64 || x.dtype() == DType::f16);
  if (!composed) check_f32_or_bf16("dropout", "x", x);
  if (!(p >= 0 && p < 1))
    throw Error(Fault::usage, str("dropout: p must be in [0, 1), but is ", p));
  if (composed) return std::get<0>(native_dropout(x, p, true, seed, offset));
  const Tensor from = packed(x), y = Tensor::empty(x.shape(), x.dtype(), x.device());
  launch(kDropout, {y}, {from}, {p, seed, offset});
  if (!should_record({&x})) return y;
  record("dropout", {x}, {y}, [=, dtype = x.dtype()](BackwardContext& c) -> Tensors {
    const bool in_place = is_exclusive(c.grad()) && c.grad().dtype() == dtype;
    const Tensor from = packed_as(c.grad(), dtype);
    const Tensor to = in_place ? c.grad() : Tensor::empty(from.shape(), dtype, from.device());
    launch(kDropout, {to}, {from}, {p, seed, offset});
    if (in_place) to.changed();
    return {to};
  });
  return y;
}

Tensor dropout_train(const Tensor& x, double p, bool train, std::optional<uint64_t> seed,
                     uint64_t offset) {
  if (!x.defined() || !is_float(x.dtype()))
    throw Error(Fault::usage,
                str("dropout: x must be floating, but is ", x.defined() ? x.text() : "undefined"));
  if (!(p >= 0 && p <= 1))
    throw Error(Fault::usage, str("dropout: p must be in [0, 1], but is ", p));
  if (!train || p == 0) return x;
  if (p == 1) return mul(x, 0);
  const RandomPlace at = random_place(seed, offset, static_cast<uint64_t>(x.numel()));
  return dropout(x, p, at.seed, at.offset);
}
const Tensor& dropout_train_(const Tensor& x, double p, bool train, std::optional<uint64_t> seed,
                             uint64_t offset) {
  const Tensor y = dropout_train(x, p, train, seed, offset);
  return y.same(x) ? x : copy_(x, y);
}

}  // namespace wellspring
