// Rearranging: copies and views, and their derivatives. Borders are in ops/pad.cpp.

#include "ops/arrange.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/text.h"
#include "ops/creation.h"
#include "ops/dims.h"
#include "ops/index.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kCopy("copy"), kAccumulate("accumulate");

[[noreturn]] void fail(const char* op, const Tensor& x, const std::string& why) {
  throw Error(Fault::usage, str(op, " of ", x.text(), ": ", why));
}

// Each dimension once.
std::vector<int> distinct_dims(const char* op, const Tensor& x, const std::vector<int>& dims) {
  std::vector<int> all;
  for (const int d : dims) {
    const int at = dim_of(op, x, d);
    if (std::find(all.begin(), all.end(), at) != all.end())
      fail(op, x, str("dimension ", d, " is named twice"));
    all.push_back(at);
  }
  return all;
}

}  // namespace

Tensor flip(const Tensor& x, const std::vector<int>& dims) {
  const std::vector<int> turned = distinct_dims("flip", x, dims);
  Shape strides = x.strides();
  int64_t offset = x.offset();
  if (x.dims() && x.numel())
    for (const int d : turned) {
      offset += (x.shape()[d] - 1) * strides[d];
      strides[d] = -strides[d];
    }
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (y.numel()) launch(kCopy, {y}, {x.as_strided(x.shape(), strides, offset)});
  if (should_record({&x}))
    record("flip", {x}, {y},
           [turned](BackwardContext& c) -> Tensors { return {flip(c.grad(), turned)}; });
  return y;
}

Tensor roll(const Tensor& x, const std::vector<int64_t>& shifts, const std::vector<int>& dims) {
  if (dims.empty()) {
    if (shifts.size() != 1) fail("roll", x, str(shifts.size(), " shifts without dimensions"));
    return reshape(roll(reshape(x, {-1}), shifts, {0}), x.shape());
  }
  if (shifts.size() != dims.size())
    fail("roll", x, str(shifts.size(), " shifts for ", dims.size(), " dimensions"));
  if (x.numel() == 0) return clone(x);
  Tensor y = x;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int d = dim_of("roll", x, dims[i]);
    const int64_t n = y.dims() ? y.shape()[d] : 1, by = ((shifts[i] % n) + n) % n;
    if (by == 0) continue;
    const Tensor parts[] = {narrow(y, d, n - by, by), narrow(y, d, 0, n - by)};
    y = cat(parts, d);
  }
  return y.same(x) ? clone(x) : y;
}

Tensor rot90(const Tensor& x, int64_t k, const std::vector<int>& dims) {
  if (dims.empty()) return rot90(x, k, {0, 1});
  if (dims.size() != 2 || x.dims() < 2) fail("rot90", x, "two dimensions are turned");
  const std::vector<int> d = distinct_dims("rot90", x, dims);
  switch (((k % 4) + 4) % 4) {
    case 1:
      return flip(transpose(x, d[0], d[1]), {d[0]});
    case 2:
      return flip(x, d);
    case 3:
      return flip(transpose(x, d[0], d[1]), {d[1]});
    default:
      return clone(x);
  }
}

Tensor repeat(const Tensor& x, const std::vector<int64_t>& repeats) {
  const int n = static_cast<int>(repeats.size()), fresh = n - x.dims();
  if (fresh < 0) fail("repeat", x, str(n, " repeats for more dimensions"));
  if (n > kMaxDims)
    fail("repeat", x, str(n, " repeats: a tensor has at most ", kMaxDims, " dimensions"));
  for (const int64_t r : repeats)
    if (r < 0) fail("repeat", x, str("cannot repeat ", r, " times"));
  // Repeats of a dimension are a new one in front of it, through which an expanded view does not
  // move.
  int extra = 0;
  for (int i = 0; i < n; ++i) extra += repeats[i] != 1 && i >= fresh && x.shape()[i - fresh] != 1;
  if (n + extra > kMaxDims) {  // no room for the new ones: one dimension after the other
    Shape lined;
    for (int i = 0; i < n; ++i) lined.push_back(i < fresh ? 1 : x.shape()[i - fresh]);
    Tensor y = reshape(x, lined);
    for (int i = n - 1; i >= 0; --i)
      if (repeats[i] != 1) y = repeats[i] ? cat(Tensors(repeats[i], y), i) : narrow(y, i, 0, 0);
    return y;
  }
  Shape between, spread, result;
  for (int i = 0; i < n; ++i) {
    const int64_t r = repeats[i], own = i < fresh ? 1 : x.shape()[i - fresh];
    int64_t total;
    if (__builtin_mul_overflow(r, own, &total))
      fail("repeat", x, str("a result of ", r, " times ", own, " is too large"));
    result.push_back(total);
    if (r != 1 && own != 1) between.push_back(1), spread.push_back(r);
    between.push_back(own), spread.push_back(r != 1 && own == 1 ? r : own);
  }
  const Tensor y = expand(reshape(x, between), spread);
  return reshape(clone(y), result);
}

