// The fused step of AdamW: torch.optim.AdamW(..., fused=True).

#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

KernelRef kAdamw("adamw");
using torch_bridge::kF32;

bool is_state(const TensorArg& t, const TensorArg& like) {
  return takes(t) && t.type == kF32 && is_contiguous(t) && same_sizes(t, like);
}

// self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, lr, beta1, beta2, weight_decay,
// eps, amsgrad, maximize, grad_scale, found_inf
bool adamw(Frame& f) {
  const Arg* a = f.args;
  for (int i : {0, 1, 2, 3, 5})
    if (a[i].kind != Kind::tensors || a[i].count != a[0].count) return false;
  const auto lr = a[6].kind == Kind::tensor ? std::nullopt : number_of(a[6]);
  if (!lr || a[11].i || a[12].i || !is_none(a[13]) || !is_none(a[14])) return false;
  for (int64_t i = 0; i < a[0].count; ++i) {
    const TensorArg &p = a[0].tensors[i], &step = a[5].tensors[i];
    if (!takes(step) || step.type != kF32 || step.numel != 1) return false;
    for (int list : {0, 1, 2, 3})
      if (!is_state(a[list].tensors[i], p)) return false;
  }
  for (int64_t i = 0; i < a[0].count; ++i) {
    const TensorArg& p = a[0].tensors[i];
    if (p.numel == 0) continue;
    const auto step = static_cast<int64_t>(*static_cast<const float*>(a[5].tensors[i].data));
    run_kernel(
        kAdamw, {view_of(p), view_of(a[2].tensors[i]), view_of(a[3].tensors[i]), View{}},
        {view_of(a[1].tensors[i])},
        {*lr, *number_of(a[7]), *number_of(a[8]), *number_of(a[10]), *number_of(a[9]), step, 1.0});
  }
  return true;
}

}  // namespace

void add_optimizer(std::vector<Entry>* all) { all->push_back({"aten::_fused_adamw_", 15, adamw}); }

}  // namespace wellspring::python
