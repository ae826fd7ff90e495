// Random calls of what picks and writes by index and by mask.

#include <algorithm>

#include "ops/index.h"
#include "ops/pointwise.h"
#include "ops/random_entries.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "ops/sort.h"

namespace wellspring::random_calls {
namespace {

int64_t at(const Tensor& x, int d) {
  return x.dims() ? x.shape()[std::clamp(d < 0 ? d + x.dims() : d, 0, x.dims() - 1)] : 1;
}
// Of x's shape, seldom shorter somewhere, with places of dimension d.
Tensor places(Choices& c, const Tensor& x, int d) {
  Shape shape = x.shape();
  for (int64_t& n : std::span(&shape[0], static_cast<size_t>(shape.size())))
    if (n > 1 && c.rarely(5)) --n;
  return c.ids(shape, 0, at(x, d));
}

constexpr Entry kIndexing[] = {
    {"index_select",
     [](C c, X x) -> Tensors {
       const int d = c.dim(x.dims());
       return {index_select(x, d, c.ids({c.below(20)}, 0, at(x, d)))};
     }},
    {"gather",
     [](C c, X x) -> Tensors {
       const int d = c.dim(x.dims());
       return {gather(x, d, places(c, x, d))};
     }},
    {"scatter",
     [](C c, X x) -> Tensors {
       const int d = c.dim(x.dims());
       return {scatter(x, d, places(c, x, d), c.tensor(x.shape(), x.dtype()))};
     }},
    {"scatter_add",
     [](C c, X x) -> Tensors {
       const int d = c.dim(x.dims());
       return {scatter_add_(clone(x), d, places(c, x, d), c.tensor(x.shape(), x.dtype()))};
     }},
    {"scatter_reduce",
     [](C c, X x) -> Tensors {
       static constexpr const char* kHow[] = {"sum", "prod", "mean", "amax", "amin"};
       const int d = c.dim(x.dims());
       return {scatter_reduce(x, d, places(c, x, d), c.tensor(x.shape(), x.dtype()), c.of(kHow),
                              c.coin())};
     }},
    {"index_add",
     [](C c, X x) -> Tensors {
       const int d = c.dim(x.dims());
       const int n = c.below(9);
       return {index_add(x, d, c.ids({n}, 0, at(x, d)),
                         c.tensor(with_extent(x.shape(), d, n), x.dtype()))};
     }},
    {"index_copy",
     [](C c, X x) -> Tensors {
       const int d = c.dim(x.dims());
       const int n = c.below(9);
       return {index_copy(x, d, c.ids({n}, 0, at(x, d)),
                          c.tensor(with_extent(x.shape(), d, n), x.dtype()))};
     }},
    {"index_fill",
     [](C c, X x) -> Tensors {
       const int d = c.dim(x.dims());
       return {index_fill(x, d, c.ids({c.below(9)}, 0, at(x, d)), c.below(5))};
     }},
    {"index",
     [](C c, X x) -> Tensors {
       Tensors list;
       const Shape s = c.shape(0, 2);
       for (int d = 0; d < x.dims() && c.below(3); ++d)
         list.push_back(c.rarely(4) ? Tensor() : c.ids(c.broadcastable(s), -at(x, d), at(x, d)));
       return {index(x, list)};
     }},
    {"index_put",
     [](C c, X x) -> Tensors {
       Tensors list;
       const Shape s = c.shape(0, 2);
       for (int d = 0; d < x.dims() && c.below(3); ++d)
         list.push_back(c.ids(s, -at(x, d), at(x, d)));
       return {index_put(x, list, c.tensor({}, x.dtype()), c.coin())};
     }},
    {"masked_fill",
     [](C c, X x) -> Tensors {
       return {masked_fill(x, c.tensor(c.broadcastable(x.shape()), DType::boolean), c.below(5))};
     }},
    {"masked_select",
     [](C c, X x) -> Tensors {
       return {masked_select(x, c.tensor(c.broadcastable(x.shape()), DType::boolean))};
     }},
    {"masked_scatter",
     [](C c, X x) -> Tensors {
       return {masked_scatter(x, c.tensor(x.shape(), DType::boolean),
                              c.tensor({c.below(255)}, x.dtype()))};
     }},
    {"nonzero", [](C c, X x) -> Tensors { return {nonzero(x)}; }},
    {"take",
     [](C c, X x) -> Tensors { return {take(x, c.ids(c.shape(), -x.numel(), x.numel()))}; }},
    {"searchsorted",
     [](C c) -> Tensors {
       const Tensor x = real_of<1>(c);
       return {
           searchsorted(std::get<0>(sort(x)), c.tensor(x.shape(), x.dtype()), c.coin(), c.coin())};
     }},
};
}  // namespace

Tensors call_index(Choices& c) { return one_of(c, kIndexing); }

}  // namespace wellspring::random_calls
