// Views: the same storage under another geometry, and their derivatives. Copies and joins are in
// ops/shape_copy.cpp.

#include "ops/shape.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/index_error.h"
#include "base/text.h"
#include "ops/dims.h"
#include "ops/reduce.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

[[noreturn]] void fail(const char* op, const Tensor& x, const std::string& why) {
  throw Error(Fault::usage, str(op, " of ", x.text(), ": ", why));
}

// A view whose gradient `back` turns into that of x.
template <class Back>
Tensor make_view(const char* op, const Tensor& x, const Shape& shape, const Shape& strides,
                 int64_t offset, Back back) {
  const Tensor y = x.as_strided(shape, strides, offset);
  if (should_record({&x}))
    record(op, {x}, {y}, [back](BackwardContext& c) -> Tensors { return {back(c.grad())}; });
  return y;
}

Tensor view_back_to(const char* op, const Tensor& x, const Shape& shape, const Shape& strides) {
  return make_view(op, x, shape, strides, x.offset(),
                   [from = x.shape()](const Tensor& g) { return reshape(g, from); });
}

// The extents with -1 replaced by what is left.
Shape complete(const char* op, const Tensor& x, Shape shape) {
  const auto misfit = [&] { fail(op, x, str("the elements do not fill ", shape.text())); };
  int unknown = -1;
  int64_t known = 1;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && unknown < 0) {
      unknown = i;
    } else if (shape[i] < 0) {
      fail(op, x, str(shape.text(), " has a negative extent (one may be -1)"));
    } else if (__builtin_mul_overflow(known, shape[i], &known)) {
      misfit();
    }
  }
  if (unknown >= 0) {
    if (known == 0) fail(op, x, str("-1 in ", shape.text(), " could be any extent"));
    if (x.numel() % known) misfit();
    shape[unknown] = x.numel() / known;
  } else if (known != x.numel()) {
    misfit();
  }
  return shape;
}

// The strides that show x under another shape of as many elements, if there are such. From the last
// dimension on, dimensions of x that lie seamlessly in each other form a run; every run must be the
// product of some of the new extents.
std::optional<Shape> strides_under(const Tensor& x, const Shape& shape) {
  Shape strides = contiguous_strides(shape);
  if (x.numel() == 0) return strides;
  Shape extent, step;
  for (int i = 0; i < x.dims(); ++i)
    if (x.shape()[i] != 1) extent.push_back(x.shape()[i]), step.push_back(x.strides()[i]);
  int n = shape.size() - 1;
  for (int o = extent.size() - 1; o >= 0; --o) {
    int64_t left = extent[o], next = step[o];
    while (o > 0 && step[o - 1] == extent[o] * step[o]) left *= extent[--o];
    for (; n >= 0 && (left > 1 || shape[n] == 1); --n) {
      if (left % shape[n]) return {};
      strides[n] = next;
      next *= shape[n], left /= shape[n];
    }
    if (left != 1) return {};
  }
  return strides;
}

Shape without(const Shape& shape, int dim) {
  Shape rest;
  for (int i = 0; i < shape.size(); ++i)
    if (i != dim) rest.push_back(shape[i]);
  return rest;
}

Shape inserted(const Shape& shape, int dim, int64_t value) {
  Shape more;
  for (int i = 0; i <= shape.size(); ++i) {
    if (i == dim) more.push_back(value);
    if (i < shape.size()) more.push_back(shape[i]);
  }
  return more;
}

// Places [start, start + length * step) of one dimension.
struct Places {
  int dim;
  int64_t start, length, step;
};

Tensor part(const Tensor& x, const Places& p) {
  Shape shape = x.shape(), strides = x.strides();
  shape[p.dim] = p.length;
  strides[p.dim] *= p.step;
  const int64_t offset = p.length ? p.start * x.strides()[p.dim] : 0;
  return x.as_strided(shape, strides, x.offset() + offset);
}

// The gradient of x from that of some of its places: zeros elsewhere.
Tensor spread(const Tensor& g, const Shape& shape, const Places& p) {
  const Tensor all = Tensor::empty(shape, g.dtype(), g.device());
  const int64_t end = p.start + p.length, rest = shape[p.dim] - end;
  if (p.step == 1) {
    if (p.start > 0) zero_(part(all, {p.dim, 0, p.start, 1}));
    if (rest > 0) zero_(part(all, {p.dim, end, rest, 1}));
  } else {
    zero_(all);
  }
  copy_(part(all, p), g);
  return all;
}

Tensor pick(const char* op, const Tensor& x, const Places& p) {
  const Tensor y = part(x, p);
  return make_view(op, x, y.shape(), y.strides(), y.offset(),
                   [from = x.shape(), p](const Tensor& g) { return spread(g, from, p); });
}

}  // namespace

