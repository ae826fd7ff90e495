// Attention. PyTorch's q, k, v are [B, H, T, D]; the kernels' [B, T, H, D], which is a matter of
// strides.

#include <cmath>

#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

KernelRef kForward("attention"), kBackward("attention_backward");

OwnView turned(const TensorArg& t) {
  OwnView v;
  v.data = t.data, v.dtype = dtype_of(t);
  for (int d : {0, 2, 1, 3}) v.add(t.sizes[d], t.strides[d]);
  return v;
}

bool takes_heads(const TensorArg* q, const TensorArg* k, const TensorArg* v, bool causal) {
  if (!q || !k || !v || q->dims != 4 || k->dims != 4 || q->type != k->type || q->type != v->type)
    return false;
  if (dtype_of(*q) != DType::f32 && dtype_of(*q) != DType::bf16) return false;
  if (!same_sizes(*k, *v) || q->numel == 0 || k->numel == 0) return false;
  const int64_t d = q->sizes[3];
  if (k->sizes[0] != q->sizes[0] || k->sizes[3] != d || d > 256 || q->sizes[1] % k->sizes[1] != 0)
    return false;
  if (causal && q->sizes[2] != k->sizes[2]) return false;  // the corner that it starts from differs
  for (const TensorArg* t : {q, k, v})
    if (t->strides[3] != 1 && d > 1) return false;
  return true;
}

double scale_of(const Arg& a, const TensorArg& q) {
  return number_of(a).value_or(1 / std::sqrt(static_cast<double>(q.sizes[3])));
}

// query, key, value, dropout_p, is_causal, attn_mask, scale -> output, logsumexp
bool forward(Frame& f) {
  const TensorArg *q = taken(f.args[0]), *k = taken(f.args[1]), *v = taken(f.args[2]);
  const bool causal = f.args[4].i != 0;
  if (!takes_heads(q, k, v, causal) || number_of(f.args[3]) != 0.0 || !is_none(f.args[5]))
    return false;
  const double scale = scale_of(f.args[6], *q);
  if (scale == 0 || !std::isfinite(scale)) return false;
  const int64_t heads = q->sizes[1], by_query[] = {q->sizes[2] * heads, 1, heads};  // as PyTorch's
  const TensorArg o = make_ordered_like(f, *q),
                  lse = make_result(f, {q->sizes, 3}, torch_bridge::kF32, by_query);
  const OwnView to = turned(o), x = turned(*q), y = turned(*k), z = turned(*v);
  run_kernel(kForward, {to.view(), view_of(lse)}, {x.view(), y.view(), z.view(), View{}},
             {causal, scale});
  return true;
}

// grad_out, query, key, value, out, logsumexp, dropout_p, is_causal, attn_mask, scale
bool backward(Frame& f) {
  const TensorArg *g = taken(f.args[0]), *q = taken(f.args[1]), *k = taken(f.args[2]),
                  *v = taken(f.args[3]), *o = taken(f.args[4]), *lse = taken(f.args[5]);
  const bool causal = f.args[7].i != 0;
  if (!takes_heads(q, k, v, causal) || number_of(f.args[6]) != 0.0 || !is_none(f.args[8]) || !g ||
      !o || !lse)
    return false;
  if (g->type != q->type || o->type != q->type || lse->type != torch_bridge::kF32 ||
      !same_sizes(*g, *q) || !same_sizes(*o, *q) || lse->dims != 3 ||
      lse->numel * q->sizes[3] != q->numel)
    return false;
  if (q->sizes[3] > 1 && (g->strides[3] != 1 || o->strides[3] != 1)) return false;
  const double scale = scale_of(f.args[9], *q);
  if (scale == 0 || !std::isfinite(scale)) return false;
  const TensorArg dq = make_ordered_like(f, *q), dk = make_ordered_like(f, *k),
                  dv = make_ordered_like(f, *v);
  const OwnView views[] = {turned(dq), turned(dk), turned(dv), turned(*g),
                           turned(*q), turned(*k), turned(*v), turned(*o)};
  run_kernel(kBackward, {views[0].view(), views[1].view(), views[2].view()},
             {views[3].view(), views[4].view(), views[5].view(), views[6].view(), views[7].view(),
              view_of(*lse)},
             {causal, scale});
  return true;
}

}  // namespace

void add_attention(std::vector<Entry>* all) {
  all->push_back({"aten::_scaled_dot_product_flash_attention_for_cpu", 7, forward});
  all->push_back({"aten::_scaled_dot_product_flash_attention_for_cpu_backward", 10, backward});
}

}  // namespace wellspring::python
