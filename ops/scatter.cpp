// Checks and derivatives of writing by index. Masks are in ops/masked.cpp.

#include "ops/scatter.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/arrange.h"
#include "ops/creation.h"
#include "ops/dims.h"
#include "ops/index.h"
#include "ops/indexing.h"
#include "ops/pointwise.h"
#include "ops/scatter_parts.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {

Tensor source_part(const char* op, const Tensor& x, const Tensor& index, const Tensor& source) {
  if (source.dims() != index.dims())
    fail_index(op, x, index, str("source ", source.text(), " must have as many dimensions"));
  Tensor part = source;
  for (int i = 0; i < index.dims(); ++i) {
    if (index.shape()[i] > source.shape()[i])
      fail_index(op, x, index, str("source ", source.text(), " is smaller than it"));
    if (index.shape()[i] < part.shape()[i]) part = narrow(part, i, 0, index.shape()[i]);
  }
  return part;
}

namespace {

KernelRef kScatter("scatter"), kAdd("scatter_add"), kProd("scatter_prod"), kMax("scatter_amax"),
    kMin("scatter_amin"), kIndexCopy("index_copy");

Tensor number_for(const Tensor& x, Scalar value) {
  return full_like(Tensor::empty({}, x.dtype(), x.device()), value);
}

// A number in place of a source.
Tensor spread(const Tensor& x, const Tensor& index, Scalar value) {
  return expand(number_for(x, value), index.shape());
}

// x with the places of the index overwritten by a number; x is not changed.
Tensor overwritten(const Tensor& x, int dim, const Tensor& index, Scalar value) {
  NoGrad none;
  const Tensor y = clone(x.detach());
  launch(kScatter, {y}, {index, spread(y, index, value)}, {dim});
  return y;
}

Tensor ones_at(const Tensor& like, int dim, const Tensor& index, double start) {
  const Tensor count = Tensor::full(like.shape(), start, DType::f32, like.device());
  launch(kAdd, {count}, {index, spread(count, index, 1)}, {dim});
  return count;
}

enum class Reduce { sum, prod, mean, amax, amin };

Reduce reduce_of(const char* op, std::string_view name) {
  constexpr std::string_view kNames[] = {"sum", "prod", "mean", "amax", "amin"};
  for (int i = 0; i < 5; ++i)
    if (kNames[i] == name) return static_cast<Reduce>(i);
  throw Error(Fault::usage,
              str(op, ": reduce is 'sum', 'prod', 'mean', 'amax' or 'amin', not '", name, "'"));
}

// The derivative of scatter_reduce with x and source as they were and y as it became.
struct ReduceBack {
  Reduce reduce;
  bool include_self;
  int dim;

  Tensors operator()(const Tensor& g, const Tensor& x, const Tensor& index, const Tensor& source,
                     const Tensor& y) const {
    switch (reduce) {
      case Reduce::sum:
        return {own(g, index), gather(g, dim, index)};
      case Reduce::mean: {
        const Tensor count =
            to(clamp_min(ones_at(g, dim, index, include_self ? 1 : 0), 1), g.dtype());
        const Tensor share = div(g, count);
        return {own(share, index), gather(share, dim, index)};
      }
      case Reduce::prod:
        return product(g, x, index, source);
      default: {
        // Equal ones share.
        const Tensor self =
            include_self ? eq(x, y) : logical_and(eq(x, y), eq(ones_at(g, dim, index, 0), 0));
        const Tensor hit = eq(source, gather(y, dim, index));
        Tensor count = to(self, g.dtype());
        scatter_add_(count, dim, index, to(hit, g.dtype()));
        const Tensor share = div(g, clamp_min(count, 1));
        const Tensor none = Tensor::zeros({}, g.dtype(), g.device());
        return {where(self, share, none), where(hit, gather(share, dim, index), none)};
      }
    }
  }

  // What of g reaches x.
  Tensor own(const Tensor& g, const Tensor& index) const {
    return include_self ? g : overwritten(g, dim, index, 0);
  }