Tensor view(const Tensor& x, const Shape& shape) {
  const Shape full = complete("view", x, shape);
  const auto strides = strides_under(x, full);
  if (!strides)
    fail("view", x,
         str("its strides ", x.strides().text(), " allow no view of shape ", full.text(),
             "; use reshape()"));
  return view_back_to("view", x, full, *strides);
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  const Shape full = complete("reshape", x, shape);
  if (const auto strides = strides_under(x, full))
    return view_back_to("reshape", x, full, *strides);
  return view(clone(x), full);
}

Tensor transpose(const Tensor& x, int a, int b) {
  a = dim_of("transpose", x, a), b = dim_of("transpose", x, b);
  Shape shape = x.shape(), strides = x.strides();
  if (shape.size()) {
    std::swap(shape[a], shape[b]);
    std::swap(strides[a], strides[b]);
  }
  return make_view("transpose", x, shape, strides, x.offset(),
                   [a, b](const Tensor& g) { return transpose(g, a, b); });
}

const Tensor& transpose_(const Tensor& x, int a, int b) {
  if (should_record({&x})) fail("transpose_", x, "it takes part in a graph; use transpose()");
  a = dim_of("transpose_", x, a), b = dim_of("transpose_", x, b);
  if (x.dims()) {
    std::swap(x.impl()->shape[a], x.impl()->shape[b]);
    std::swap(x.impl()->strides[a], x.impl()->strides[b]);
  }
  mark_in_place("transpose_", x, false);
  return x;
}

Tensor permute(const Tensor& x, const std::vector<int>& dims) {
  Shape shape, strides;
  std::vector<int> back(x.dims(), -1);
  if (static_cast<int>(dims.size()) != x.dims())
    fail("permute", x, str(dims.size(), " dimensions named"));
  for (int i = 0; i < x.dims(); ++i) {
    const int d = dim_of("permute", x, dims[i]);
    if (back[d] >= 0) fail("permute", x, str("dimension ", d, " is named twice"));
    back[d] = i;
    shape.push_back(x.shape()[d]), strides.push_back(x.strides()[d]);
  }
  return make_view("permute", x, shape, strides, x.offset(),
                   [back](const Tensor& g) { return permute(g, back); });
}

Tensor slice(const Tensor& x, int dim, int64_t start, int64_t end, int64_t step) {
  if (x.dims() == 0) fail("slice", x, "it has no dimension");
  const int d = dim_of("slice", x, dim);
  if (step < 1) fail("slice", x, str("step ", step, " is below 1"));
  const int64_t n = x.shape()[d];
  const auto place = [n](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + n : v, 0, n); };
  const int64_t from = place(start), to = place(end);
  const int64_t length = to > from ? (to - from - 1) / step + 1 : 0;
  return pick("slice", x, {d, from, length, step});
}

Tensor narrow(const Tensor& x, int dim, int64_t start, int64_t length) {
  if (x.dims() == 0) fail("narrow", x, "it has no dimension");
  const int d = dim_of("narrow", x, dim);
  const int64_t n = x.shape()[d], from = start < 0 ? start + n : start;
  if (from < 0 || length < 0 || from > n || length > n - from)
    fail("narrow", x,
         str("places ", start, " to ", start, " + ", length, " of dimension ", d,
             " are out of range"));
  return pick("narrow", x, {d, from, length, 1});
}
Tensor narrow(const Tensor& x, int dim, const Tensor& start, int64_t length) {
  if (!start.defined() || start.dims() ||
      (start.dtype() != DType::i64 && start.dtype() != DType::i32))
    fail("narrow", x, "start must be a number, or a 0-d i64 or i32");
  return narrow(x, dim, start.to_vector<int64_t>()[0], length);
}

Tensor select(const Tensor& x, int dim, int64_t index) {
  if (x.dims() == 0) fail("select", x, "it has no dimension");
  const int d = dim_of("select", x, dim);
  const int64_t n = x.shape()[d], at = index < 0 ? index + n : index;
  if (at < 0 || at >= n)
    throw IndexError(
        str("select of ", x.text(), ": index ", index, " of dimension ", d, " is out of range"));
  return make_view("select", x, without(x.shape(), d), without(x.strides(), d),
                   x.offset() + at * x.strides()[d], [from = x.shape(), d, at](const Tensor& g) {
                     return spread(unsqueeze(g, d), from, {d, at, 1, 1});
                   });
}

Tensor expand(const Tensor& x, const Shape& shape) {
  const int fresh = shape.size() - x.dims();
  if (fresh < 0) fail("expand", x, str(shape.text(), " has fewer dimensions"));
  Shape full = shape, strides = shape;
  for (int i = 0; i < shape.size(); ++i) {
    const int64_t had = i < fresh ? 1 : x.shape()[i - fresh];
    if (shape[i] == -1 && i >= fresh) full[i] = had;
    if (full[i] < 0 || (full[i] != had && had != 1))
      fail("expand", x, str("dimension ", i, " of ", shape.text(), " does not fit"));
    strides[i] = i < fresh || (had == 1 && full[i] != 1) ? 0 : x.strides()[i - fresh];
  }
  return make_view("expand", x, full, strides, x.offset(),
                   [from = x.shape()](const Tensor& g) { return sum_to(g, from); });
}

