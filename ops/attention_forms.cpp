// The forms of attention that PyTorch has: with masks, dropout, packed sequences and its own
// layout. B batch, H heads, Hk key heads, T queries, S keys, D head width.

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "ops/attention.h"
#include "ops/dropout.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

constexpr int64_t kMostWidth = 256;  // of attention()

// One call in PyTorch's layout [B, H, T, D].
struct Form {
  const char* op;
  Tensor q, k, v, mask;
  double dropout_p;
  bool causal, bottom_right;  // which query sees which keys when their numbers differ
  double scale;
  bool grouped;
  uint64_t seed;
};

struct Attended {
  Tensor output, scores;  // scores: of the composed way only, masked
};

[[noreturn]] void refuse(const Form& f, const std::string& why) {
  const auto text = [](const Tensor& t) { return t.defined() ? t.text() : "undefined"; };
  throw Error(Fault::usage,
              str(f.op, ": ", why, " (q ", text(f.q), ", k ", text(f.k), ", v ", text(f.v), ")"));
}

void check(const Form& f) {
  if (!f.q.defined() || !f.k.defined() || !f.v.defined()) refuse(f, "an operand is undefined");
  if (!is_float(f.q.dtype()) || f.k.dtype() != f.q.dtype() || f.v.dtype() != f.q.dtype())
    refuse(f, "the dtypes are one floating dtype");
  if (f.q.dims() != 4 || f.k.dims() != 4 || f.v.dims() != 4)
    refuse(f, "q, k and v are [batch, heads, time, width]");
  if (f.q.size(3) != f.k.size(3) || f.k.size(2) != f.v.size(2) || f.k.size(1) != f.v.size(1) ||
      f.k.size(0) != f.q.size(0) || f.v.size(0) != f.q.size(0))
    refuse(f, "the extents do not fit");
  const int64_t heads = f.q.size(1), kv = f.k.size(1);
  if (f.grouped ? kv == 0 || heads % kv : heads != kv)
    refuse(f, f.grouped ? "the heads of q are a multiple of those of k" : "the heads differ");
  if (f.mask.defined() && f.causal) refuse(f, "a mask and is_causal exclude one another");
  if (!(f.dropout_p >= 0 && f.dropout_p < 1))
    refuse(f, str("dropout_p is in [0, 1), not ", f.dropout_p));
  if (!std::isfinite(f.scale)) refuse(f, "scale must be finite");
}

bool is_fused(const Form& f) {
  const bool one_length = f.q.size(2) == f.k.size(2);
  return !f.mask.defined() && f.dropout_p == 0 && f.q.dtype() != DType::f64 &&
         f.v.size(3) == f.q.size(3) && f.q.size(3) <= kMostWidth &&
         (!f.causal || one_length || f.bottom_right) && f.scale != 0;
}

// bool [T, S]: which keys a query sees.
Tensor causal_mask(int64_t queries, int64_t keys, bool bottom_right, Device device) {
  std::vector<int64_t> t(queries), s(keys);
  for (int64_t i = 0; i < queries; ++i) t[i] = i + (bottom_right ? keys - queries : 0);
  for (int64_t i = 0; i < keys; ++i) s[i] = i;
  return ge(Tensor::from(std::span<const int64_t>(t), {queries, 1}, device),
            Tensor::from(std::span<const int64_t>(s), {keys}, device));
}

// t [B, Hk, S, D] as [B, Hk, 1, S, D], and q as [B, Hk, H / Hk, T, D].
Tensor split_heads(const Tensor& t, int64_t kv) {
  return reshape(t, {t.size(0), kv, t.size(1) / kv, t.size(2), t.size(3)});
}

Tensor hidden_out(const Form& f, const Tensor& scores) {
  const int64_t queries = f.q.size(2), keys = f.k.size(2);
  Tensor mask = f.mask;
  if (f.causal) mask = causal_mask(queries, keys, f.bottom_right, f.q.device());
  if (!mask.defined()) return scores;
  bool fits = mask.dims() <= 4;
  const Shape full{f.q.size(0), f.q.size(1), queries, keys};
  for (int d = 1; fits && d <= mask.dims(); ++d)
    fits = mask.size(-d) == full[4 - d] || mask.size(-d) == 1;
  if (!fits) refuse(f, str("the mask ", mask.text(), " does not broadcast to ", full.text()));
  if (mask.dtype() == DType::boolean)
    return where(mask, scores, Scalar(-std::numeric_limits<double>::infinity()));
  if (!is_float(mask.dtype())) refuse(f, str("the mask is bool or floating, not ", mask.text()));
  return add(scores, mask.dtype() == scores.dtype() ? mask : to(mask, scores.dtype()));
}

