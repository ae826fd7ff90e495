// matmul: out c; in a, b, bias; attr accumulate. Dimensions before the last two are a batch.

#include "chips/device/device.h"

namespace wellspring::device {
namespace {

constexpr int64_t kTileM = 64, kTileN = 32;  // as in source/matmul.inc

void matmul(const Call& call) {
  const View &c = call.out[0], &a = call.in[0], &b = call.in[1], &bias = call.in[2];
  WsMatmul p{};
  const int n = c.dims;
  p.m = c.shape[n - 2], p.n = c.shape[n - 1], p.k = a.shape[n - 1];
  p.a_row = a.strides[n - 2], p.a_col = a.strides[n - 1];
  p.b_row = b.strides[n - 2], p.b_col = b.strides[n - 1];
  p.c_row = c.strides[n - 2], p.c_col = c.strides[n - 1];
  p.batch = 1, p.batch_dims = n - 2;
  for (int d = 0; d < n - 2; ++d) {
    p.batch *= c.shape[d];
    p.batch_n[d] = c.shape[d], p.batch_a[d] = a.strides[d];
    p.batch_b[d] = b.strides[d], p.batch_c[d] = c.strides[d];
  }
  p.a_type = type_of(a), p.b_type = type_of(b), p.c_type = type_of(c);
  if (bias.defined()) p.bias_type = type_of(bias), p.bias_step = bias.strides[0];
  p.accumulate = call.attr[0].i != 0;
  p.tiles_m = (p.m + kTileM - 1) / kTileM, p.tiles_n = (p.n + kTileN - 1) / kTileN;
  Launch(call, {"matmul", "matmul", a.dtype == DType::f64 ? Real::f64 : Real::f32})
      .tensor(c)
      .tensor(a)
      .tensor(b)
      .tensor(bias)
      .value(p)
      .run(p.batch * p.tiles_m * p.tiles_n);
}
bool takes_matmul(const Call& call) {
  const int n = call.out[0].dims;
  return takes_dtypes(call) && n >= 2 && call.in[0].dims == n && call.in[1].dims == n &&
         is_float(call.out[0].dtype);
}
WS_DEVICE_KERNEL("matmul", matmul, takes_matmul);

}  // namespace
}  // namespace wellspring::device
