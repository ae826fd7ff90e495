// softmax and log_softmax over the dimension attr 0, and their derivatives.
#include <algorithm>
#include <cmath>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

// Calls f with the places of each row along `dim`.
template <class F>
void for_rows(const Shape& shape, int dim, F f) {
  if (shape.numel() == 0) return;
  const int64_t n = shape.size() ? shape[dim] : 1,
                step = shape.size() ? contiguous_strides(shape)[dim] : 1;
  std::vector<int64_t> row(n);
  for (int64_t k = 0; k < shape.numel(); ++k) {
    if (k / step % n) continue;
    for (int64_t j = 0; j < n; ++j) row[j] = k + j * step;
    f(row);
  }
}

void forward(const Call& call, bool log) {
  const Values x(call.in[0]);
  Values y(x.shape);
  for_rows(x.shape, static_cast<int>(call.attr[0].i), [&](const std::vector<int64_t>& row) {
    double top = -INFINITY, sum = 0;
    for (int64_t k : row) top = std::max(top, x[k]);
    for (int64_t k : row) sum += std::exp(x[k] - top);
    for (int64_t k : row) y[k] = log ? x[k] - top - std::log(sum) : std::exp(x[k] - top) / sum;
  });
  y.write(call.out[0]);
}
void softmax(const Call& call) { forward(call, false); }
WS_REFERENCE("softmax", softmax);
void log_softmax(const Call& call) { forward(call, true); }
WS_REFERENCE("log_softmax", log_softmax);

void backward(const Call& call, bool log) {
  const Values y(call.in[0]), g(call.in[1]);
  Values dx(y.shape);
  for_rows(y.shape, static_cast<int>(call.attr[0].i), [&](const std::vector<int64_t>& row) {
    double sum = 0;
    for (int64_t k : row) sum += log ? g[k] : g[k] * y[k];
    for (int64_t k : row) dx[k] = log ? g[k] - std::exp(y[k]) * sum : y[k] * (g[k] - sum);
  });
  dx.write(call.out[0]);
}
void softmax_backward(const Call& call) { backward(call, false); }
WS_REFERENCE("softmax_backward", softmax_backward);
void log_softmax_backward(const Call& call) { backward(call, true); }
WS_REFERENCE("log_softmax_backward", log_softmax_backward);

}  // namespace
}  // namespace wellspring::reference
