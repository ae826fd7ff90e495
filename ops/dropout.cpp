// Checks and derivative of dropout.

#include "ops/dropout.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/packed.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {

static KernelRef kDropout("dropout");

Tensor dropout(const Tensor& x, double p, uint64_t seed, uint64_t offset) {
  check_f32_or_bf16("dropout", "x", x);
  if (!(p >= 0 && p < 1))
    throw Error(Fault::usage, str("dropout: p must be in [0, 1), but is ", p));
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

}  // namespace wellspring
