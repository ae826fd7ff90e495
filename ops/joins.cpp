// Rearranging by composition: transposed names, windows of memory, joins of many shapes.

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "ops/arrange.h"
#include "ops/creation.h"
#include "ops/dims.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kAccumulate("accumulate");

[[noreturn]] void fail(const char* op, const Tensor& x, const std::string& why) {
  throw Error(Fault::usage, str(op, " of ", x.text(), ": ", why));
}

// Whether two of the places of a geometry may be the same element.
bool may_overlap(const Shape& shape, const Shape& strides) {
  std::vector<std::pair<int64_t, int64_t>> steps;  // stride, extent
  for (int i = 0; i < shape.size(); ++i)
    if (shape[i] > 1) steps.push_back({std::abs(strides[i]), shape[i]});
  std::sort(steps.begin(), steps.end());
  int64_t reach = 0;
  for (const auto& [stride, extent] : steps) {
    if (stride <= reach) return true;
    reach += stride * (extent - 1);
  }
  return false;
}

// Adds g into the places of dx that a geometry shows, a dimension that overlaps one index after the
// other.
void add_places(const Tensor& dx, const Shape& shape, const Shape& strides, int64_t offset,
                const Tensor& g) {
  if (shape.numel() == 0) return;
  if (!may_overlap(shape, strides))
    return launch(kAccumulate, {dx.as_strided(shape, strides, offset)}, {g});
  // The dimension with the smallest step goes first.
  int d = -1;
  for (int i = 0; i < shape.size(); ++i)
    if (shape[i] > 1 && (d < 0 || std::abs(strides[i]) < std::abs(strides[d]))) d = i;
  Shape rest, steps;
  for (int i = 0; i < shape.size(); ++i)
    if (i != d) rest.push_back(shape[i]), steps.push_back(strides[i]);
  for (int64_t k = 0; k < shape[d]; ++k)
    add_places(dx, rest, steps, offset + k * strides[d], select(g, d, k));
}

}  // namespace

Tensor as_strided(const Tensor& x, const Shape& shape, const Shape& strides,
                  std::optional<int64_t> offset) {
  if (shape.size() != strides.size())
    fail("as_strided", x,
         str("shape ", shape.text(), " and strides ", strides.text(), " differ in length"));
  for (const int64_t s : strides)
    if (s < 0)
      fail("as_strided", x, str("strides ", strides.text(), ": negative ones are not taken"));
  const int64_t first = offset.value_or(x.offset());
  const Tensor y = x.as_strided(shape, strides, first);
  if (should_record({&x})) {
    int64_t high = first - x.offset();
    for (int i = 0; i < shape.size(); ++i) high += shape[i] ? (shape[i] - 1) * strides[i] : 0;
    if (!x.is_contiguous() || (shape.numel() && (first < x.offset() || high >= x.numel())))
      fail("as_strided", x, "its gradient needs a row-major tensor, and places inside it");
    record("as_strided", {x}, {y},
           [=, from = x.shape(), base = x.offset()](BackwardContext& c) -> Tensors {
             const Tensor dx = Tensor::zeros(from, c.grad().dtype(), c.grad().device());
             add_places(dx, shape, strides, first - base, c.grad());
             return {dx};
           });
  }
  return y;
}

Tensor narrow_copy(const Tensor& x, int dim, int64_t start, int64_t length) {
  return clone(narrow(x, dim, start, length));
}

Tensor swapaxes(const Tensor& x, int a, int b) { return transpose(x, a, b); }
Tensor swapdims(const Tensor& x, int a, int b) { return transpose(x, a, b); }
Tensor t(const Tensor& x) {
  if (x.dims() > 2) fail("t", x, "it has more than two dimensions");
  return x.dims() < 2 ? view(x, x.shape()) : transpose(x, 0, 1);
}
Tensor mT(const Tensor& x) {
  if (x.dims() < 2) fail("mT", x, "it has fewer than two dimensions");
  return transpose(x, -2, -1);
}
Tensor ravel(const Tensor& x) { return reshape(x, {-1}); }

Tensor fliplr(const Tensor& x) {
  if (x.dims() < 2) fail("fliplr", x, "it has fewer than two dimensions");
  return flip(x, {1});
}
Tensor flipud(const Tensor& x) {
  if (x.dims() < 1) fail("flipud", x, "it has no dimension");
  return flip(x, {0});
}

Tensor column_stack(std::span<const Tensor> parts) {
  if (parts.empty()) throw Error(Fault::usage, "column_stack of no tensors");
  Tensors all;
  for (const Tensor& p : parts) all.push_back(p.dims() <= 1 ? reshape(p, {p.numel(), 1}) : p);
  return cat(all, 1);
}

Tensor block_diag(std::span<const Tensor> parts) {
  if (parts.empty()) throw Error(Fault::usage, "block_diag of no tensors");
  Tensors all;
  int64_t columns = 0, at = 0;
  for (const Tensor& p : parts) {
    if (p.dims() > 2) fail("block_diag", p, "it has more than two dimensions");
    all.push_back(p.dims() == 2 ? p : reshape(p, {1, p.numel()}));
    columns += all.back().size(1);
  }
  for (Tensor& p : all) {
    const int64_t n = p.size(1);
    p = constant_pad_nd(p, {at, columns - at - n});
    at += n;
  }
  return cat(all, 0);
}

std::vector<Tensor> meshgrid(std::span<const Tensor> axes, std::string_view indexing) {
  if (indexing != "ij" && indexing != "xy")
    throw Error(Fault::usage, str("meshgrid: indexing is 'ij' or 'xy', not '", indexing, "'"));
  const int n = static_cast<int>(axes.size());
  const bool swapped = indexing == "xy" && n >= 2;
  const auto place = [&](int i) { return swapped && i < 2 ? 1 - i : i; };
  Shape shape;
  for (int i = 0; i < n; ++i) {
    const Tensor& a = axes[place(i)];
    if (a.dims() > 1) fail("meshgrid", a, "it has more than one dimension");
    shape.push_back(a.numel());
  }
  Tensors grids;
  for (int i = 0; i < n; ++i) {
    Shape own;
    for (int k = 0; k < n; ++k) own.push_back(k == place(i) ? axes[i].numel() : 1);
    grids.push_back(expand(reshape(axes[i], own), shape));
  }
  return grids;
}

Tensor diff(const Tensor& x, int64_t n, int dim) {
  if (x.dims() == 0) fail("diff", x, "it has no dimension");
  if (n < 0) fail("diff", x, str("order ", n));
  const int d = dim_of("diff", x, dim);
  Tensor y = n == 0 ? clone(x) : x;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t length = y.shape()[d];
    if (length == 0) return y.same(x) ? clone(y) : y;
    const Tensor after = narrow(y, d, 1, length - 1), before = narrow(y, d, 0, length - 1);
    y = x.dtype() == DType::boolean ? logical_xor(after, before) : sub(after, before);
  }
  return y;
}

Tensor trace(const Tensor& x) {
  if (x.dims() != 2) fail("trace", x, "it must be 2-d");
  return sum(diagonal(x));
}

}  // namespace wellspring
