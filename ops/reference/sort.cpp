// Sorting, scans, searching.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

// NaN is above every number.
bool below(double a, double b) { return !std::isnan(a) && (std::isnan(b) || a < b); }

Shape shape_of(const View& v) {
  return Shape(std::span<const int64_t>(v.shape, static_cast<size_t>(v.dims)));
}

// The first elements of each row in stable order.
void choose(const Call& call, bool descending) {
  const Values x(call.in[0]);
  Values values(shape_of(call.out[0])), places(shape_of(call.out[1]));
  const int64_t n = x.extent(-1), k = values.extent(-1);
  for (int64_t row = 0; row < x.rows(); ++row) {
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const double u = x[row * n + a], v = x[row * n + b];
      return descending ? below(v, u) : below(u, v);
    });
    for (int64_t j = 0; j < k; ++j) {
      values[row * k + j] = x[row * n + order[j]];
      places[row * k + j] = static_cast<double>(order[j]);
    }
  }
  values.write(call.out[0]);
  places.write(call.out[1]);
}
void sort(const Call& call) { choose(call, call.attr[0].i != 0); }
WS_REFERENCE("sort", sort);
void topk(const Call& call) { choose(call, call.attr[0].i != 0); }
WS_REFERENCE("topk", topk);

void searchsorted(const Call& call) {
  const Values sorted(call.in[0]), x(call.in[1]);
  Values y(shape_of(call.out[0]));
  const bool right = call.attr[0].i != 0;
  const int64_t n = sorted.extent(-1), m = x.extent(-1);
  for (int64_t k = 0; k < x.size(); ++k) {
    const int64_t row = sorted.shape[0] == 1 ? 0 : k / m;
    int64_t at = 0;
    while (at < n &&
           (right ? !below(x[k], sorted[row * n + at]) : below(sorted[row * n + at], x[k])))
      ++at;
    y[k] = static_cast<double>(at);
  }
  y.write(call.out[0]);
}
WS_REFERENCE("searchsorted", searchsorted);

// Calls f(first place of the line, step between its places) for the lines along attr 0, which the
// reverse of attr 1 begins at the end.
template <class F>
void for_lines(const Call& call, const Shape& shape, F f) {
  const int dim = static_cast<int>(call.attr[0].i);
  const int64_t n = shape[dim], step = contiguous_strides(shape)[dim];
  for (int64_t k = 0; k < shape.numel(); ++k)
    if (k / step % n == 0) {
      if (call.attr[1].i)
        f(k + (n - 1) * step, -step, n);
      else
        f(k, step, n);
    }
}

template <class Join>
void scan(const Call& call, double start, Join join) {
  Values x(call.in[0]);
  for_lines(call, x.shape, [&](int64_t place, int64_t step, int64_t n) {
    double sum = start;
    for (int64_t k = 0; k < n; ++k, place += step) x[place] = sum = join(sum, x[place]);
  });
  x.write(call.out[0]);
}
void scan_sum(const Call& call) {
  scan(call, 0, [](double a, double b) { return a + b; });
}
WS_REFERENCE("scan_sum", scan_sum);
void scan_prod(const Call& call) {
  scan(call, 1, [](double a, double b) { return a * b; });
}
WS_REFERENCE("scan_prod", scan_prod);
void scan_logsumexp(const Call& call) {
  scan(call, -INFINITY, [](double a, double b) {
    const double most = std::max(a, b);
    if (std::isnan(a) || std::isnan(b)) return NAN + 0.0;
    return std::isinf(most) ? most : most + std::log(std::exp(a - most) + std::exp(b - most));
  });
}
WS_REFERENCE("scan_logsumexp", scan_logsumexp);

void extremes(const Call& call, bool greatest) {
  Values x(call.in[0]), places(x.shape);
  for_lines(call, x.shape, [&](int64_t place, int64_t step, int64_t n) {
    double best = x[place];
    int64_t at = 0;
    for (int64_t k = 0; k < n; ++k, place += step) {
      const double v = x[place];
      if (std::isnan(v) || (!std::isnan(best) && (greatest ? v >= best : v <= best)))
        best = v, at = k;
      x[place] = best, places[place] = static_cast<double>(at);
    }
  });
  x.write(call.out[0]);
  places.write(call.out[1]);
}
void scan_max(const Call& call) { extremes(call, true); }
WS_REFERENCE("scan_max", scan_max);
void scan_min(const Call& call) { extremes(call, false); }
WS_REFERENCE("scan_min", scan_min);

}  // namespace
}  // namespace wellspring::reference