  // By the product of the factors that are not 0 and the number of those that are.
  Tensors product(const Tensor& g, const Tensor& x, const Tensor& index,
                  const Tensor& source) const {
    const Tensor one = number_for(g, 1), none = number_for(g, 0);
    const Tensor x0 = include_self ? x : overwritten(x, dim, index, 1);
    const Tensor zero_x = eq(x0, 0), zero_s = eq(source, 0);
    const Tensor rest = where(zero_x, one, x0), zeros = to(zero_x, g.dtype());
    launch(kProd, {rest}, {index, where(zero_s, one, source)}, {dim});
    scatter_add_(zeros, dim, index, to(zero_s, g.dtype()));
    const Tensor whole = mul(g, rest);
    const Tensor if_none = where(eq(zeros, 0), whole, none),
                 if_one = where(eq(zeros, 1), whole, none);
    const Tensor dx = where(zero_x, if_one, div(if_none, where(zero_x, one, x0)));
    const Tensor ds = where(zero_s, gather(if_one, dim, index),
                            div(gather(if_none, dim, index), where(zero_s, one, source)));
    return {own(dx, index), ds};
  }
};

const Tensor& put_by_place(const char* op, const Tensor& x, int dim, const Tensor& index,
                           const Tensor& source) {
  const int d = dim_of(op, x, dim);
  if (x.dims() == 0)
    return copy_(x, view(scatter(as_line(x), 0, as_line(index), as_line(source)), Shape{}));
  check_places(op, x, d, index);
  check_written(op, x, source);
  const Tensor part = source_part(op, x, index, source);
  const bool recorded = should_record({&x, &part});
  const Tensor values = apart(x, part);
  mark_in_place(op, x, recorded);
  launch_by_index(op, x, index, kScatter, {x}, {index, values}, {d}, true);
  if (recorded)
    record(op, {x, part}, {x}, [index = Saved(index), d](BackwardContext& c) -> Tensors {
      const Tensor at = c.saved(index);
      return {c.needs(0) ? overwritten(c.grad(), d, at, 0) : Tensor(),
              c.needs(1) ? gather(c.grad(), d, at) : Tensor()};
    });
  return x;
}

// A tensor that scatter's old forms reduce with.
const Tensor& put_reduced(const Tensor& x, int dim, const Tensor& index, const Tensor& source,
                          std::string_view reduce) {
  if (reduce != "add" && reduce != "multiply")
    throw Error(Fault::usage, str("scatter_: reduce is 'add' or 'multiply', not '", reduce, "'"));
  return reduce == "add" ? scatter_add_(x, dim, index, source)
                         : scatter_reduce_(x, dim, index, source, "prod");
}

}  // namespace

const Tensor& scatter_(const Tensor& x, int dim, const Tensor& index, const Tensor& source) {
  return put_by_place("scatter_", x, dim, index, source);
}
const Tensor& scatter_(const Tensor& x, int dim, const Tensor& index, Scalar value) {
  return put_by_place("scatter_", x, dim, index, spread(x, index, value));
}
const Tensor& scatter_(const Tensor& x, int dim, const Tensor& index, const Tensor& source,
                       std::string_view reduce) {
  return put_reduced(x, dim, index, source, reduce);
}
const Tensor& scatter_(const Tensor& x, int dim, const Tensor& index, Scalar value,
                       std::string_view reduce) {
  return put_reduced(x, dim, index, spread(x, index, value), reduce);
}
Tensor scatter(const Tensor& x, int dim, const Tensor& index, const Tensor& source) {
  return scatter_(clone(x), dim, index, source);
}
Tensor scatter(const Tensor& x, int dim, const Tensor& index, Scalar value) {
  return scatter_(clone(x), dim, index, value);
}
Tensor scatter(const Tensor& x, int dim, const Tensor& index, const Tensor& source,
               std::string_view reduce) {
  return scatter_(clone(x), dim, index, source, reduce);
}
Tensor scatter(const Tensor& x, int dim, const Tensor& index, Scalar value,
               std::string_view reduce) {
  return scatter_(clone(x), dim, index, value, reduce);
}

