// attention: out {o, lse}, in {q, k, v, lengths}; attention_backward: out {dq, dk, dv}, in {g, q,
// k, v, o, lse}; attr {causal, scale}. Tensors [batch, time, heads, width] with a last step of 1.

#include <cmath>

#include "chips/device/device.h"
#include "tensor/tensor.h"

namespace wellspring::device {
namespace {

constexpr int64_t kMostWidth = 256;  // as in source/attention.inc

void set(ws_long (&steps)[3], const View& v) {
  for (int d = 0; d < 3; ++d) steps[d] = v.strides[d];
}

WsAttention problem_of(const Call& call, const View& q, const View& k, const View& v) {
  WsAttention p{};
  p.B = q.shape[0], p.T = q.shape[1], p.H = q.shape[2], p.D = q.shape[3];
  p.S = k.shape[1], p.Hk = k.shape[2];
  set(p.q, q), set(p.k, k), set(p.v, v);
  p.causal = call.attr[0].i != 0;
  const double scale = call.attr[1].f;
  p.scale = static_cast<float>(scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(p.D)));
  p.type = type_of(q);
  return p;
}

bool has_rows(const View& v) { return v.shape[3] <= 1 || v.strides[3] == 1; }

void attention(const Call& call) {
  const View none;
  const View& o = call.out[0];
  const View &q = call.in[0], &k = call.in[1], &v = call.in[2];
  WsAttention p = problem_of(call, q, k, v);
  set(p.o, o);
  Launch(call, {"attention", "attention"})
      .tensor(o)
      .tensor(call.outs > 1 ? call.out[1] : none)
      .tensor(q)
      .tensor(k)
      .tensor(v)
      .tensor(call.in[3])
      .value(p)
      .run(p.B * p.T * p.H);
}
bool takes_attention(const Call& call) {
  const View& q = call.in[0];
  return takes_dtypes(call) && q.shape[3] <= kMostWidth && has_rows(call.out[0]) && has_rows(q) &&
         has_rows(call.in[1]) && has_rows(call.in[2]);
}
WS_DEVICE_KERNEL("attention", attention, takes_attention);

void attention_backward(const Call& call) {
  const View &dq = call.out[0], &dk = call.out[1], &dv = call.out[2];
  const View &g = call.in[0], &q = call.in[1], &k = call.in[2], &v = call.in[3];
  const View &o = call.in[4], &lse = call.in[5];
  WsAttention p = problem_of(call, q, k, v);
  set(p.o, o), set(p.g, g), set(p.dq, dq), set(p.dk, dk), set(p.dv, dv);
  const Tensor delta = Tensor::empty({p.B, p.H, p.T}, DType::f32, queue_of(call).device());
  Launch(call, {"attention", "attention_queries"})
      .tensor(dq)
      .tensor(delta.data())
      .tensor(g)
      .tensor(q)
      .tensor(k)
      .tensor(v)
      .tensor(o)
      .tensor(lse)
      .value(p)
      .run(p.B * p.T * p.H);
  Launch(call, {"attention", "attention_keys"})
      .tensor(dk)
      .tensor(dv)
      .tensor(delta.data())
      .tensor(g)
      .tensor(q)
      .tensor(k)
      .tensor(v)
      .tensor(lse)
      .value(p)
      .run(p.B * p.S * p.Hk);
}
bool takes_backward(const Call& call) {
  for (int i = 0; i < 3; ++i)
    if (!call.out[i].defined() || !has_rows(call.out[i])) return false;
  for (int i = 0; i < 5; ++i)
    if (!has_rows(call.in[i])) return false;
  return takes_dtypes(call) && call.in[1].shape[3] <= kMostWidth;
}
WS_DEVICE_KERNEL("attention_backward", attention_backward, takes_backward);

}  // namespace
}  // namespace wellspring::device
