// rotary, swiglu, adamw, dropout; operands as in the CPU's sources of the same names.

#include <cmath>

#include "chips/device/device.h"

namespace wellspring::device {
namespace {

// out {y}, in {x, cos, sin, positions}, attr {heads, inverse}.
void rotary(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  WsRotary p{};
  p.B = x.shape[0], p.T = x.shape[1], p.H = x.shape[2], p.D = x.shape[3];
  for (int d = 0; d < 3; ++d) p.x[d] = x.strides[d], p.y[d] = y.strides[d];
  p.heads = call.attr[0].i, p.inverse = call.attr[1].i != 0, p.type = type_of(x);
  Launch(call, {"elementwise", "rotary"})
      .tensor(y)
      .tensor(x)
      .tensor(call.in[1])
      .tensor(call.in[2])
      .tensor(call.in[3])
      .value(p)
      .run_items(p.B * p.T * p.H * (p.D / 2));
}
WS_DEVICE_KERNEL("rotary", rotary, takes_dtypes);

WsRows rows_of(const View& y) {
  WsRows r{};
  r.n = y.dims ? y.shape[y.dims - 1] : 1, r.inner = 1;
  r.rows = r.n ? count_of(y) / r.n : 0;
  return r;
}

void swiglu(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  WsRows r = rows_of(y);
  r.types[0] = type_of(y), r.types[1] = type_of(x);
  Launch(call, {"elementwise", "swiglu"}).tensor(y).tensor(x).value(r).run_items(r.rows * r.n);
}
WS_DEVICE_KERNEL("swiglu", swiglu, takes_dtypes);

void swiglu_backward(const Call& call) {
  const View &dx = call.out[0], &dy = call.in[0], &x = call.in[1];
  WsRows r = rows_of(dy);
  r.types[0] = type_of(dx), r.types[1] = type_of(dy), r.types[2] = type_of(x);
  Launch(call, {"elementwise", "swiglu_backward"})
      .tensor(dx)
      .tensor(dy)
      .tensor(x)
      .value(r)
      .run_items(r.rows * r.n);
}
WS_DEVICE_KERNEL("swiglu_backward", swiglu_backward, takes_dtypes);

// out {master, m, v, compute copy}, in {grad}, attr {lr, beta1, beta2, eps, decay, step, factor}.
void adamw(const Call& call) {
  const double lr = call.attr[0].f, beta1 = call.attr[1].f, beta2 = call.attr[2].f,
               step = static_cast<double>(call.attr[5].i);
  WsAdamw p{};
  p.total = count_of(call.out[0]);
  p.keep = static_cast<float>(1 - lr * call.attr[4].f);
  p.beta1_rest = static_cast<float>(1 - beta1);
  p.beta2 = static_cast<float>(beta2), p.beta2_rest = static_cast<float>(1 - beta2);
  p.step_size = static_cast<float>(lr / (1 - std::pow(beta1, step)));
  p.root_scale = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step)));
  p.eps = static_cast<float>(call.attr[3].f), p.grad_scale = static_cast<float>(call.attr[6].f);
  p.grad_type = type_of(call.in[0]), p.copy_type = type_of(call.out[3]);
  Launch(call, {"elementwise", "adamw"})
      .tensor(call.out[0])
      .tensor(call.out[1])
      .tensor(call.out[2])
      .tensor(call.out[3])
      .tensor(call.in[0])
      .value(p)
      .run_items(p.total);
}
bool takes_adamw(const Call& call) {
  for (int i = 0; i < 4; ++i)
    if (call.out[i].defined() && !is_packed(call.out[i])) return false;
  for (int i = 0; i < 3; ++i)
    if (call.out[i].dtype != DType::f32) return false;
  return takes_dtypes(call) && is_packed(call.in[0]);
}
WS_DEVICE_KERNEL("adamw", adamw, takes_adamw);

// out {y}, in {x}, attr {p, seed, offset}.
void dropout(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  const double p = call.attr[0].f, words = p * 4294967296.0 + 0.5;
  WsRows r{};
  r.rows = 1, r.n = count_of(x), r.inner = 1;
  r.types[0] = type_of(y), r.types[1] = type_of(x);
  const auto seed = static_cast<uint64_t>(call.attr[1].i),
             offset = static_cast<uint64_t>(call.attr[2].i);
  const uint64_t least = words < 4294967295.0 ? static_cast<uint64_t>(words) : 4294967295u;
  const auto scale = static_cast<float>(1 / (1 - p));
  Launch(call, {"elementwise", "dropout"})
      .tensor(y)
      .tensor(x)
      .value(r)
      .value(seed)
      .value(offset)
      .value(least)
      .value(scale)
      .run_items(r.n);
}
WS_DEVICE_KERNEL("dropout", dropout, takes_dtypes);

}  // namespace
}  // namespace wellspring::device
