// The derivative of a product: g times the product of the other factors, which is right with zeros
// among them.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/reduce_plan.h"

WS_KERNELS_BEGIN

// out dx (row-major, x's shape); in x, g (g with extent 1 where reduced, row-major). In f64.
void reduce_prod_backward(const Call& call) {
  const View& dx = call.out[0];
  const View& x = call.in[0];
  const View& g = call.in[1];
  const LoadRow<double> load_x = loader<double>(x.dtype), load_g = loader<double>(g.dtype);
  const StoreRow<double> put = storer<double>(dx.dtype);
  // Two plans over the same dimensions give the places of x and dx; unmerged, so that they walk
  // alike.
  DimGroup kept, reduced, kept_dx, reduced_dx;
  int64_t place = 1, step = 1;
  for (int k = x.dims - 1; k >= 0; --k) {
    const bool gone = g.shape[k] == 1 && x.shape[k] != 1;
    DimGroup& a = gone ? reduced : kept;
    DimGroup& b = gone ? reduced_dx : kept_dx;
    a.n[a.dims] = x.shape[k], a.i[a.dims] = x.strides[k], a.o[a.dims++] = gone ? 0 : place;
    b.n[b.dims] = x.shape[k], b.i[b.dims] = step, b.o[b.dims++] = 0;
    a.count *= x.shape[k], b.count *= x.shape[k];
    step *= x.shape[k], place *= g.shape[k];
  }
  if (kept.count == 0 || reduced.count == 0) return;
  const int64_t size = static_cast<int64_t>(size_of(x.dtype)),
                size_dx = static_cast<int64_t>(size_of(dx.dtype));
  const int64_t size_g = static_cast<int64_t>(size_of(g.dtype));
  const auto value = [&](int64_t at) {
    double v;
    return *load_x(static_cast<const char*>(x.data) + at * size, 1, 1, &v);
  };
  constexpr int64_t kTile = 1 << 12;
  const int64_t share = 1 + (kTile - 1) / reduced.count;
  parallel_for((kept.count + share - 1) / share, [&](int64_t t) {
    const int64_t first = t * share, last = first + share < kept.count ? first + share : kept.count;
    GroupWalk o(kept, kept.dims, first), to(kept_dx, kept_dx.dims, first);
    for (int64_t k = first; k < last; ++k, o.next(), to.next()) {
      double product = 1, scale;
      int64_t zeros = 0;
      GroupWalk r(reduced, reduced.dims, 0), s(reduced_dx, reduced_dx.dims, 0);
      for (int64_t e = 0; e < reduced.count; ++e, r.next()) {
        const double v = value(o.in + r.in);
        if (v == 0)
          ++zeros;
        else
          product *= v;
      }
      product *= *load_g(static_cast<const char*>(g.data) + o.out * size_g, 1, 1, &scale);
      GroupWalk again(reduced, reduced.dims, 0);
      for (int64_t e = 0; e < reduced.count; ++e, again.next(), s.next()) {
        const double v = value(o.in + again.in);
        const double d = zeros == 0 ? product / v : zeros == 1 && v == 0 ? product : 0;
        put(static_cast<char*>(dx.data) + (to.in + s.in) * size_dx, 1, 1, &d);
      }
    }
  });
}
WS_KERNEL("reduce_prod_backward", reduce_prod_backward)

WS_KERNELS_END
