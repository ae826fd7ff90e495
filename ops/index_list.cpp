// Indexing by several tensors and masks at once: index, index_put, take, put.

#include "base/index_error.h"
#include "base/text.h"
#include "ops/dims.h"
#include "ops/index.h"
#include "ops/indexing.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

KernelRef kIndex("index"), kIndexPut("index_put");

std::string text_of(std::span<const Tensor> indices) {
  std::string text = "(";
  for (const Tensor& t : indices)
    text += (text.size() > 1 ? ", " : "") + (t.defined() ? t.text() : std::string("all"));
  return text + ")";
}

[[noreturn]] void fail(const char* op, const Tensor& x, std::span<const Tensor> indices,
                       const std::string& why) {
  throw IndexError(str(op, " of ", x.text(), " by ", text_of(indices), ": ", why));
}

// Indices as the kernels take them: x seen with the indexed dimensions in front, and an i64 tensor
// of one shape for each of them.
struct IndexPlan {
  Shape shape;              // of the indices
  Tensors indices;          // i64, row-major, of that shape
  std::vector<int> order;   // dimensions of x: indexed ones, then the others
  std::vector<int> result;  // permutes [shape..., others...] to what is returned

  Shape result_shape(const Tensor& x) const {
    Shape all = shape;
    for (size_t i = indices.size(); i < order.size(); ++i) all.push_back(x.shape()[order[i]]);
    return all;
  }
};

// Masks become one index tensor for each of their dimensions.
Tensors without_masks(const char* op, const Tensor& x, std::span<const Tensor> given) {
  Tensors all;
  for (const Tensor& t : given) {
    if (!t.defined()) {
      all.emplace_back();
    } else if (t.dtype() == DType::boolean) {
      for (int k = 0; k < t.dims(); ++k) {
        const int d = static_cast<int>(all.size()) + k;
        if (d >= x.dims() || t.shape()[k] != x.shape()[d])
          fail(op, x, given,
               str("the mask's shape ", t.shape().text(), " does not fit at dimension ",
                   all.size()));
      }
      const Tensor places = nonzero(t.dims() ? t : unsqueeze(t, 0));
      if (t.dims() == 0) fail(op, x, given, "a mask needs a dimension");
      for (int k = 0; k < t.dims(); ++k) all.push_back(select(places, 1, k));
    } else if (t.dtype() == DType::i64 || t.dtype() == DType::i32) {
      all.push_back(t);
    } else {
      fail(op, x, given, "indices must be i32, i64 or bool");
    }
  }
  if (static_cast<int>(all.size()) > x.dims())
    fail(op, x, given, str("there are more indices than its ", x.dims(), " dimensions"));
  return all;
}

IndexPlan plan_of(const char* op, const Tensor& x, std::span<const Tensor> given) {
  NoGrad none;
  const Tensors all = without_masks(op, x, given);
  IndexPlan p;
  int first = -1, last = -1;
  for (size_t d = 0; d < all.size(); ++d) {
    if (!all[d].defined()) continue;
    if (first < 0) first = static_cast<int>(d);
    last = static_cast<int>(d);
    p.order.push_back(static_cast<int>(d));
    const Shape& s = all[d].shape();
    Shape both = s.size() > p.shape.size() ? s : p.shape;
    for (int i = 1; i <= both.size(); ++i) {
      const int64_t a = i <= s.size() ? s[s.size() - i] : 1,
                    b = i <= p.shape.size() ? p.shape[p.shape.size() - i] : 1;
      if (a != b && a != 1 && b != 1)
        fail(op, x, given, "the indices do not broadcast against each other");
      both[both.size() - i] = a == 1 ? b : a;
    }
    p.shape = both;
  }
  if (first < 0) fail(op, x, given, "there is no index");
  const size_t m = p.order.size();
  for (size_t i = 0; i < m; ++i) {
    const Tensor t = to(all[p.order[i]], DType::i64);
    p.indices.push_back(packed(expand(t, p.shape)));
    if (!x.device().is_cpu()) {  // kernels of other chips do not look
      const int64_t n = x.shape()[p.order[i]];
      check_index(op, x, p.order[i], where(lt(t, 0), add(t, n), t));
    }
  }
  for (int d = 0; d < x.dims(); ++d)
    if (d >= static_cast<int>(all.size()) || !all[d].defined()) p.order.push_back(d);
  if (p.shape.size() + x.dims() - static_cast<int>(m) > kMaxDims)
    fail(op, x, given, str("the result would have more than ", kMaxDims, " dimensions"));
  // Neighbours leave the indices' dimensions where they were.
  const bool neighbours = last - first + 1 == static_cast<int>(m);
  const int before = neighbours ? first : 0, b = p.shape.size();
  const int others = x.dims() - static_cast<int>(m);
  for (int k = 0; k < before; ++k) p.result.push_back(b + k);
  for (int k = 0; k < b; ++k) p.result.push_back(k);
  for (int k = before; k < others; ++k) p.result.push_back(b + k);
  return p;
}