Attended composed(const Form& f) {
  const int64_t kv = f.k.size(1), heads = f.q.size(1), queries = f.q.size(2), keys = f.k.size(2);
  const Shape flat{f.q.size(0), heads, queries, keys};
  // The scores in f32, for bf16 too.
  const DType wide = f.q.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor q = split_heads(to(f.q, wide), kv), k = split_heads(to(f.k, wide), kv),
               v = split_heads(to(f.v, wide), kv);
  const Tensor raw = reshape(mul(matmul(q, transpose(k, -1, -2)), f.scale), flat);
  const Tensor scores = hidden_out(f, raw);
  Tensor p = keys ? softmax(scores, -1) : scores;
  if (keys && (f.mask.defined() || f.causal)) {
    const Tensor none =
        eq(amax(scores.detach(), {-1}, true), -std::numeric_limits<double>::infinity());
    p = where(none, Scalar(0.0), p);
  }
  if (f.dropout_p > 0 && wide == DType::f32) {
    p = dropout(p, f.dropout_p, f.seed);
  } else if (f.dropout_p > 0) {  // by the same mask
    const Tensor ones = Tensor::full(flat, 1, DType::f32, p.device());
    p = mul(p, gt(dropout(ones, f.dropout_p, f.seed), 0));
    p = mul(p, 1 / (1 - f.dropout_p));
  }
  const Tensor grouped = reshape(p, {flat[0], kv, heads / std::max<int64_t>(1, kv), queries, keys});
  const Tensor out = reshape(matmul(grouped, v), {flat[0], heads, queries, f.v.size(3)});
  return {to(out, f.q.dtype()), scores};
}

Attended attend(const Form& f) {
  check(f);
  if (!is_fused(f)) return composed(f);
  const auto turned = [](const Tensor& t) { return transpose(t, 1, 2); };
  if (f.q.dtype() == DType::f16) {
    Form wide = f;
    wide.q = to(f.q, DType::f32), wide.k = to(f.k, DType::f32), wide.v = to(f.v, DType::f32);
    return {to(attend(wide).output, DType::f16), {}};
  }
  return {turned(attention(turned(f.q), turned(f.k), turned(f.v), f.causal, f.scale)), {}};
}

double scale_of(std::optional<double> scale, const Tensor& q) {
  if (scale) return *scale;
  return q.defined() && q.dims() && q.size(-1) ? 1 / std::sqrt(static_cast<double>(q.size(-1))) : 1;
}

// log(sum(exp(scores))) [B, H, T].
Tensor log_sum(const Form& f, const Attended& a) {
  NoGrad no_grad;
  Tensor scores = a.scores;
  if (!scores.defined()) {
    Form plain = f;
    for (Tensor* t : {&plain.q, &plain.k, &plain.v}) *t = t->detach();
    scores = composed(plain).scores;
  }
  return logsumexp(scores.detach(), {-1});
}

Tensor number(uint64_t v, Device device) {
  const int64_t value = static_cast<int64_t>(v);
  return Tensor::from(std::span<const int64_t>(&value, 1), Shape{}, device);
}