Tensor tile(const Tensor& x, const std::vector<int64_t>& repeats) {
  std::vector<int64_t> all(repeats);
  while (static_cast<int>(all.size()) < x.dims()) all.insert(all.begin(), 1);
  return repeat(x, all);
}

Tensor repeat_interleave(const Tensor& x, int64_t repeats, std::optional<int> dim) {
  if (!dim) return repeat_interleave(flatten(x), repeats, 0);
  if (repeats < 0) fail("repeat_interleave", x, str("cannot repeat ", repeats, " times"));
  const int d = dim_of("repeat_interleave", x, *dim);
  if (x.dims() == 0) return repeat_interleave(flatten(x), repeats, 0);
  if (x.dims() == kMaxDims)
    return index_select(x, d, repeat_interleave(arange(x.shape()[d]), repeats, 0));
  Shape spread = unsqueeze(x, d + 1).shape(), result = x.shape();
  spread[d + 1] = repeats, result[d] *= repeats;
  return reshape(clone(expand(unsqueeze(x, d + 1), spread)), result);
}

Tensor repeat_interleave(const Tensor& repeats) {
  if (repeats.dims() != 1 || (repeats.dtype() != DType::i64 && repeats.dtype() != DType::i32))
    fail("repeat_interleave", repeats, "repeats must be 1-d, i32 or i64");
  const std::vector<int64_t> times = repeats.to_vector<int64_t>();
  int64_t total = 0;
  for (const int64_t n : times)
    if (n < 0 || __builtin_add_overflow(total, n, &total))
      fail("repeat_interleave", repeats, str("cannot repeat ", n, " times"));
  std::vector<int64_t> places;
  places.reserve(total);
  for (size_t i = 0; i < times.size(); ++i)
    places.insert(places.end(), times[i], static_cast<int64_t>(i));
  const Tensor y = Tensor::from(places, {total}, repeats.device());
  return to(y, repeats.dtype());
}

Tensor repeat_interleave(const Tensor& x, const Tensor& repeats, std::optional<int> dim) {
  if (!dim) return repeat_interleave(flatten(x), repeats, 0);
  const int d = dim_of("repeat_interleave", x, *dim);
  if (x.dims() == 0) return repeat_interleave(flatten(x), repeats, 0);
  const int64_t n = x.shape()[d];
  if (repeats.numel() == 1 && (n != 1 || repeats.dims() == 0))
    return repeat_interleave(x, expand(reshape(repeats, {1}), {n}), d);
  if (repeats.dims() != 1 || repeats.numel() != n)
    fail("repeat_interleave", x, str("repeats ", repeats.text(), " must have one element, or ", n));
  return index_select(x, d, repeat_interleave(repeats));
}

namespace {

// Windows of one dimension as a view without a gradient.
Tensor windows(const Tensor& x, int d, int64_t size, int64_t step) {
  if (x.dims() == 0) return x.as_strided({size}, {1}, x.offset());
  Shape shape = x.shape(), strides = x.strides();
  const int64_t own = strides[d];
  shape[d] = (shape[d] - size) / step + 1, strides[d] *= step;
  shape.push_back(size), strides.push_back(own);
  return x.as_strided(shape, strides, x.offset());
}

}  // namespace

Tensor unfold(const Tensor& x, int dim, int64_t size, int64_t step) {
  const int d = dim_of("unfold", x, dim);
  const int64_t n = x.dims() ? x.shape()[d] : 1;
  if (size < 0 || size > n)
    fail("unfold", x, str("windows of ", size, " in dimension ", d, " of extent ", n));
  if (step < 1) fail("unfold", x, str("step ", step, " is below 1"));
  const Tensor y = windows(x, d, size, step);
  if (should_record({&x}))
    record("unfold", {x}, {y}, [=, from = x.shape()](BackwardContext& c) -> Tensors {
      const Tensor g = c.grad(), dx = Tensor::zeros(from, g.dtype(), g.device());
      if (g.numel() == 0) return {dx};
      if (from.size() == 0) return {reshape(g, Shape{})};
      const Tensor places = windows(dx, d, size, step);
      if (step >= size) return {(copy_(places, g), dx)};
      for (int64_t k = 0; k < size; ++k)  // windows overlap: each of their places in turn
        launch(kAccumulate, {select(places, -1, k)}, {select(g, -1, k)});
      return {dx};
    });
  return y;
}

