// Attention. PyTorch's q, k, v are [B, H, T, D]; the kernels' [B, T, H, D], which is a matter of
// strides.

#include <algorithm>
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

// What queries see: all keys, or the first ones of each batch row, of these those up to their own
// place.
struct Seen {
  bool causal = false;
  std::vector<int32_t> lengths;  // by batch row; empty: all
};
// The kernels' attributes: the first query sees the first key, whatever hides the last ones.
std::vector<Attr> attributes(const Seen& seen, double scale) {
  std::vector<Attr> all{seen.causal, scale};
  if (seen.causal) all.push_back(int64_t{0});
  return all;
}

// Whether a mask's element lets a key be seen; nothing where it adds to the score.
std::optional<bool> sees(const TensorArg& mask, int64_t at) {
  const DType t = dtype_of(mask);
  if (t == DType::boolean) return static_cast<const bool*>(mask.data)[at];
  constexpr float kNever = -1e30F;  // and less: its exponential is 0 beside any score
  const float v = t == DType::f32 ? static_cast<const float*>(mask.data)[at]
                                  : to_float(static_cast<const bf16_t*>(mask.data)[at]);
  if (v == 0) return true;
  return v <= kNever ? std::optional(false) : std::nullopt;
}

// How many keys a row of the mask lets be seen, if these are the first ones.
std::optional<int64_t> first_ones(const TensorArg& mask, int64_t row, int64_t stride,
                                  int64_t keys) {
  int64_t n = keys;
  for (int64_t j = 0; j < keys; ++j) {
    const auto seen = sees(mask, row + j * stride);
    if (!seen || (*seen && j > n)) return std::nullopt;
    if (!*seen) n = std::min(n, j);
  }
  return n;
}

// A mask that hides the ends of shorter rows, what comes later, or both, as the kernels know it.
std::optional<Seen> seen_by(const Arg& given, const TensorArg& q, const TensorArg& k, bool causal) {
  if (is_none(given)) return Seen{causal, {}};
  const TensorArg* m = taken(given);
  if (causal || !m || (m->dims != 2 && m->dims != 4) || m->numel == 0) return std::nullopt;
  const DType t = dtype_of(*m);
  if (t != DType::boolean && t != DType::f32 && t != DType::bf16) return std::nullopt;
  const int64_t full[] = {q.sizes[0], q.sizes[1], q.sizes[2], k.sizes[2]};
  int64_t strides[4] = {};
  for (int d = 4 - m->dims; d < 4; ++d) {
    const int64_t size = m->sizes[d - 4 + m->dims], stride = m->strides[d - 4 + m->dims];
    if (size != 1 && size != full[d]) return std::nullopt;
    strides[d] = size == 1 ? 0 : stride;
  }
  if (strides[1] != 0) return std::nullopt;  // heads that see different keys
  Seen seen;
  bool all = true, prefix = true, later = full[2] == full[3] && strides[2] != 0;
  std::vector<int64_t> counts(strides[2] ? static_cast<size_t>(full[2]) : 1);  // of one batch row
  for (int64_t b = 0; b < full[0]; ++b) {
    if (b > 0 && strides[0] == 0) {
      seen.lengths.push_back(seen.lengths[0]);
      continue;
    }
    for (size_t i = 0; i < counts.size(); ++i) {
      const auto n = first_ones(*m, b * strides[0] + static_cast<int64_t>(i) * strides[2],
                                strides[3], full[3]);
      if (!n || *n == 0) return std::nullopt;
      counts[i] = *n;
    }
    const int64_t length = counts.back();
    for (size_t i = 0; i < counts.size(); ++i) {
      prefix = prefix && counts[i] == length;
      later = later && counts[i] == std::min(length, static_cast<int64_t>(i) + 1);
    }
    if (!prefix && !later) return std::nullopt;
    all = all && length == full[3];
    seen.lengths.push_back(static_cast<int32_t>(length));
  }
  seen.causal = !prefix;
  if (all) seen.lengths.clear();
  return seen;
}

