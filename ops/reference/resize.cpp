// Resizing by the nearest element; operands as in chips/cpu/kernels/resize.cpp.
#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

// Calls f(index of the large image, index of the small one).
template <class F>
void each_place(const Shape& y, const Shape& x, const Values& rows, const Values& columns, F f) {
  for (int64_t k = 0; k < y.numel(); ++k) {
    const int64_t j = k % y[3], i = k / y[3] % y[2], plane = k / (y[2] * y[3]);
    f(k, (plane * x[2] + static_cast<int64_t>(rows[i])) * x[3] + static_cast<int64_t>(columns[j]));
  }
}
Shape shape_of(const View& v) {
  return Shape(std::span<const int64_t>(v.shape, static_cast<size_t>(v.dims)));
}

void nearest(const Call& call) {
  const Values x(call.in[0]), rows(call.in[1]), columns(call.in[2]);
  Values y(shape_of(call.out[0]));
  each_place(y.shape, x.shape, rows, columns, [&](int64_t a, int64_t b) { y[a] = x[b]; });
  y.write(call.out[0]);
}
WS_REFERENCE("resize_nearest", nearest);

void nearest_backward(const Call& call) {
  const Values dy(call.in[0]), rows(call.in[1]), columns(call.in[2]);
  Values dx(shape_of(call.out[0]));
  each_place(dy.shape, dx.shape, rows, columns, [&](int64_t a, int64_t b) { dx[b] += dy[a]; });
  dx.write(call.out[0]);
}
WS_REFERENCE("resize_nearest_backward", nearest_backward);

}  // namespace
}  // namespace wellspring::reference
