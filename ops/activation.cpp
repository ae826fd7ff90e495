// Checks and derivative of the gated activations.

#include "ops/activation.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/dims.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
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

static bool by_tanh(const char* op, std::string_view approximate) {
  if (approximate == "none" || approximate == "tanh") return approximate == "tanh";
  throw Error(Fault::usage,
              str(op, ": approximate is \"none\" or \"tanh\", not \"", approximate, "\""));
}

Tensor gelu(const Tensor& x, std::string_view approximate) {
  return by_tanh("gelu", approximate) ? gelu_tanh(x) : gelu_erf(x);
}
const Tensor& gelu_(const Tensor& x, std::string_view approximate) {
  return by_tanh("gelu_", approximate) ? gelu_tanh_(x) : gelu_erf_(x);
}
const Tensor& gelu_out(const Tensor& out, const Tensor& x, std::string_view approximate) {
  return by_tanh("gelu", approximate) ? gelu_tanh_out(out, x) : gelu_erf_out(out, x);
}
Tensor gelu_and_mul(const Tensor& x, const Tensor& y, std::string_view approximate) {
  return by_tanh("gelu_and_mul", approximate) ? gelu_tanh_and_mul(x, y) : gelu_erf_and_mul(x, y);
}

Tensor prelu(const Tensor& x, const Tensor& weight) {
  const int64_t channels = x.dims() > 1 ? x.size(1) : 1;
  if (weight.numel() == 1) return prelu_each(x, reshape(weight, {}));
  if (weight.dims() != 1 || weight.size(0) != channels)
    throw Error(Fault::usage,
                str("prelu: weight has 1 element or ", channels, ", one for each channel of x ",
                    x.text(), ", but is ", weight.text()));
  Shape across{channels};
  for (int d = 2; d < x.dims(); ++d) across.push_back(1);
  return prelu_each(x, reshape(weight, across));
}

Tensor rrelu(const Tensor& x, double lower, double upper) {
  if (!(lower <= upper))
    throw Error(Fault::usage, str("rrelu: lower ", lower, " is above upper ", upper));
  return leaky_relu(x, (lower + upper) / 2);
}

Tensor glu(const Tensor& x, int dim) {
  const int d = dim_of("glu", x, dim);
  if (x.dims() == 0 || x.shape()[d] % 2)
    throw Error(Fault::usage, str("glu: dimension ", dim, " of x ", x.text(), " cannot be halved"));
  const int64_t half = x.shape()[d] / 2;
  return mul(narrow(x, d, 0, half), sigmoid(narrow(x, d, half, half)));
}

}  // namespace wellspring