namespace {

Tensor at_least(const Tensor& x, int dims) {
  if (x.dims() >= dims) return x;
  if (dims == 1) return unsqueeze(x, 0);
  if (dims == 2) return unsqueeze(at_least(x, 1), 0);
  return unsqueeze(at_least(x, 2), 2);
}

Tensor joined(const char* op, std::span<const Tensor> parts, int dims, int dim) {
  if (parts.empty()) throw Error(Fault::usage, str(op, " of no tensors"));
  Tensors all;
  for (const Tensor& t : parts) all.push_back(at_least(t, dims));
  return cat(all, dim < 0 ? (all[0].dims() == 1 ? 0 : 1) : dim);
}

}  // namespace

Tensor hstack(std::span<const Tensor> parts) { return joined("hstack", parts, 1, -1); }
Tensor vstack(std::span<const Tensor> parts) { return joined("vstack", parts, 2, 0); }
Tensor dstack(std::span<const Tensor> parts) { return joined("dstack", parts, 3, 2); }
Tensor concat(std::span<const Tensor> parts, int dim) { return cat(parts, dim); }
Tensor concatenate(std::span<const Tensor> parts, int dim) { return cat(parts, dim); }

std::vector<Tensor> split_with_sizes(const Tensor& x, const std::vector<int64_t>& sizes, int dim) {
  return split(x, std::span<const int64_t>(sizes), dim);
}

std::vector<Tensor> tensor_split(const Tensor& x, int64_t sections, int dim) {
  if (x.dims() == 0) fail("tensor_split", x, "it has no dimension");
  if (sections < 1) fail("tensor_split", x, str(sections, " sections"));
  const int64_t n = x.size(dim_of("tensor_split", x, dim));
  std::vector<int64_t> sizes(sections, n / sections);
  for (int64_t i = 0; i < n % sections; ++i) ++sizes[i];
  return split(x, std::span<const int64_t>(sizes), dim);
}
std::vector<Tensor> tensor_split(const Tensor& x, const std::vector<int64_t>& places, int dim) {
  if (x.dims() == 0) fail("tensor_split", x, "it has no dimension");
  const int64_t n = x.size(dim_of("tensor_split", x, dim));
  Tensors parts;
  int64_t from = 0;
  for (const int64_t p : places) {
    parts.push_back(slice(x, dim, from, p));
    from = p;
  }
  parts.push_back(slice(x, dim, from, n));
  return parts;
}

std::vector<Tensor> unbind(const Tensor& x, int dim) {
  if (x.dims() == 0) fail("unbind", x, "it has no dimension");
  const int d = dim_of("unbind", x, dim);
  Tensors parts;
  for (int64_t i = 0; i < x.shape()[d]; ++i) parts.push_back(select(x, d, i));
  return parts;
}

Tensor movedim(const Tensor& x, const std::vector<int>& from, const std::vector<int>& to) {
  if (from.size() != to.size())
    fail("movedim", x, str(from.size(), " dimensions to ", to.size(), " places"));
  const std::vector<int> a = distinct_dims("movedim", x, from), b = distinct_dims("movedim", x, to);
  if (x.dims() == 0) return permute(x, {});
  std::vector<int> order(x.dims(), -1), rest;
  for (size_t i = 0; i < a.size(); ++i) order[b[i]] = a[i];
  for (int d = 0; d < x.dims(); ++d)
    if (std::find(a.begin(), a.end(), d) == a.end()) rest.push_back(d);
  size_t next = 0;
  for (int& d : order)
    if (d < 0) d = rest[next++];
  return permute(x, order);
}
Tensor movedim(const Tensor& x, int from, int to) {
  return movedim(x, std::vector<int>{from}, std::vector<int>{to});
}

Tensor unflatten(const Tensor& x, int dim, const Shape& shape) {
  if (shape.size() == 0) fail("unflatten", x, "there is no extent");
  const int d = dim_of("unflatten", x, dim);
  Shape part = shape, full;
  int64_t known = 1;
  int unknown = -1;
  for (int i = 0; i < part.size(); ++i) {
    if (part[i] == -1 && unknown < 0)
      unknown = i;
    else if (part[i] < 0 || __builtin_mul_overflow(known, part[i], &known))
      fail("unflatten", x, str("extents ", shape.text()));
  }
  const int64_t n = x.dims() ? x.shape()[d] : 1;
  if (unknown >= 0 && known > 0 && n % known == 0) part[unknown] = n / known, known = n;
  if (known != n)
    fail("unflatten", x, str(shape.text(), " does not fill dimension ", d, " of extent ", n));
  for (int i = 0; i < std::max(x.dims(), 1); ++i) {
    if (i != d)
      full.push_back(x.shape()[i]);
    else
      for (const int64_t e : part) full.push_back(e);
  }
  return view(x, full);
}

Tensor broadcast_to(const Tensor& x, const Shape& shape) { return expand(x, shape); }
Tensor expand_as(const Tensor& x, const Tensor& other) { return expand(x, other.shape()); }

