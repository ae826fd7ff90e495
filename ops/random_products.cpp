// Random calls of products and convolutions, of normalisation, losses and rows of tables.

#include <algorithm>

#include "ops/conv.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/loss.h"
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
int64_t like(Choices& c, int64_t n) { return c.rarely(40) ? n + 1 : n; }
DType product_dtype(Choices& c) { return c.rarely(4) ? c.any_dtype() : c.floating(); }

Tensors call_convolution(Choices& c) {
  const int64_t groups = 1 + c.below(2), channels = groups * (1 + c.below(3));
  const int spatial = 1 + c.below(2);
  Shape image{1 + c.below(2), channels},
      taps{groups * (1 + c.below(3)), like(c, channels / groups)};
  std::vector<int64_t> stride, padding, dilation;
  for (int d = 0; d < spatial; ++d) {
    image.push_back(c.below(9)), taps.push_back(1 + c.below(3));
    stride.push_back(c.below(10) ? 1 + c.below(2) : 0);
    padding.push_back(c.below(3)), dilation.push_back(1 + c.below(2));
  }
  const DType t = c.floating();
  const Tensor bias = c.coin() ? c.tensor({taps[0]}, t) : Tensor();
  return {convolution(c.tensor(image, t), c.tensor(taps, t), bias, stride, padding, dilation, false,
                      {0}, groups)};
}

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
    {"convolution", call_convolution},
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
    {"cross_entropy_loss",
     [](C c) -> Tensors {
       const int64_t n = c.below(20), k = 1 + c.below(40);
       static constexpr const char* kHow[] = {"mean", "sum", "none", "some"};
       const Tensor x = c.tensor({n, k}, c.floating()), ids = c.ids({n}, 0, k);
       return {
           cross_entropy_loss(x, ids, Tensor(), kHow[c.below(10) ? c.below(3) : 3], c.below(3))};
     }},
    {"nll_loss",
     [](C c) -> Tensors {
       const int64_t n = c.below(20), k = 1 + c.below(40);
       const Tensor x = c.tensor({n, k}, c.floating());
       return {nll_loss(x, c.ids({n}, 0, k), int64_t{1})};
     }},
    {"embedding",
     [](C c) -> Tensors {
       const int64_t v = 1 + c.below(30);
       const Tensor w = c.tensor({v, c.below(20)}, c.floating());
       return {embedding(w, c.ids(c.shape(), 0, v))};
     }},
    {"dropout",
     [](C c, X x) -> Tensors { return {dropout(x, 0.25 * c.below(5), uint64_t{7}, uint64_t{5})}; },
     real},
    {"mse_loss",
     [](C c, X x) -> Tensors {
       return {mse_loss(x, c.tensor(c.broadcastable(x.shape()), x.dtype()))};
     },
     real},
};
}  // namespace

Tensors call_matmul(Choices& c) { return one_of(c, kProducts); }
Tensors call_norm(Choices& c) { return one_of(c, kNorms); }

}  // namespace wellspring::random_calls