// query, key, value, dropout_p, is_causal, attn_mask, scale -> output, logsumexp
bool forward(Frame& f) {
  const TensorArg *q = taken(f.args[0]), *k = taken(f.args[1]), *v = taken(f.args[2]);
  const bool causal = f.args[4].i != 0;
  if (!takes_heads(q, k, v, causal) || number_of(f.args[3]) != 0.0) return false;
  const double scale = scale_of(f.args[6], *q);
  if (scale == 0 || !std::isfinite(scale)) return false;
  auto seen = seen_by(f.args[5], *q, *k, causal);
  if (!seen) return false;
  const int64_t heads = q->sizes[1], by_query[] = {q->sizes[2] * heads, 1, heads};  // as PyTorch's
  const TensorArg o = make_ordered_like(f, *q),
                  lse = make_result(f, {q->sizes, 3}, torch_bridge::kF32, by_query);
  const OwnView to = turned(o), x = turned(*q), y = turned(*k), z = turned(*v),
                n = packed_view(seen->lengths.data(), DType::i32, {q->sizes[0]});
  const View outs[] = {to.view(), view_of(lse)},
             ins[] = {x.view(), y.view(), z.view(), seen->lengths.empty() ? View{} : n.view()};
  run_kernel(kForward, outs, ins, attributes(*seen, scale));
  return true;
}

// Row b alone, with the first `times` places in time (dimension 1) of it.
OwnView row_of(const OwnView& v, int64_t b, int64_t times) {
  OwnView row = v;
  row.data = static_cast<char*>(v.data) + b * v.strides[0] * static_cast<int64_t>(size_of(v.dtype));
  row.sizes[0] = 1;
  if (times >= 0) row.sizes[1] = times;
  return row;
}

// PyTorch's gradients lie in memory as [B, T, H, D], whatever the operands do.
TensorArg gradient_like(Frame& f, const TensorArg& t) {
  const int64_t heads = t.sizes[1], times = t.sizes[2], width = t.sizes[3];
  const int64_t strides[] = {heads * times * width, width, heads * width, 1};
  return make_result(f, {t.sizes, 4}, t.type, strides);
}

void clear(const OwnView& v) {
  static KernelRef kernel("fill");
  run_kernel(kernel, {v.view()}, {}, {0.0});
}

// grad_out, query, key, value, out, logsumexp, dropout_p, is_causal, attn_mask, scale
bool backward(Frame& f) {
  const TensorArg *g = taken(f.args[0]), *q = taken(f.args[1]), *k = taken(f.args[2]),
                  *v = taken(f.args[3]), *o = taken(f.args[4]), *lse = taken(f.args[5]);
  const bool causal = f.args[7].i != 0;
  if (!takes_heads(q, k, v, causal) || number_of(f.args[6]) != 0.0 || !g || !o || !lse)
    return false;
  if (g->type != q->type || o->type != q->type || lse->type != torch_bridge::kF32 ||
      !same_sizes(*g, *q) || !same_sizes(*o, *q) || lse->dims != 3 ||
      lse->numel * q->sizes[3] != q->numel)
    return false;
  if (q->sizes[3] > 1 && (g->strides[3] != 1 || o->strides[3] != 1)) return false;
  const double scale = scale_of(f.args[9], *q);
  if (scale == 0 || !std::isfinite(scale)) return false;
  const auto seen = seen_by(f.args[8], *q, *k, causal);
  if (!seen) return false;
  const TensorArg dq = gradient_like(f, *q), dk = gradient_like(f, *k), dv = gradient_like(f, *v);
  const OwnView views[] = {turned(dq), turned(dk), turned(dv), turned(*g),
                           turned(*q), turned(*k), turned(*v), turned(*o)};
  OwnView sums;
  sums.data = lse->data;
  for (int d = 0; d < 3; ++d) sums.add(lse->sizes[d], lse->strides[d]);
  // One batch row, or all of them, with the keys that it sees.
  const auto run = [&](int64_t b, int64_t keys) {
    OwnView part[9];
    for (int i = 0; i < 8; ++i) {
      const bool of_keys = i == 1 || i == 2 || i == 5 || i == 6;
      part[i] = b < 0 ? views[i] : row_of(views[i], b, of_keys ? keys : -1);
    }
    part[8] = b < 0 ? sums : row_of(sums, b, -1);
    View all[9];
    for (int i = 0; i < 9; ++i) all[i] = part[i].view();
    run_kernel(kBackward, std::span(all, 3), std::span(all + 3, 6), attributes(*seen, scale));
  };
  if (seen->lengths.empty()) {
    run(-1, 0);
    return true;
  }
  clear(views[1]), clear(views[2]);  // of keys that nobody sees
  for (size_t b = 0; b < seen->lengths.size(); ++b) run(static_cast<int64_t>(b), seen->lengths[b]);
  return true;
}

}  // namespace

void add_attention(std::vector<Entry>* all) {
  all->push_back({"aten::_scaled_dot_product_flash_attention_for_cpu", 7, forward});
  all->push_back({"aten::_scaled_dot_product_flash_attention_for_cpu_backward", 10, backward});
}

}  // namespace wellspring::python
