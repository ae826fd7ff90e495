// Picking and writing by index. attr 0: the dimension, or how many are indexed.
#include <algorithm>
#include <cmath>

#include "base/index_error.h"
#include "base/text.h"
#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

// Calls f(place in a tensor of shape `from`, place in `shape`) for all places of `shape`, with the
// index along `dim` replaced by index_of(place, index along dim).
template <class IndexOf, class F>
void for_places(const Shape& shape, const Shape& from, int dim, IndexOf index_of, F f) {
  const Shape steps = contiguous_strides(from);
  for (int64_t k = 0; k < shape.numel(); ++k) {
    int64_t place = 0, rest = k;
    for (int d = shape.size() - 1; d >= 0; --d) {
      const int64_t at = rest % shape[d];
      rest /= shape[d];
      place += steps[d] * (d == dim ? index_of(k, at) : at);
    }
    f(place, k);
  }
}

Shape shape_of(const View& v) {
  return Shape(std::span<const int64_t>(v.shape, static_cast<size_t>(v.dims)));
}

int64_t checked(double v, int64_t extent, int dim) {
  const auto at = static_cast<int64_t>(v);
  if (at < 0 || at >= extent)
    throw IndexError(
        str("index ", at, " is out of range for dimension ", dim, " of extent ", extent));
  return at;
}

void pick(const Call& call, bool by_place) {
  const int dim = static_cast<int>(call.attr[0].i);
  const Values x(call.in[0]), index(call.in[1]);
  Values y(shape_of(call.out[0]));
  for_places(
      y.shape, x.shape, dim,
      [&](int64_t k, int64_t at) { return checked(index[by_place ? k : at], x.shape[dim], dim); },
      [&](int64_t place, int64_t k) { y[k] = x[place]; });
  y.write(call.out[0]);
}
void index_select(const Call& call) { pick(call, false); }
WS_REFERENCE("index_select", index_select);
void gather(const Call& call) { pick(call, true); }
WS_REFERENCE("gather", gather);

template <class Meet>
void put(const Call& call, bool by_place, Meet meet) {
  const int dim = static_cast<int>(call.attr[0].i);
  Values x(call.out[0]);
  const Values index(call.in[0]), source(call.in[1]);
  for_places(
      source.shape, x.shape, dim,
      [&](int64_t k, int64_t at) { return checked(index[by_place ? k : at], x.shape[dim], dim); },
      [&](int64_t place, int64_t k) { x[place] = meet(x[place], source[k]); });
  x.write(call.out[0]);
}
double second(double, double b) { return b; }
double sum(double a, double b) { return a + b; }
double product(double a, double b) { return a * b; }
double greater(double a, double b) { return std::isnan(a) || a >= b ? a : b; }
double less(double a, double b) { return std::isnan(a) || a <= b ? a : b; }

void index_add(const Call& call) { put(call, false, sum); }
WS_REFERENCE("index_add", index_add);
void index_copy(const Call& call) { put(call, false, second); }
WS_REFERENCE("index_copy", index_copy);
void scatter(const Call& call) { put(call, true, second); }
WS_REFERENCE("scatter", scatter);
void scatter_add(const Call& call) { put(call, true, sum); }
WS_REFERENCE("scatter_add", scatter_add);
void scatter_prod(const Call& call) { put(call, true, product); }
WS_REFERENCE("scatter_prod", scatter_prod);
void scatter_amax(const Call& call) { put(call, true, greater); }
WS_REFERENCE("scatter_amax", scatter_amax);
void scatter_amin(const Call& call) { put(call, true, less); }
WS_REFERENCE("scatter_amin", scatter_amin);

// Calls f(place in x, place in the result) with the first m dimensions of x indexed.
template <class F>
void for_list(const Call& call, const Shape& x, F f) {
  const int m = static_cast<int>(call.attr[0].i);
  std::vector<Values> index;
  for (int k = 0; k < m; ++k) index.emplace_back(call.in[1 + k]);
  const Shape steps = contiguous_strides(x);
  int64_t inner = 1;
  for (int k = m; k < x.size(); ++k) inner *= x[k];
  for (int64_t b = 0; b < index[0].size(); ++b) {
    int64_t place = 0;
    for (int k = 0; k < m; ++k) {
      const double at = index[k][b];
      place += steps[k] * checked(at < 0 ? at + static_cast<double>(x[k]) : at, x[k], k);
    }
    for (int64_t j = 0; j < inner; ++j) f(place + j, b * inner + j);
  }
}

void index(const Call& call) {
  const Values x(call.in[0]);
  Values y(shape_of(call.out[0]));
  for_list(call, x.shape, [&](int64_t place, int64_t k) { y[k] = x[place]; });
  y.write(call.out[0]);
}
WS_REFERENCE("index", index);

void index_put(const Call& call) {
  Values x(call.out[0]);
  const Values values(call.in[0]);
  const bool add = call.attr[1].i != 0;
  for_list(call, x.shape,
           [&](int64_t place, int64_t k) { x[place] = add ? x[place] + values[k] : values[k]; });
  x.write(call.out[0]);
}
WS_REFERENCE("index_put", index_put);

// Masks: counts of each 16384 elements, then what is picked.
void nonzero_count(const Call& call) {
  const Values x(call.in[0]);
  Values counts(shape_of(call.out[0]));
  for (int64_t k = 0; k < x.size(); ++k) counts[k >> 14] += x[k] != 0;
  counts.write(call.out[0]);
}
WS_REFERENCE("nonzero_count", nonzero_count);

void nonzero(const Call& call) {
  const Values x(call.in[0]);
  Values places(shape_of(call.out[0]));
  int64_t found = 0;
  for (int64_t k = 0; k < x.size(); ++k) {
    if (x[k] == 0) continue;
    int64_t rest = k;
    for (int d = x.shape.size() - 1; d >= 0; --d) {
      places[found * x.shape.size() + d] = static_cast<double>(rest % x.shape[d]);
      rest /= x.shape[d];
    }
    ++found;
  }
  places.write(call.out[0]);
}
WS_REFERENCE("nonzero", nonzero);

void masked_select(const Call& call) {
  const Values x(call.in[0]), mask(call.in[1]);
  Values y(shape_of(call.out[0]));
  int64_t found = 0;
  for (int64_t k = 0; k < x.size(); ++k)
    if (mask[k] != 0) y[found++] = x[k];
  y.write(call.out[0]);
}
WS_REFERENCE("masked_select", masked_select);

void masked_scatter(const Call& call) {
  Values x(call.out[0]);
  const Values source(call.in[0]), mask(call.in[1]);
  int64_t found = 0;
  for (int64_t k = 0; k < x.size(); ++k)
    if (mask[k] != 0) x[k] = source[found++];
  x.write(call.out[0]);
}
WS_REFERENCE("masked_scatter", masked_scatter);

}  // namespace
}  // namespace wellspring::reference