void run(const char* op, const Tensor& x, std::span<const Tensor> given, const KernelRef& kernel,
         const Tensor& out, const Tensor& in, const Tensors& indices,
         std::initializer_list<Attr> a) {
  Tensors ins{in};
  ins.insert(ins.end(), indices.begin(), indices.end());
  try {
    launch(kernel, std::span(&out, 1), ins, std::span(a.begin(), a.size()));
  } catch (const IndexError& e) {
    throw IndexError(str(op, " of ", x.text(), " by ", text_of(given), ": ", e.what()));
  }
}

std::vector<int> inverse(const std::vector<int>& order) {
  std::vector<int> back(order.size());
  for (size_t i = 0; i < order.size(); ++i) back[order[i]] = static_cast<int>(i);
  return back;
}

Tensor read(const char* op, const Tensor& x, std::span<const Tensor> given, const IndexPlan& p) {
  const int64_t m = static_cast<int64_t>(p.indices.size());
  // One index: slices that follow each other are copied whole.
  const Tensor y = Tensor::empty(p.result_shape(x), x.dtype(), x.device());
  NoGrad none;
  if (y.numel()) run(op, x, given, kIndex, y, permute(x.detach(), p.order), p.indices, {m});
  return permute(y, p.result);
}

void write(const char* op, const Tensor& x, std::span<const Tensor> given, const IndexPlan& p,
           const Tensor& values, bool accumulate) {
  const int64_t m = static_cast<int64_t>(p.indices.size());
  NoGrad none;
  if (values.numel() == 0) return;
  run(op, x, given, kIndexPut, permute(x.detach(), p.order), permute(values, inverse(p.result)),
      p.indices, {m, accumulate});
}

// The shape that index() would give.
Shape picked_shape(const Tensor& x, const IndexPlan& p) {
  const Shape all = p.result_shape(x);
  Shape shape;
  for (const int d : p.result) shape.push_back(all[d]);
  return shape;
}

}  // namespace

Tensor index(const Tensor& x, std::span<const Tensor> indices) {
  const IndexPlan p = plan_of("index", x, indices);
  const Tensor y = read("index", x, indices, p);
  if (is_float(x.dtype()) && should_record({&x}))
    record("index", {x}, {y},
           [given = Tensors(indices.begin(), indices.end()), from = x.shape(),
            dtype = x.dtype()](BackwardContext& c) -> Tensors {
             const DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
             const Tensor dx = Tensor::zeros(from, wide, c.grad().device());
             return {to(index_put_(dx, given, to(c.grad(), wide), true), dtype)};
           });
  return y;
}

const Tensor& index_put_(const Tensor& x, std::span<const Tensor> indices, const Tensor& values,
                         bool accumulate) {
  const IndexPlan p = plan_of("index_put_", x, indices);
  check_written("index_put_", x, values);
  const Shape shape = picked_shape(x, p);
  const bool recorded = should_record({&x, &values});
  Tensor spread;
  try {
    NoGrad none;
    spread = expand(apart(x, values), shape);
  } catch (const Error&) {
    throw Error(Fault::usage, str("index_put_ of ", x.text(), " by ", text_of(indices), ": values ",
                                  values.text(), " do not broadcast to ", shape.text()));
  }
  mark_in_place("index_put_", x, recorded);
  write("index_put_", x, indices, p, spread, accumulate);
  if (recorded)
    record("index_put_", {x, values}, {x},
           [given = Tensors(indices.begin(), indices.end()), accumulate,
            from = values.shape()](BackwardContext& c) -> Tensors {
             const Tensor g = c.grad();
             Tensor dx = g;
             if (!accumulate && c.needs(0)) {
               dx = clone(g);
               index_put_(dx, given, Tensor::zeros({}, g.dtype(), g.device()));
             }
             return {dx, c.needs(1) ? sum_to(index(g, given), from) : Tensor()};
           });
  return x;
}

Tensor index_put(const Tensor& x, std::span<const Tensor> indices, const Tensor& values,
                 bool accumulate) {
  return index_put_(clone(x), indices, values, accumulate);
}

Tensor take(const Tensor& x, const Tensor& index) {
  if (index.dtype() != DType::i64 && index.dtype() != DType::i32)
    fail_index("take", x, index, "it must be i32 or i64");
  return wellspring::index(reshape(x, {-1}), std::span(&index, 1));
}

const Tensor& put_(const Tensor& x, const Tensor& index, const Tensor& source, bool accumulate) {
  if (index.dtype() != DType::i64 && index.dtype() != DType::i32)
    fail_index("put_", x, index, "it must be i32 or i64");
  if (source.numel() != index.numel())
    fail_index("put_", x, index, str("source ", source.text(), " must have as many elements"));
  const Tensor values = reshape(source, index.shape());
  if (!x.is_contiguous() || should_record({&x, &source})) {
    const Tensor flat = index_put(reshape(x, {-1}), std::span(&index, 1), values, accumulate);
    return copy_(x, view(flat, x.shape()));
  }
  index_put_(view(x.detach(), {x.numel()}), std::span(&index, 1), values, accumulate);
  return x;
}

}  // namespace wellspring
