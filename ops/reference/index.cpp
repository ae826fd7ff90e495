// Picking by index. attr 0: the dimension.
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

int64_t whole(double v) { return static_cast<int64_t>(v); }

void pick(const Call& call, bool by_place) {
  const int dim = static_cast<int>(call.attr[0].i);
  const Values x(call.in[0]), index(call.in[1]);
  Values y(shape_of(call.out[0]));
  for_places(
      y.shape, x.shape, dim, [&](int64_t k, int64_t at) { return whole(index[by_place ? k : at]); },
      [&](int64_t place, int64_t k) { y[k] = x[place]; });
  y.write(call.out[0]);
}
void index_select(const Call& call) { pick(call, false); }
WS_REFERENCE("index_select", index_select);
void gather(const Call& call) { pick(call, true); }
WS_REFERENCE("gather", gather);

void add(const Call& call, bool by_place) {
  const int dim = static_cast<int>(call.attr[0].i);
  Values x(call.out[0]);
  const Values index(call.in[0]), source(call.in[1]);
  for_places(
      source.shape, x.shape, dim,
      [&](int64_t k, int64_t at) { return whole(index[by_place ? k : at]); },
      [&](int64_t place, int64_t k) { x[place] += source[k]; });
  x.write(call.out[0]);
}
void index_add(const Call& call) { add(call, false); }
WS_REFERENCE("index_add", index_add);
void scatter_add(const Call& call) { add(call, true); }
WS_REFERENCE("scatter_add", scatter_add);

}  // namespace
}  // namespace wellspring::reference
