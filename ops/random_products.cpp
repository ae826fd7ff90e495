// Random calls of products and of normalisation.

#include <algorithm>

#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/random_entries.h"

namespace wellspring::random_calls {
namespace {

// Extents of a product, seldom unequal.
int64_t extent(Choices& c) {
  static constexpr int64_t kExtents[] = {1, 2, 5, 8, 16, 17, 33, 0, 70};
  return c.of(kExtents);
}
DType product_dtype(Choices& c) { return c.rarely(4) ? c.any_dtype() : c.floating(); }

constexpr Entry kProducts[] = {
    {"mm",
     [](C c) -> Tensors {
       const int64_t k = extent(c);
       const DType t = product_dtype(c);
       return {mm(c.tensor({extent(c), k}, t), c.tensor({like(c, k), extent(c)}, t))};
     }},
    {"bmm",
     [](C c) -> Tensors {
       const int64_t k = extent(c), b = c.below(4);
       const DType t = product_dtype(c);
       return {bmm(c.tensor({b, c.below(20), k}, t),
                   c.tensor({like(c, b), like(c, k), c.below(20)}, t))};
     }},
    {"matmul",
     [](C c) -> Tensors {
       const DType t = product_dtype(c);
       const Shape a = c.shape(1, 4);
       Shape b = c.broadcastable(a);
       if (b.size() > 1) std::swap(b[b.size() - 1], b[b.size() - 2]);
       return {matmul(c.tensor(a, t), c.tensor(b, t))};
     }},
    {"addmm",
     [](C c) -> Tensors {
       const int64_t m = extent(c), n = extent(c), k = extent(c);
       const DType t = c.floating();
       return {addmm(c.tensor(c.broadcastable({m, n}), t), c.tensor({m, k}, t),
                     c.tensor({like(c, k), n}, t), c.below(3), c.below(3))};
     }},
    {"linear",
     [](C c) -> Tensors {
       const int64_t n = extent(c), k = extent(c);
       const DType t = c.floating();
       return {linear(c.tensor({extent(c), k}, t), c.tensor({n, like(c, k)}, t),
                      c.coin() ? c.tensor({n}, t) : Tensor())};
     }},
    {"mv",
     [](C c) -> Tensors {
       const int64_t k = extent(c);
       const DType t = product_dtype(c);
       return {mv(c.tensor({extent(c), k}, t), c.tensor({like(c, k)}, t))};
     }},
    {"outer",
     [](C c) -> Tensors {
       const DType t = product_dtype(c);
       return {outer(c.tensor({extent(c)}, t), c.tensor({extent(c)}, t))};
     }},
    {"mm out",
     [](C c) -> Tensors {
       const int64_t k = extent(c), m = extent(c), n = extent(c);
       const DType t = product_dtype(c);
       const Tensor out = c.tensor(c.coin() ? Shape{m, n} : Shape{0}, c.any_dtype());
       NoGrad none;
       return {mm_out(out, c.tensor({m, k}, t), c.tensor({like(c, k), n}, t))};
     }},
};
int64_t last(const Tensor& x) { return x.dims() ? x.size(-1) : 1; }

constexpr Entry kNorms[] = {
    {"layer_norm",
     [](C c, X x) -> Tensors {
       return {layer_norm(x, {like(c, last(x))},
                          c.coin() ? c.tensor({last(x)}, c.floating()) : Tensor())};
     },
     real_of<1>},
    {"rms_norm",
     [](C c, X x) -> Tensors {
       return {rms_norm(x, {like(c, last(x))},
                        c.coin() ? c.tensor({last(x)}, c.floating()) : Tensor(), 0.01)};
     },
     real_of<1>},
    {"skip_layer_norm",
     [](C c, X x) -> Tensors {
       return {
           skip_layer_norm(x, c.tensor(x.shape(), x.dtype()), {last(x)}, Tensor(), Tensor(), 0.01)};
     },
     real_of<1>},
    {"group_norm",
     [](C c, X x) -> Tensors { return {group_norm(x, 1 + c.below(3), Tensor(), Tensor(), 0.01)}; },
     real_of<2>},
};
}  // namespace

Tensors call_matmul(Choices& c) { return one_of(c, kProducts); }
Tensors call_norm(Choices& c) { return one_of(c, kNorms); }

}  // namespace wellspring::random_calls
