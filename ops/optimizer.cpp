// Checks of the optimizer's step and of the gradients' norm.

#include "ops/optimizer.h"

#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/packed.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kAdamw("adamw"), kSumSquares("sum_squares");

void check_state(const Tensor& master, const Tensor& t, const char* name, DType dtype) {
  if (!t.defined() || t.dtype() != dtype || !(t.shape() == master.shape()) || !t.is_contiguous())
    throw Error(Fault::usage,
                str("adamw_: ", name, " must be packed ", name_of(dtype), master.shape().text(),
                    ", like the master, but is ", t.defined() ? t.text() : "undefined"));
}

void check_options(const AdamwOptions& o) {
  const auto fail = [](const char* what, auto value) {
    throw Error(Fault::usage, str("adamw_: ", what, ", but it is ", value));
  };
  if (!(o.beta1 >= 0 && o.beta1 < 1)) fail("beta1 must be in [0, 1)", o.beta1);
  if (!(o.beta2 >= 0 && o.beta2 < 1)) fail("beta2 must be in [0, 1)", o.beta2);
  if (!(o.eps >= 0)) fail("eps must not be negative", o.eps);
  if (o.step < 1) fail("step counts from 1", o.step);
}

}  // namespace

void adamw_(const Tensor& master, const Tensor& grad, const Tensor& m, const Tensor& v,
            const Tensor& compute_copy, const AdamwOptions& options) {
  if (!master.defined()) throw Error(Fault::usage, "adamw_: master is undefined");
  check_state(master, master, "master", DType::f32);
  check_state(master, m, "m", DType::f32);
  check_state(master, v, "v", DType::f32);
  if (compute_copy.defined()) check_state(master, compute_copy, "compute_copy", DType::bf16);
  if (!grad.defined() || grad.dtype() != DType::f32 || !(grad.shape() == master.shape()))
    throw Error(Fault::usage,
                str("adamw_: grad must be f32", master.shape().text(), " like the master, but is ",
                    grad.defined() ? grad.text() : "undefined"));
  check_options(options);
  const AdamwOptions& o = options;
  launch(kAdamw, {master, m, v, compute_copy}, {packed(grad)},
         {o.lr, o.beta1, o.beta2, o.eps, o.weight_decay, o.step, o.grad_scale});
  for (const Tensor* t : {&master, &m, &v, &compute_copy})
    if (t->defined()) t->changed();
}

double global_norm(std::span<const Tensor> grads) {
  double sum = 0;
  for (const Tensor& g : grads) {
    if (!g.defined()) continue;
    check_f32_or_bf16("global_norm", "a gradient", g);
    const Tensor part = Tensor::empty({}, DType::f64, g.device());
    launch(kSumSquares, {part}, {packed(g)});
    sum += part.item();
  }
  return std::sqrt(sum);
}

}  // namespace wellspring
