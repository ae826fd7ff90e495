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
Tensor changed(const Tensor& x) { return clone(x); }

constexpr Entry kIndexing[] = {
    {"index_select",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       const int d = c.dim(x.dims());
       return {index_select(x, d, c.ids({c.below(20)}, 0, at(x, d)))};
     }},
    {"gather",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       const int d = c.dim(x.dims());
       return {gather(x, d, places(c, x, d))};
     }},
    {"scatter",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       const int d = c.dim(x.dims());
       return {scatter(x, d, places(c, x, d), c.tensor(x.shape(), x.dtype()))};
     }},
    {"scatter_add",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       const int d = c.dim(x.dims());
       return {scatter_add_(changed(x), d, places(c, x, d), c.tensor(x.shape(), x.dtype()))};
     }},
    {"scatter_reduce",
     [](Choices& c) -> Tensors {
       static constexpr const char* kHow[] = {"sum", "prod", "mean", "amax", "amin"};
       const Tensor x = some(c);
       const int d = c.dim(x.dims());
       return {scatter_reduce(x, d, places(c, x, d), c.tensor(x.shape(), x.dtype()), c.of(kHow),
                              c.coin())};
     }},
    {"index_add",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       const int d = c.dim(x.dims());
       const int n = c.below(9);
       Shape s = x.shape();
       if (s.size()) s[std::clamp(d < 0 ? d + s.size() : d, 0, s.size() - 1)] = n;
       return {index_add(x, d, c.ids({n}, 0, at(x, d)), c.tensor(s, x.dtype()))};
     }},
    {"index_copy",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       const int d = c.dim(x.dims());
       const int n = c.below(9);
       Shape s = x.shape();
       if (s.size()) s[std::clamp(d < 0 ? d + s.size() : d, 0, s.size() - 1)] = n;
       return {index_copy(x, d, c.ids({n}, 0, at(x, d)), c.tensor(s, x.dtype()))};
     }},
    {"index_fill",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       const int d = c.dim(x.dims());
       return {index_fill(x, d, c.ids({c.below(9)}, 0, at(x, d)), c.below(5))};
     }},
    {"index",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       Tensors list;
       const Shape s = c.shape(0, 2);
       for (int d = 0; d < x.dims() && c.below(3); ++d)
         list.push_back(c.rarely(4) ? Tensor() : c.ids(c.broadcastable(s), -at(x, d), at(x, d)));
       return {index(x, list)};
     }},
    {"index_put",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       Tensors list;
       const Shape s = c.shape(0, 2);
       for (int d = 0; d < x.dims() && c.below(3); ++d)
         list.push_back(c.ids(s, -at(x, d), at(x, d)));
       return {index_put(x, list, c.tensor({}, x.dtype()), c.coin())};
     }},
    {"masked_fill",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       return {masked_fill(x, c.tensor(c.broadcastable(x.shape()), DType::boolean), c.below(5))};
     }},
    {"masked_select",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       return {masked_select(x, c.tensor(c.broadcastable(x.shape()), DType::boolean))};
     }},
    {"masked_scatter",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       return {masked_scatter(x, c.tensor(x.shape(), DType::boolean),
                              c.tensor({c.below(255)}, x.dtype()))};
     }},
    {"nonzero", [](Choices& c) -> Tensors { return {nonzero(some(c))}; }},
    {"take",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       return {take(x, c.ids(c.shape(), -x.numel(), x.numel()))};
     }},
    {"searchsorted",
     [](Choices& c) -> Tensors {
       const Tensor x = real(c, 1);
       return {
           searchsorted(std::get<0>(sort(x)), c.tensor(x.shape(), x.dtype()), c.coin(), c.coin())};
     }},
    {"where",
     [](Choices& c) -> Tensors {
       const Tensor x = some(c);
       return {index_select(masked_fill(x, c.tensor(x.shape(), DType::boolean), 1), 0,
                            c.ids({3}, 0, at(x, 0)))};
     }},
};
}  // namespace

Tensors call_index(Choices& c) { return one_of(c, kIndexing); }

}  // namespace wellspring::random_calls