// Sequences one after another in [1, total, H, D].
Tensor by_sequences(Form f, const Tensor& ends_q, const Tensor& ends_k, int64_t& most_q,
                    int64_t& most_k) {
  const auto ends = [&](const Tensor& t, int64_t total) {
    const std::vector<int64_t> e = t.to_vector<int64_t>();
    bool fits = t.dims() == 1 && !e.empty() && e.front() == 0 && e.back() == total;
    for (size_t i = 1; fits && i < e.size(); ++i) fits = e[i] >= e[i - 1];
    if (!fits) refuse(f, str("cu_seqlens rise from 0 to ", total));
    return e;
  };
  if (f.q.dims() != 4 || f.q.size(0) != 1 || f.k.size(0) != 1)
    refuse(f, "sequences one after another need a batch of 1");
  const std::vector<int64_t> q = ends(ends_q, f.q.size(2)), k = ends(ends_k, f.k.size(2));
  if (q.size() != k.size()) refuse(f, "cu_seqlens_q and cu_seqlens_k differ in length");
  std::vector<Tensor> parts;
  const Form all = f;
  for (size_t i = 1; i < q.size(); ++i) {
    const int64_t nq = q[i] - q[i - 1], nk = k[i] - k[i - 1];
    most_q = std::max(most_q, nq), most_k = std::max(most_k, nk);
    f.q = narrow(all.q, 2, q[i - 1], nq);
    f.k = narrow(all.k, 2, k[i - 1], nk), f.v = narrow(all.v, 2, k[i - 1], nk);
    f.seed = all.seed + i;
    parts.push_back(attend(f).output);
  }
  return parts.empty() ? attend(all).output : cat(parts, 2);
}

}  // namespace

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Tensor& attn_mask, double dropout_p, bool is_causal,
                                    std::optional<double> scale, bool enable_gqa, uint64_t seed) {
  Form f{"scaled_dot_product_attention",
         q,
         k,
         v,
         attn_mask,
         dropout_p,
         is_causal,
         false,
         scale_of(scale, q),
         enable_gqa,
         seed};
  if (!q.defined() || !k.defined() || !v.defined() || q.dims() < 2 || k.dims() != q.dims() ||
      v.dims() != q.dims())
    refuse(f, "q, k and v have the same two or more dimensions");
  if (q.dims() == 4) return attend(f).output;
  // The dimensions before the last three are one batch; without heads there is one.
  const auto folded = [](const Tensor& t) {
    const int64_t heads = t.dims() > 2 ? t.size(-3) : 1, time = t.size(-2), width = t.size(-1);
    const int64_t rest = heads * time * width;
    return reshape(t, {rest ? t.numel() / rest : 0, heads, time, width});
  };
  f.q = folded(q), f.k = folded(k), f.v = folded(v);
  if (attn_mask.defined() && attn_mask.dims() > 4) {
    Shape full = q.shape();
    full[full.size() - 1] = k.size(-2);
    f.mask = folded(expand(attn_mask, full));
  }
  Shape shape = q.shape();
  shape[shape.size() - 1] = v.size(-1);
  return reshape(attend(f).output, shape);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> _scaled_dot_product_efficient_attention(
    const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attn_bias,
    bool compute_log_sumexp, double dropout_p, bool is_causal, std::optional<double> scale,
    uint64_t seed) {
  const Form f{"_scaled_dot_product_efficient_attention",
               q,
               k,
               v,
               attn_bias,
               dropout_p,
               is_causal,
               false,
               scale_of(scale, q),
               false,
               seed};
  const Attended a = attend(f);
  const DType wide = q.dtype() == DType::f64 ? DType::f64 : DType::f32;
  return {a.output,
          compute_log_sumexp ? log_sum(f, a)
                             : Tensor::empty({q.size(0), q.size(1), 0}, wide, q.device()),
          number(seed, q.device()), number(0, q.device())};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, int64_t, int64_t> _efficient_attention_forward(
    const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& bias,
    const Tensor& cu_seqlens_q, const Tensor& cu_seqlens_k, std::optional<int64_t> max_seqlen_q,
    std::optional<int64_t> max_seqlen_k, double dropout_p, int64_t custom_mask_type,
    bool compute_log_sumexp, std::optional<double> scale, uint64_t seed) {
  Form f{"_efficient_attention_forward",
         query,
         key,
         value,
         bias,
         dropout_p,
         custom_mask_type != 0,
         custom_mask_type == 2,
         scale_of(scale, query),
         false,
         seed};
  if (custom_mask_type < 0 || custom_mask_type > 2)
    refuse(f, str("custom_mask_type is 0, 1 or 2, not ", custom_mask_type));
  if (cu_seqlens_q.defined() != cu_seqlens_k.defined())
    refuse(f, "cu_seqlens_q and cu_seqlens_k come together");
  if (!query.defined() || !key.defined() || !value.defined() || query.dims() != 4 ||
      key.dims() != 4 || value.dims() != 4)
    refuse(f, "query, key and value are [batch, time, heads, width]");
  f.q = transpose(query, 1, 2), f.k = transpose(key, 1, 2), f.v = transpose(value, 1, 2);
  int64_t most_q = 0, most_k = 0;
  const DType wide = query.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor out, lse = Tensor::empty({f.q.size(0), f.q.size(1), 0}, wide, query.device());
  if (cu_seqlens_q.defined()) {
    out = by_sequences(f, cu_seqlens_q, cu_seqlens_k, most_q, most_k);
  } else {
    const Attended a = attend(f);
    out = a.output, most_q = query.size(1), most_k = key.size(1);
    if (compute_log_sumexp) lse = log_sum(f, a);
  }
  return {transpose(out, 1, 2),          lse,
          number(seed, query.device()),  number(0, query.device()),
          max_seqlen_q.value_or(most_q), max_seqlen_k.value_or(most_k)};
}

}  // namespace wellspring
