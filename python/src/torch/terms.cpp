// Derivatives of elementwise operators of two tensors. (PyTorch's of mse, huber and smooth_l1
// losses and of logit are as fast.)

#include "python/src/torch/call.h"
#include "tensor/dispatch.h"

namespace wellspring::python {
namespace {

using A = const Arguments&;
using R = Results;

KernelRef kPrelu("prelu_each_backward"), kCrossEntropy("bce_terms_backward");

Attr compute_type(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

R prelu_backward(A a) {  // grad_output, self, weight
  const Tensor dy = a.tensor(0), x = a.tensor(1), weight = a.tensor(2);
  if (dy.shape() != x.shape() || dy.dtype() != x.dtype() || weight.dtype() != x.dtype())
    throw NotTaken();
  const Tensor dx = Tensor::empty(x.shape(), x.dtype()), dw = Tensor::empty(x.shape(), x.dtype());
  launch(kPrelu, {dx, dw}, {dy, x, weight, Tensor()},
         {compute_type(x.dtype()), 0.0, 0.0, 0.0, 0.0});
  return std::tuple(dx, dw);
}

R cross_entropy_backward(A a) {  // grad_output, self, target, weight, reduction
  enum Reduction : int64_t { kKeep = 0, kMean = 1 };
  const Tensor dy = a.tensor(0), x = a.tensor(1), y = a.tensor(2);
  const int64_t reduction = a.integer(4);
  // PyTorch keeps the strides of x, odd ones of extents of 1 too.
  if (x.strides() != contiguous_strides(x.shape())) throw NotTaken();
  if (!a.none(3) || dy.dtype() != x.dtype() || y.dtype() != x.dtype() || y.shape() != x.shape() ||
      (reduction == kKeep ? dy.shape() != x.shape() : dy.dims() != 0))
    throw NotTaken();
  // That of a sum or mean is a number, the same for all.
  double number = reduction == kKeep ? 0 : dy.item();
  if (reduction == kMean) number /= static_cast<double>(x.numel());
  const Tensor dx = Tensor::empty(x.shape(), x.dtype());
  launch(kCrossEntropy, {dx, Tensor()}, {reduction == kKeep ? dy : Tensor(), x, y, Tensor()},
         {compute_type(x.dtype()), number, 0.0, 0.0, 0.0});
  return dx;
}

constexpr Named kTerms[] = {
    {"_prelu_kernel_backward", 3, prelu_backward, Named::kFloats},
    {"binary_cross_entropy_backward", 5, cross_entropy_backward, Named::kFloats},
};

}  // namespace

void add_terms(std::vector<Entry>* all) { add_named(kTerms, all); }

}  // namespace wellspring::python