const Tensor& scatter_reduce_(const Tensor& x, int dim, const Tensor& index, const Tensor& source,
                              std::string_view reduce, bool include_self) {
  const char* op = "scatter_reduce_";
  const Reduce how = reduce_of(op, reduce);
  const int d = dim_of(op, x, dim);
  if (x.dims() == 0)
    return copy_(x, view(scatter_reduce(as_line(x), 0, as_line(index), as_line(source), reduce,
                                        include_self),
                         Shape{}));
  check_places(op, x, d, index);
  check_written(op, x, source);
  const Tensor part = source_part(op, x, index, source);
  const bool recorded = is_float(x.dtype()) && should_record({&x, &part});
  const Tensor values = apart(x, part);
  Saved before, by, from;
  {
    NoGrad none;
    if (recorded && how > Reduce::sum) before = clone(x.detach()), by = values;
  }
  mark_in_place(op, x, recorded);
  {
    NoGrad none;
    const Tensor y = x.detach();
    // A place begins with nothing: one of its own values does not change their extremes.
    if (!include_self)
      launch_by_index(
          op, x, index, kScatter, {y},
          {index, how >= Reduce::amax ? values : spread(y, index, how == Reduce::prod ? 1 : 0)},
          {d}, true);
    const KernelRef& kernel = how == Reduce::prod   ? kProd
                              : how == Reduce::amax ? kMax
                              : how == Reduce::amin ? kMin
                                                    : kAdd;
    launch_by_index(op, x, index, kernel, {y}, {index, values}, {d}, true);
    if (how == Reduce::mean) {
      const Tensor count = clamp_min(ones_at(y, d, index, include_self ? 1 : 0), 1);
      if (is_float(y.dtype()))
        copy_(y, div(y, count));
      else
        copy_(y, floor(div(to(y, DType::f64), to(count, DType::f64))));
    }
  }
  if (recorded)
    record(op, {x, part}, {x},
           [index = Saved(index), before, by, after = Saved(x),
            back = ReduceBack{how, include_self, d}](BackwardContext& c) -> Tensors {
             const Tensor at = c.saved(index);
             if (back.reduce == Reduce::sum) return back(c.grad(), {}, at, {}, {});
             return back(c.grad(), c.saved(before), at, c.saved(by), c.saved(after));
           });
  return x;
}

Tensor scatter_reduce(const Tensor& x, int dim, const Tensor& index, const Tensor& source,
                      std::string_view reduce, bool include_self) {
  return scatter_reduce_(clone(x), dim, index, source, reduce, include_self);
}

namespace {

const Tensor& put_by_slice(const char* op, const Tensor& x, int dim, const Tensor& index,
                           const Tensor& source) {
  const int d = dim_of(op, x, dim);
  check_list(op, x, d, index);
  check_written(op, x, source);
  Shape shape = x.shape();
  shape[d] = index.numel();
  if (!(source.shape() == shape))
    fail_index(op, x, index, str("source must have shape ", shape.text(), ", not ", source.text()));
  const bool recorded = should_record({&x, &source});
  const Tensor values = apart(x, source);
  mark_in_place(op, x, recorded);
  launch_by_index(op, x, index, kIndexCopy, {x}, {index, values}, {d});
  if (recorded)
    record(op, {x, source}, {x}, [index = Saved(index), d](BackwardContext& c) -> Tensors {
      const Tensor at = c.saved(index);
      Tensor dx;
      if (c.needs(0)) {
        dx = clone(c.grad());
        Shape shape = dx.shape();
        shape[d] = at.numel();
        launch(kIndexCopy, {dx}, {at, expand(number_for(dx, 0), shape)}, {d});
      }
      return {dx, c.needs(1) ? index_select(c.grad(), d, at) : Tensor()};
    });
  return x;
}

Shape slices_shape(const char* op, const Tensor& x, int dim, const Tensor& index) {
  Shape shape = x.shape();
  shape[dim_of(op, x, dim)] = index.numel();
  return shape;
}

}  // namespace