Tensor unsqueeze(const Tensor& x, int dim) {
  const int n = x.dims() + 1, d = dim < 0 ? dim + n : dim;
  if (d < 0 || d >= n)
    throw IndexError(str("unsqueeze of ", x.text(), ": dimension ", dim, " is out of range"));
  const int64_t stride = d < x.dims() ? x.shape()[d] * x.strides()[d] : 1;
  return make_view("unsqueeze", x, inserted(x.shape(), d, 1), inserted(x.strides(), d, stride),
                   x.offset(), [d](const Tensor& g) { return squeeze(g, d); });
}

Tensor squeeze(const Tensor& x) {
  Shape shape, strides;
  for (int i = 0; i < x.dims(); ++i)
    if (x.shape()[i] != 1) shape.push_back(x.shape()[i]), strides.push_back(x.strides()[i]);
  return view_back_to("squeeze", x, shape, strides);
}

Tensor squeeze(const Tensor& x, int dim) {
  const int d = dim_of("squeeze", x, dim);
  if (x.dims() == 0 || x.shape()[d] != 1) return view_back_to("squeeze", x, x.shape(), x.strides());
  return view_back_to("squeeze", x, without(x.shape(), d), without(x.strides(), d));
}

Tensor flatten(const Tensor& x, int start, int end) {
  const int a = dim_of("flatten", x, start), b = dim_of("flatten", x, end);
  if (a > b) fail("flatten", x, str("dimension ", start, " lies after ", end));
  Shape shape;
  int64_t joined = 1;
  for (int i = 0; i < x.dims(); ++i) {
    if (i >= a && i <= b)
      joined *= x.shape()[i];
    else
      shape.push_back(x.shape()[i]);
    if (i == b) shape.push_back(joined);
  }
  return reshape(x, x.dims() ? shape : Shape{1});
}

std::vector<Tensor> split(const Tensor& x, std::span<const int64_t> sizes, int dim) {
  if (x.dims() == 0) fail("split", x, "it has no dimension");
  const int d = dim_of("split", x, dim);
  int64_t at = 0;
  Tensors parts;
  std::vector<Places> places;
  for (const int64_t n : sizes) {
    if (n < 0 || n > x.shape()[d] - at) fail("split", x, str("the sizes leave dimension ", d));
    places.push_back({d, at, n, 1});
    parts.push_back(part(x, places.back()));
    at += n;
  }
  if (at != x.shape()[d])
    fail("split", x, str("the sizes add up to ", at, ", dimension ", d, " is ", x.shape()[d]));
  if (should_record({&x}))
    record("split", {x}, parts,
           [places, from = x.shape(), dtype = x.dtype(),
            device = x.device()](BackwardContext& c) -> Tensors {
             const Tensor all = Tensor::empty(from, dtype, device);
             for (size_t i = 0; i < places.size(); ++i) {
               const Tensor target = part(all, places[i]);
               if (c.grad(static_cast<int>(i)).defined())
                 copy_(target, c.grad(static_cast<int>(i)));
               else
                 zero_(target);
             }
             return {all};
           });
  return parts;
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int dim) {
  if (x.dims() == 0) fail("split", x, "it has no dimension");
  if (size < 1) fail("split", x, str("size ", size, " is below 1"));
  const int64_t n = x.size(dim_of("split", x, dim));
  std::vector<int64_t> sizes;
  for (int64_t at = 0; at < n; at += size) sizes.push_back(std::min(size, n - at));
  if (sizes.empty()) sizes.push_back(0);
  return split(x, std::span<const int64_t>(sizes), dim);
}

std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int dim) {
  if (x.dims() == 0) fail("chunk", x, "it has no dimension");
  if (chunks < 1) fail("chunk", x, str(chunks, " chunks"));
  const int64_t n = x.size(dim_of("chunk", x, dim));
  return split(x, std::max<int64_t>(1, (n + chunks - 1) / chunks), dim);
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  const int fresh = x.dims() - shape.size();
  std::vector<int> dims;
  for (int i = 0; i < x.dims(); ++i) {
    const int64_t want = i < fresh ? 1 : fresh < 0 ? -1 : shape[i - fresh];
    if (want != x.shape()[i] && want != 1)
      fail("sum_to", x, str(shape.text(), " does not broadcast to it"));
    if (i < fresh || want != x.shape()[i]) dims.push_back(i);
  }
  if (fresh < 0) fail("sum_to", x, str(shape.text(), " has more dimensions"));
  if (dims.empty()) return x;
  return view(sum(x, dims, true), shape);
}

}  // namespace wellspring