namespace {

Tensor diagonal_view(const Tensor& x, int64_t offset, int a, int b) {
  const int64_t rows = x.shape()[a], columns = x.shape()[b];
  const int64_t length =
      std::max<int64_t>(offset >= 0 ? std::min(rows, columns - std::min(offset, columns))
                                    : std::min(rows + std::max(offset, -rows), columns),
                        0);
  Shape shape, strides;
  for (int i = 0; i < x.dims(); ++i)
    if (i != a && i != b) shape.push_back(x.shape()[i]), strides.push_back(x.strides()[i]);
  shape.push_back(length), strides.push_back(x.strides()[a] + x.strides()[b]);
  const int64_t first =
      length ? (offset >= 0 ? offset * x.strides()[b] : -offset * x.strides()[a]) : 0;
  return x.as_strided(shape, strides, x.offset() + first);
}

std::pair<int, int> two_dims(const char* op, const Tensor& x, int dim1, int dim2) {
  if (x.dims() < 2) fail(op, x, "it has fewer than two dimensions");
  const int a = dim_of(op, x, dim1), b = dim_of(op, x, dim2);
  if (a == b) fail(op, x, str("dimension ", dim1, " is named twice"));
  return {a, b};
}

}  // namespace

Tensor diagonal(const Tensor& x, int64_t offset, int dim1, int dim2) {
  const auto [a, b] = two_dims("diagonal", x, dim1, dim2);
  const Tensor y = diagonal_view(x, offset, a, b);
  if (should_record({&x}))
    record("diagonal", {x}, {y},
           [offset, a = a, b = b, from = x.shape()](BackwardContext& c) -> Tensors {
             const Tensor dx = Tensor::zeros(from, c.grad().dtype(), c.grad().device());
             copy_(diagonal_view(dx, offset, a, b), c.grad());
             return {dx};
           });
  return y;
}

Tensor diag_embed(const Tensor& x, int64_t offset, int dim1, int dim2) {
  if (x.dims() == 0) fail("diag_embed", x, "it has no dimension");
  const int n = x.dims() + 1;
  const auto place = [&](int d) {
    if (d < -n || d >= n) fail("diag_embed", x, str("dimension ", d, " is out of range"));
    return d < 0 ? d + n : d;
  };
  const int a = place(dim1), b = place(dim2);
  if (a == b) fail("diag_embed", x, str("dimension ", dim1, " is named twice"));
  const int64_t side = x.size(-1) + std::abs(offset);
  Shape shape;
  for (int i = 0, k = 0; i < n; ++i) shape.push_back(i == a || i == b ? side : x.shape()[k++]);
  const Tensor y = Tensor::zeros(shape, x.dtype(), x.device());
  {
    NoGrad none;
    copy_(diagonal_view(y, offset, a, b), x.detach());
  }
  if (should_record({&x}))
    record("diag_embed", {x}, {y}, [offset, a, b](BackwardContext& c) -> Tensors {
      return {clone(diagonal_view(c.grad(), offset, a, b))};
    });
  return y;
}

Tensor diag(const Tensor& x, int64_t diagonal) {
  if (x.dims() == 1) return diag_embed(x, diagonal);
  if (x.dims() != 2) fail("diag", x, "it must be 1-d or 2-d");
  return clone(wellspring::diagonal(x, diagonal));
}

const Tensor& resize_(const Tensor& x, const Shape& shape) {
  if (x.requires_grad()) fail("resize_", x, "it takes part in a graph");
  const Shape strides = contiguous_strides(shape);
  int64_t bytes;
  if (__builtin_mul_overflow(shape.numel() + x.offset(), static_cast<int64_t>(size_of(x.dtype())),
                             &bytes))
    fail("resize_", x, str("shape ", shape.text(), " is too large"));
  Storage& storage = *x.storage();
  if (bytes > static_cast<int64_t>(storage.bytes)) {
    if (storage.owner) fail("resize_", x, "its memory is foreign and cannot grow");
    // Elements that were there stay.
    const Tensor grown = Tensor::empty({bytes}, DType::u8, x.device());
    const auto had = static_cast<int64_t>(storage.bytes);
    if (had) {
      const Tensor old = Tensor::empty({0}, DType::u8, x.device());
      old.impl()->storage = x.storage();
      launch(kCopy, {grown.as_strided({had}, {1}, 0)}, {old.as_strided({had}, {1}, 0)});
    }
    std::swap(storage.data, grown.storage()->data);
    std::swap(storage.bytes, grown.storage()->bytes);
  }
  x.impl()->shape = shape, x.impl()->strides = strides;
  x.changed();
  return x;
}

Tensor resize(const Tensor& x, const Shape& shape) {
  NoGrad none;
  const Tensor y = clone(x.detach());
  return resize_(y, shape);
}

}  // namespace wellspring
