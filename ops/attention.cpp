// Checks and derivative of attention. B batch, T queries, S keys, H heads, Hk key heads, D head
// width.

#include "ops/attention.h"

#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kForward("attention");
KernelRef kBackward("attention_backward");

constexpr int64_t kMostWidth = 256;

// The kernels read rows of D successive elements; anything else is copied first.
Tensor with_rows(const Tensor& t, DType dtype) {
  const bool rows = t.size(3) <= 1 || t.strides()[3] == 1;
  if (rows && t.dtype() == dtype) return t.detach();
  const Tensor copy = Tensor::empty(t.shape(), dtype, t.device());
  copy.copy_from(t);
  return copy;
}

void check(const char* op, const Tensor& q, const Tensor& k, const Tensor& v, double scale) {
  const auto fail = [&](const std::string& why) {
    throw Error(Fault::usage,
                str(op, ": ", why, " (q ", q.text(), ", k ", k.text(), ", v ", v.text(), ")"));
  };
  if (q.dims() != 4 || k.dims() != 4 || v.dims() != 4)
    fail("q, k and v are [batch, time, heads, width]");
  if (q.dtype() != DType::f32 && q.dtype() != DType::bf16) fail("the dtype must be f32 or bf16");
  if (k.dtype() != q.dtype() || v.dtype() != q.dtype()) fail("the dtypes must be the same");
  if (!(k.shape() == v.shape())) fail("k and v must have the same shape");
  if (k.size(0) != q.size(0)) fail("the batch sizes must be the same");
  if (k.size(3) != q.size(3)) fail("the head widths must be the same");
  if (q.size(3) > kMostWidth) fail(str("head widths go up to ", kMostWidth));
  if (k.size(2) == 0 ? q.size(2) != 0 : q.size(2) % k.size(2) != 0)
    fail("the number of query heads must be a multiple of the number of key heads");
  if (!std::isfinite(scale)) fail("scale must be finite");
}

struct Result {
  Tensor o, lse;
};

Result run(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lengths, bool causal,
           double scale, bool with_lse) {
  Result r;
  r.o = Tensor::empty(q.shape(), q.dtype(), q.device());
  if (with_lse) r.lse = Tensor::empty({q.size(0), q.size(2), q.size(1)}, DType::f32, q.device());
  launch(kForward, {r.o, r.lse},
         {with_rows(q, q.dtype()), with_rows(k, q.dtype()), with_rows(v, q.dtype()), lengths},
         {causal, scale});
  return r;
}

// Heads [from, from + n) of a packed tensor.
Tensor heads_of(const Tensor& packed, int64_t from, int64_t n) {
  return packed.as_strided({packed.size(0), packed.size(1), n, packed.size(3)}, packed.strides(),
                           packed.offset() + from * packed.strides()[2]);
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, bool causal, double scale) {
  check("attention", q, k, v, scale);
  const bool recorded = should_record({&q, &k, &v});
  const Result r = run(q, k, v, Tensor(), causal, scale, recorded);
  if (!recorded) return r.o;
  record("attention", {q, k, v}, {r.o},
         [q = Saved(q), k = Saved(k), v = Saved(v), o = Saved(r.o), lse = Saved(r.lse), causal,
          scale](BackwardContext& c) -> Tensors {
           const Tensor x = c.saved(q), y = c.saved(k), z = c.saved(v);
           const auto like = [](const Tensor& t) {
             return Tensor::empty(t.shape(), t.dtype(), t.device());
           };
           const Tensor dq = like(x), dk = like(y), dv = like(z);
           launch(kBackward, {dq, dk, dv},
                  {with_rows(c.grad(), x.dtype()), with_rows(x, x.dtype()), with_rows(y, x.dtype()),
                   with_rows(z, x.dtype()), c.saved(o), c.saved(lse)},
                  {causal, scale});
           return {dq, dk, dv};
         });
  return r.o;
}

Tensor attention_qkv(const Tensor& qkv, int64_t heads, int64_t kv_heads, bool causal,
                     double scale) {
  if (qkv.dims() != 4 || heads < 0 || kv_heads < 0 || qkv.size(2) != heads + 2 * kv_heads)
    throw Error(Fault::usage,
                str("attention_qkv: qkv must be [batch, time, heads + 2 kv_heads, width], "
                    "with heads ",
                    heads, " and kv_heads ", kv_heads, ", but is ", qkv.text()));
  const auto part = [heads, kv_heads](const Tensor& t, int i) {
    return i == 0 ? heads_of(t, 0, heads) : heads_of(t, heads + (i - 1) * kv_heads, kv_heads);
  };
  const Tensor q = part(qkv, 0), k = part(qkv, 1), v = part(qkv, 2);
  check("attention_qkv", q, k, v, scale);
  const bool recorded = should_record({&qkv});
  const Result r = run(q, k, v, Tensor(), causal, scale, recorded);
  if (!recorded) return r.o;
  record("attention_qkv", {qkv}, {r.o},
         [qkv = Saved(qkv), o = Saved(r.o), lse = Saved(r.lse), causal, scale,
          part](BackwardContext& c) -> Tensors {
           const Tensor x = with_rows(c.saved(qkv), c.saved(qkv).dtype());
           const Tensor d = Tensor::empty(x.shape(), x.dtype(), x.device());
           launch(kBackward, {part(d, 0), part(d, 1), part(d, 2)},
                  {with_rows(c.grad(), x.dtype()), part(x, 0), part(x, 1), part(x, 2), c.saved(o),
                   c.saved(lse)},
                  {causal, scale});
           return {d};
         });
  return r.o;
}

Tensor attention_cached(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lengths,
                        bool causal, double scale) {
  check("attention_cached", q, k, v, scale);
  if (lengths.dims() != 1 || lengths.dtype() != DType::i32 || lengths.size(0) != q.size(0))
    throw Error(Fault::usage, str("attention_cached: lengths must be i32[", q.size(0),
                                  "], one per batch row, but is ", lengths.text()));
  if (should_record({&q, &k, &v}))
    throw Error(Fault::usage,
                "attention_cached has no gradient: use attention, or NoGrad around it (Python: "
                "with wellspring.no_grad())");
  return run(q, k, v, lengths, causal, scale, false).o;
}

}  // namespace wellspring
