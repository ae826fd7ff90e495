// Checks and derivative of the gated activations.

#include "ops/activation.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/packed.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {

static KernelRef kSwiglu("swiglu"), kSwigluBackward("swiglu_backward");

Tensor swiglu(const Tensor& gate_up) {
  check_f32_or_bf16("swiglu", "gate_up", gate_up);
  if (gate_up.dims() == 0 || gate_up.size(-1) % 2)
    throw Error(Fault::usage,
                str("swiglu: the last dimension of gate_up must be even (gate, then up), "
                    "but it is ",
                    gate_up.text()));
  Shape shape = gate_up.shape();
  shape[shape.size() - 1] /= 2;
  const Tensor x = packed(gate_up), y = Tensor::empty(shape, x.dtype(), x.device());
  launch(kSwiglu, {y}, {x});
  if (!should_record({&gate_up})) return y;
  record("swiglu", {gate_up}, {y}, [x = Saved(x)](BackwardContext& c) -> Tensors {
    const Tensor gate_up = c.saved(x),
                 d = Tensor::empty(gate_up.shape(), gate_up.dtype(), gate_up.device());
    launch(kSwigluBackward, {d}, {packed_as(c.grad(), gate_up.dtype()), gate_up});
    return {d};
  });
  return y;
}

}  // namespace wellspring
