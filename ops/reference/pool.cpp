// Pooling; operands as in chips/cpu/kernels/pool.cpp.
#include <cmath>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

Shape shape_of(const View& v) {
  return Shape(std::span<const int64_t>(v.shape, static_cast<size_t>(v.dims)));
}

// Calls f(output, its line of rows, its line of columns, plane).
template <class F>
void each_window(const Shape& y, const Values& rows, const Values& columns, F f) {
  for (int64_t k = 0; k < y.numel(); ++k)
    f(k, &rows.data[3 * (k / y[3] % y[2])], &columns.data[3 * (k % y[3])], k / (y[2] * y[3]));
}
// Calls f(place in the plane) for the places of a window, `steps` between them when so.
template <class F>
void each_place(const double* row, const double* column, bool steps, int64_t width, F f) {
  for (double a = row[0]; a < row[1]; a += steps ? row[2] : 1)
    for (double b = column[0]; b < column[1]; b += steps ? column[2] : 1)
      f(static_cast<int64_t>(a) * width + static_cast<int64_t>(b));
}

void max_pool(const Call& call) {
  const Values x(call.in[0]), rows(call.in[1]), columns(call.in[2]);
  Values y(shape_of(call.out[0])), places(y.shape);
  const int64_t width = x.shape[3], size = x.shape[2] * width;
  each_window(y.shape, rows, columns,
              [&](int64_t k, const double* r, const double* c, int64_t plane) {
                y[k] = -INFINITY;
                places[k] = r[0] * static_cast<double>(width) + c[0];
                each_place(r, c, true, width, [&](int64_t at) {
                  const double v = x[plane * size + at];
                  if (v > y[k] || std::isnan(v)) y[k] = v, places[k] = static_cast<double>(at);
                });
              });
  y.write(call.out[0]);
  places.write(call.out[1]);
}
WS_REFERENCE("max_pool", max_pool);

void max_pool_backward(const Call& call) {
  const Values dy(call.in[0]), places(call.in[1]);
  Values dx(shape_of(call.out[0]));
  const int64_t outputs = dy.shape[2] * dy.shape[3], size = dx.shape[2] * dx.shape[3];
  for (int64_t k = 0; k < dy.size(); ++k)
    dx[k / outputs * size + static_cast<int64_t>(places[k])] += dy[k];
  dx.write(call.out[0]);
}
WS_REFERENCE("max_pool_backward", max_pool_backward);

double divisor(const Call& call, const double* r, const double* c) {
  return call.attr[0].i ? static_cast<double>(call.attr[0].i) : r[2] * c[2];
}

void avg_pool(const Call& call) {
  const Values x(call.in[0]), rows(call.in[1]), columns(call.in[2]);
  Values y(shape_of(call.out[0]));
  const int64_t width = x.shape[3], size = x.shape[2] * width;
  each_window(y.shape, rows, columns,
              [&](int64_t k, const double* r, const double* c, int64_t plane) {
                each_place(r, c, false, width, [&](int64_t at) { y[k] += x[plane * size + at]; });
                y[k] /= divisor(call, r, c);
              });
  y.write(call.out[0]);
}
WS_REFERENCE("avg_pool", avg_pool);

void avg_pool_backward(const Call& call) {
  const Values dy(call.in[0]), rows(call.in[1]), columns(call.in[2]);
  Values dx(shape_of(call.out[0]));
  const int64_t width = dx.shape[3], size = dx.shape[2] * width;
  each_window(
      dy.shape, rows, columns, [&](int64_t k, const double* r, const double* c, int64_t plane) {
        each_place(r, c, false, width,
                   [&](int64_t at) { dx[plane * size + at] += dy[k] / divisor(call, r, c); });
      });
  dx.write(call.out[0]);
}
WS_REFERENCE("avg_pool_backward", avg_pool_backward);

}  // namespace
}  // namespace wellspring::reference
