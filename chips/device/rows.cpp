// Kernels over rows of packed tensors: softmax, norms, losses; operands as in the CPU's sources of
// the same names.

#include "chips/device/reduce.h"
#include "tensor/tensor.h"

namespace wellspring::device {
namespace {

int64_t width_of(const View& v) { return v.dims ? v.shape[v.dims - 1] : 1; }

WsRows rows_of(int64_t rows, int64_t n, std::initializer_list<const View*> typed) {
  WsRows r{};
  r.rows = rows, r.n = n, r.inner = 1;
  int t = 0;
  for (const View* v : typed) r.types[t++] = type_of(*v);
  return r;
}

// [outer, n, inner] around dimension `dim`.
WsRows rows_along(const View& x, int dim, std::initializer_list<const View*> typed) {
  WsRows r = rows_of(1, x.dims ? x.shape[dim] : 1, typed);
  for (int d = 0; d < x.dims; ++d) {
    if (d > dim) r.inner *= x.shape[d];
    if (d != dim) r.rows *= x.shape[d];
  }
  return r;
}

bool any_f64(const Call& call) {
  for (int i = 0; i < call.outs + call.ins; ++i) {
    const View& v = i < call.outs ? call.out[i] : call.in[i - call.outs];
    if (v.defined() && v.dtype == DType::f64) return true;
  }
  return false;
}

void softmax_with(const Call& call, const char* name) {
  const View &y = call.out[0], &x = call.in[0];
  const WsRows r = rows_along(x, static_cast<int>(call.attr[0].i), {&y, &x});
  if (r.n)
    Launch(call, {"softmax", name, any_f64(call) ? Real::f64 : Real::f32})
        .tensor(y)
        .tensor(x)
        .value(r)
        .run(r.rows);
}
void softmax(const Call& call) { softmax_with(call, "softmax"); }
WS_DEVICE_KERNEL("softmax", softmax, takes_dtypes);
void log_softmax(const Call& call) { softmax_with(call, "log_softmax"); }
WS_DEVICE_KERNEL("log_softmax", log_softmax, takes_dtypes);

void softmax_backward_with(const Call& call, const char* name) {
  const View &d = call.out[0], &y = call.in[0], &g = call.in[1];
  const WsRows r = rows_along(y, static_cast<int>(call.attr[0].i), {&d, &y, &g});
  if (r.n)
    Launch(call, {"softmax", name, any_f64(call) ? Real::f64 : Real::f32})
        .tensor(d)
        .tensor(y)
        .tensor(g)
        .value(r)
        .run(r.rows);
}
void softmax_backward(const Call& call) { softmax_backward_with(call, "softmax_backward"); }
WS_DEVICE_KERNEL("softmax_backward", softmax_backward, takes_dtypes);
void log_softmax_backward(const Call& call) { softmax_backward_with(call, "log_softmax_backward"); }
WS_DEVICE_KERNEL("log_softmax_backward", log_softmax_backward, takes_dtypes);

// out {y, stats, sum}, in {x, weight, bias, residual}, attr {eps}.
void norm(const Call& call, const char* name) {
  const View &y = call.out[0], &stats = call.out[1], &sum = call.out[2];
  const View &x = call.in[0], &residual = call.in[3];
  const int64_t n = width_of(x);
  const WsRows r = rows_of(count_of(x) / n, n, {&x, &y, &sum, &residual});
  const auto eps = static_cast<float>(call.attr[0].f);
  Launch(call, {"norm", name})
      .tensor(y)
      .tensor(stats)
      .tensor(sum)
      .tensor(x)
      .tensor(call.in[1])
      .tensor(call.in[2])
      .tensor(residual)
      .value(r)
      .value(eps)
      .run(r.rows);
}
void rms_norm(const Call& call) { norm(call, "rms_norm"); }
WS_DEVICE_KERNEL("rms_norm", rms_norm, takes_dtypes);
void layer_norm(const Call& call) { norm(call, "layer_norm"); }
WS_DEVICE_KERNEL("layer_norm", layer_norm, takes_dtypes);

// out {dx, dx2, dweight, dbias}, in {dy, x, weight, stats, dsum}.
void norm_backward(const Call& call, const char* name, const char* weights) {
  constexpr int64_t kShare = 64;  // rows of a piece of the weights' gradients
  const View none;
  const View &dx = call.out[0], &dx2 = call.out[1], &dweight = call.out[2];
  const View& dbias = call.outs > 3 ? call.out[3] : none;
  const View &dy = call.in[0], &x = call.in[1], &stats = call.in[3], &dsum = call.in[4];
  const int64_t n = width_of(x);
  const WsRows r = rows_of(count_of(x) / n, n, {&dx, &dx2, &dy, &x, &dsum});
  // Before dx, which may take the memory of dsum but never that of dy and x.
  if (dweight.defined() || dbias.defined()) {
    WsReduce join{};
    join.outputs = n, join.pieces = (r.rows + kShare - 1) / kShare;
    join.out_type = static_cast<int>(DType::f32);
    const Device device = queue_of(call).device();
    const auto parts_for = [&](const View& v) {
      return v.defined() ? Tensor::empty({join.pieces, n}, DType::f32, device) : Tensor();
    };
    const Tensor parts_w = parts_for(dweight), parts_b = parts_for(dbias);
    Launch(call, {"norm", weights})
        .tensor(dweight.defined() ? parts_w.data() : nullptr)
        .tensor(dbias.defined() ? parts_b.data() : nullptr)
        .tensor(dy)
        .tensor(x)
        .tensor(stats)
        .value(r)
        .value(kShare)
        .run((n + WS_ITEMS - 1) / WS_ITEMS * join.pieces);
    if (dweight.defined()) fold_pieces(call, "sum", join, dweight.data, parts_w.data());
    if (dbias.defined()) fold_pieces(call, "sum", join, dbias.data, parts_b.data());
  }
  Launch(call, {"norm", name})
      .tensor(dx)
      .tensor(dx2)
      .tensor(dy)
      .tensor(x)
      .tensor(call.in[2])
      .tensor(stats)
      .tensor(dsum)
      .value(r)
      .run(r.rows);
}
void rms_norm_backward(const Call& call) {
  norm_backward(call, "rms_norm_backward", "rms_norm_backward_weights");
}
WS_DEVICE_KERNEL("rms_norm_backward", rms_norm_backward, takes_dtypes);
void layer_norm_backward(const Call& call) {
  norm_backward(call, "layer_norm_backward", "layer_norm_backward_weights");
}
WS_DEVICE_KERNEL("layer_norm_backward", layer_norm_backward, takes_dtypes);

// out {losses, lse, gradient}, in {logits, targets}, attr {logit scale, factor, ignore_index}.
void cross_entropy(const Call& call) {
  const View &losses = call.out[0], &lse = call.out[1], &gradient = call.out[2];
  const View &x = call.in[0], &targets = call.in[1];
  const WsRows r = rows_of(x.shape[0], x.shape[1], {&x, &targets, &gradient});
  const int64_t step = x.strides[0], gradient_step = gradient.defined() ? gradient.strides[0] : 0;
  const auto scale = static_cast<float>(call.attr[0].f),
             factor = static_cast<float>(call.attr[1].f);
  const int64_t ignore = call.attr[2].i;
  Launch(call, {"loss", "cross_entropy"})
      .tensor(losses)
      .tensor(lse)
      .tensor(gradient)
      .tensor(x)
      .tensor(targets)
      .value(r)
      .value(step)
      .value(gradient_step)
      .value(scale)
      .value(factor)
      .value(ignore)
      .run(r.rows);
}
WS_DEVICE_KERNEL("cross_entropy", cross_entropy, takes_dtypes);

// out {dlogits}, in {logits, targets, lse}, attr {factor, ignore_index}.
void cross_entropy_backward(const Call& call) {
  const View &d = call.out[0], &x = call.in[0], &targets = call.in[1];
  const WsRows r = rows_of(x.shape[0], x.shape[1], {&x, &targets, &d});
  const auto factor = static_cast<float>(call.attr[0].f);
  const int64_t ignore = call.attr[1].i;
  Launch(call, {"loss", "cross_entropy_backward"})
      .tensor(d)
      .tensor(x)
      .tensor(targets)
      .tensor(call.in[2])
      .value(r)
      .value(factor)
      .value(ignore)
      .run_items(r.rows * r.n);
}
WS_DEVICE_KERNEL("cross_entropy_backward", cross_entropy_backward, takes_dtypes);

// out {losses}, in {log probabilities, targets}, attr {ignore_index}.
void nll_loss(const Call& call) {
  const View &x = call.in[0], &targets = call.in[1];
  const WsRows r = rows_of(x.shape[0], x.shape[1], {&x, &targets});
  const int64_t ignore = call.attr[0].i;
  Launch(call, {"loss", "nll_loss"})
      .tensor(call.out[0])
      .tensor(x)
      .tensor(targets)
      .value(r)
      .value(ignore)
      .run_items(r.rows);
}
WS_DEVICE_KERNEL("nll_loss", nll_loss, takes_dtypes);

// out {d}, in {targets}, attr {value, ignore_index}.
void nll_loss_backward(const Call& call) {
  const View &d = call.out[0], &targets = call.in[0];
  const WsRows r = rows_of(d.shape[0], d.shape[1], {&d, &targets, &d});
  const auto value = static_cast<float>(call.attr[0].f);
  const int64_t ignore = call.attr[1].i;
  Launch(call, {"loss", "nll_loss_backward"})
      .tensor(d)
      .tensor(targets)
      .value(r)
      .value(value)
      .value(ignore)
      .run_items(r.rows * r.n);
}
WS_DEVICE_KERNEL("nll_loss_backward", nll_loss_backward, takes_dtypes);

}  // namespace
}  // namespace wellspring::device
