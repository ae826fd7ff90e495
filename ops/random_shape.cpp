// Random calls of views, copies and joins.

#include <algorithm>

#include "ops/arrange.h"
#include "ops/creation.h"
#include "ops/random_entries.h"
#include "ops/scatter.h"
#include "ops/shape.h"

namespace wellspring::random_calls {
namespace {

constexpr Entry kShapes[] = {
    {"permute",
     [](C c, X x) -> Tensors {
       std::vector<int> d(x.dims());
       for (int i = 0; i < x.dims(); ++i) d[i] = i;
       for (int i = x.dims() - 1; i > 0; --i) std::swap(d[i], d[c.below(i + 1)]);
       if (c.rarely(20) && !d.empty()) d[0] = c.dim(x.dims());
       return {clone(permute(x, d))};
     }},
    {"transpose",
     [](C c, X x) -> Tensors { return {clone(transpose(x, c.dim(x.dims()), c.dim(x.dims())))}; }},
    {"slice",
     [](C c, X x) -> Tensors {
       return {clone(slice(x, c.dim(x.dims()), c.below(40) - 20, c.below(40) - 20, c.below(4)))};
     }},
    {"narrow",
     [](C c, X x) -> Tensors { return {narrow_copy(x, c.dim(x.dims()), c.below(6), c.below(6))}; }},
    {"select",
     [](C c, X x) -> Tensors { return {clone(select(x, c.dim(x.dims()), c.below(8) - 3))}; }},
    {"reshape",
     [](C c, X x) -> Tensors {
       return {reshape(x, c.coin() ? Shape{-1} : Shape{1, -1, 1 + c.below(4)})};
     }},
    {"flatten", [](C c, X x) -> Tensors { return {flatten(x, c.dim(x.dims()), c.dim(x.dims()))}; }},
    {"expand",
     [](C c) -> Tensors {
       const Shape s = c.shape();
       return {clone(expand(c.tensor(c.broadcastable(s), c.any_dtype()), s))};
     }},
    {"squeeze",
     [](C c, X x) -> Tensors {
       return {squeeze(x), clone(squeeze(x, c.dim(x.dims())))};
     }},
    {"cat",
     [](C c) -> Tensors {
       const Shape s = c.shape();
       const int d = c.dim(s.size());
       Tensors parts;
       for (int n = c.below(5); n > 0; --n) {
         const Shape one = with_extent(s, d, c.below(6));
         parts.push_back(c.tensor(one, c.any_dtype()));
       }
       return {cat(parts, d)};
     }},
    {"stack",
     [](C c) -> Tensors {
       const Shape s = c.shape(0, 4);
       const DType t = c.any_dtype();
       Tensors parts;
       for (int n = c.below(5); n > 0; --n) parts.push_back(c.tensor(s, t));
       return {stack(parts, c.dim(s.size() + 1))};
     }},
    {"split",
     [](C c, X x) -> Tensors {
       Tensors all;
       for (const Tensor& t : split(x, static_cast<int64_t>(c.below(5)), c.dim(x.dims())))
         all.push_back(clone(t));
       return all;
     }},
    {"repeat",
     [](C c) -> Tensors {
       const Tensor x = c.tensor(c.shape(0, 3), c.any_dtype());
       return {repeat(x, numbers(c, x.dims() + c.below(2), 0, 4))};
     }},
    {"flip", [](C c, X x) -> Tensors { return {flip(x, c.dims(x.dims()))}; }},
    {"roll", [](C c, X x) -> Tensors { return {roll(x, {c.below(40) - 20}, {c.dim(x.dims())})}; }},
    {"constant_pad_nd",
     [](C c, X x) -> Tensors {
       return {constant_pad_nd(x, numbers(c, 2 * c.below(x.dims() + 1), -2, 4), c.below(4))};
     }},
    {"pad",
     [](C c) -> Tensors {
       static constexpr const char* kModes[] = {"reflect", "replicate", "circular"};
       const Tensor x = c.tensor(c.shape(2, 4), c.floating());
       return {pad(x, numbers(c, 2 * (1 + c.below(2)), 0, 4), c.of(kModes))};
     }},
    {"unfold",
     [](C c, X x) -> Tensors {
       return {clone(unfold(x, c.dim(x.dims()), c.below(5), c.below(4)))};
     }},
    {"diagonal",
     [](C c, X x) -> Tensors {
       return {clone(diagonal(x, c.below(9) - 4, c.dim(x.dims()), c.dim(x.dims())))};
     }},
    {"diag_embed",
     [](C c) -> Tensors {
       const Tensor x = c.tensor(c.shape(0, 3), c.any_dtype());
       return {diag_embed(x, c.below(5) - 2)};
     }},
    {"triu", [](C c, X x) -> Tensors { return {triu(x, c.below(9) - 4)}; }},
    {"repeat_interleave",
     [](C c, X x) -> Tensors {
       return {repeat_interleave(x, static_cast<int64_t>(c.below(4)), c.dim(x.dims()))};
     }},
    {"slice_scatter",
     [](C c, X x) -> Tensors {
       const int d = c.dim(x.dims());
       const int64_t start = c.below(5), end = c.below(9);
       const Tensor part = slice(x.detach(), d, start, end, 1 + c.below(2));
       return {slice_scatter(x, c.tensor(part.shape(), x.dtype()), d, start, end)};
     }},
    {"copy_",
     [](C c, X x) -> Tensors {
       const Tensor y = c.tensor(c.broadcastable(x.shape()), c.any_dtype());
       return {copy_(clone(x), y)};
     }},
};
}  // namespace

Tensors call_shape(Choices& c) { return one_of(c, kShapes); }

}  // namespace wellspring::random_calls
