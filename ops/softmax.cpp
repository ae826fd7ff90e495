// Checks and derivatives of softmax and log_softmax. The kernels take packed tensors.

#include "ops/softmax.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/dims.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kSoftmax("softmax");
KernelRef kSoftmaxBackward("softmax_backward");
KernelRef kLogSoftmax("log_softmax");
KernelRef kLogSoftmaxBackward("log_softmax_backward");

Tensor run(const char* op, const KernelRef& forward, const KernelRef& back, const Tensor& x,
           int dim, std::optional<DType> dtype) {
  const int d = dim_of(op, x, dim);
  const DType type = dtype.value_or(x.dtype());
  if (!is_float(x.dtype()) || !is_float(type))
    throw Error(Fault::usage,
                str(op, " of ", x.text(), " as ", name_of(type), ": both must be floating"));
  const Tensor y = Tensor::empty(x.shape(), type, x.device());
  launch(forward, {y}, {contiguous(x.detach())}, {d});
  if (should_record({&x}))
    record(op, {x}, {y}, [&back, y = Saved(y), d, from = x.dtype()](BackwardContext& c) -> Tensors {
      const Tensor out = c.saved(y), dx = Tensor::empty(out.shape(), from, out.device());
      launch(back, {dx}, {out, contiguous(c.grad())}, {d});
      return {dx};
    });
  return y;
}

}  // namespace

Tensor softmax(const Tensor& x, int dim, std::optional<DType> dtype) {
  return run("softmax", kSoftmax, kSoftmaxBackward, x, dim, dtype);
}

Tensor log_softmax(const Tensor& x, int dim, std::optional<DType> dtype) {
  return run("log_softmax", kLogSoftmax, kLogSoftmaxBackward, x, dim, dtype);
}

}  // namespace wellspring