const Tensor& index_copy_(const Tensor& x, int dim, const Tensor& index, const Tensor& source) {
  if (x.dims() == 0)
    return copy_(x, view(index_copy(as_line(x), dim, as_line(index), as_line(source)), Shape{}));
  if (index.dims() == 0)
    return put_by_slice("index_copy_", x, dim, as_line(index),
                        unsqueeze(source, dim_of("index_copy_", x, dim)));
  return put_by_slice("index_copy_", x, dim, index, source);
}
Tensor index_copy(const Tensor& x, int dim, const Tensor& index, const Tensor& source) {
  return index_copy_(clone(x), dim, index, source);
}

const Tensor& index_fill_(const Tensor& x, int dim, const Tensor& index, const Tensor& value) {
  if (value.dims() != 0)
    throw Error(Fault::usage,
                str("index_fill_ of ", x.text(), ": the value ", value.text(), " must be 0-d"));
  if (x.dims() == 0)
    return copy_(x, view(index_fill(as_line(x), dim, as_line(index), value), Shape{}));
  const Tensor list = as_line(index);
  return put_by_slice("index_fill_", x, dim, list,
                      expand(to(value, x.dtype()), slices_shape("index_fill_", x, dim, list)));
}
const Tensor& index_fill_(const Tensor& x, int dim, const Tensor& index, Scalar value) {
  return index_fill_(x, dim, index, number_for(x, value));
}
Tensor index_fill(const Tensor& x, int dim, const Tensor& index, Scalar value) {
  return index_fill_(clone(x), dim, index, value);
}
Tensor index_fill(const Tensor& x, int dim, const Tensor& index, const Tensor& value) {
  return index_fill_(clone(x), dim, index, value);
}

namespace {

// A copy of x with source in the place that `part` shows of a tensor.
template <class Part>
Tensor put_part(const char* op, const Tensor& x, const Tensor& source, Part part) {
  if (x.dtype() != source.dtype())
    throw Error(Fault::usage,
                str(op, ": ", x.text(), " and source ", source.text(), " must be of one dtype"));
  Tensor y;
  {
    NoGrad none;
    y = clone(x.detach());
    const Tensor target = part(y);
    if (!(target.shape() == source.shape()))
      throw Error(Fault::usage, str(op, " of ", x.text(), ": source must have shape ",
                                    target.shape().text(), ", not ", source.text()));
    copy_(target, source.detach());
  }
  if (is_float(x.dtype()) && should_record({&x, &source}))
    record(op, {x, source}, {y}, [part](BackwardContext& c) -> Tensors {
      Tensor dx;
      if (c.needs(0)) {
        dx = clone(c.grad());
        zero_(part(dx));
      }
      return {dx, c.needs(1) ? clone(part(c.grad())) : Tensor()};
    });
  return y;
}

}  // namespace

Tensor select_scatter(const Tensor& x, const Tensor& source, int dim, int64_t index) {
  return put_part("select_scatter", x, source,
                  [=](const Tensor& t) { return select(t, dim, index); });
}
Tensor slice_scatter(const Tensor& x, const Tensor& source, int dim, std::optional<int64_t> start,
                     std::optional<int64_t> end, int64_t step) {
  const int64_t n = x.dims() ? x.size(dim_of("slice_scatter", x, dim)) : 0;
  return put_part("slice_scatter", x, source, [=](const Tensor& t) {
    return slice(t, dim, start.value_or(0), end.value_or(n), step);
  });
}
Tensor diagonal_scatter(const Tensor& x, const Tensor& source, int64_t offset, int dim1, int dim2) {
  return put_part("diagonal_scatter", x, source,
                  [=](const Tensor& t) { return diagonal(t, offset, dim1, dim2); });
}

}  // namespace wellspring
