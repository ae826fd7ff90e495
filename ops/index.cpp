// Checks and derivatives of picking by index, and of adding by it. More that is written by index is
// in ops/scatter.cpp, several indices at once in ops/index_list.cpp.

#include "ops/index.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/creation.h"
#include "ops/dims.h"
#include "ops/indexing.h"
#include "ops/pointwise.h"
#include "ops/scatter_parts.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

KernelRef kSelect("index_select");
KernelRef kIndexAdd("index_add");
KernelRef kGather("gather");
KernelRef kScatterAdd("scatter_add");

// Whether the elements after dimension `dim` follow each other, as index_select's kernel needs.
bool has_slices(const Tensor& x, int dim) {
  int64_t step = 1;
  for (int i = x.dims() - 1; i > dim; --i) {
    if (x.shape()[i] != 1 && x.strides()[i] != step) return false;
    step *= x.shape()[i];
  }
  return true;
}

// The gradient of what was picked, added up where it came from, in f32 for the 16-bit floats.
Tensor add_up(const KernelRef& kernel, const Shape& shape, DType dtype, int dim,
              const Tensor& index, const Tensor& g) {
  const DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
  const Tensor dx = Tensor::zeros(shape, wide, g.device());
  launch(kernel, {dx}, {index, to(g, wide)}, {dim});
  return to(dx, dtype);
}

}  // namespace

Tensor index_select(const Tensor& x, int dim, const Tensor& index) {
  const int d = dim_of("index_select", x, dim);
  if (x.dims() == 0) return view(index_select(as_line(x), 0, as_line(index)), Shape{});
  if (index.dims() == 0) return index_select(x, dim, as_line(index));
  check_list("index_select", x, d, index);
  Shape shape = x.shape();
  shape[d] = index.numel();
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  launch_by_index("index_select", x, index, kSelect, {y},
                  {has_slices(x, d) ? x : contiguous(x.detach()), index}, {d});
  if (is_float(x.dtype()) && should_record({&x}))
    record("index_select", {x}, {y},
           [index = Saved(index), d, from = x.shape(),
            dtype = x.dtype()](BackwardContext& c) -> Tensors {
             return {add_up(kIndexAdd, from, dtype, d, c.saved(index), c.grad())};
           });
  return y;
}

const Tensor& index_add_(const Tensor& x, int dim, const Tensor& index, const Tensor& source,
                         double alpha) {
  const int d = dim_of("index_add_", x, dim);
  if (x.dims() == 0)
    return copy_(x,
                 view(index_add(as_line(x), 0, as_line(index), as_line(source), alpha), Shape{}));
  if (alpha != 1)
    return index_add_(
        x, dim, index,
        mul(source, to(Tensor::full({}, alpha, DType::f64, x.device()), source.dtype())));
  if (index.dims() == 0) return index_add_(x, dim, as_line(index), unsqueeze(source, d));
  check_list("index_add_", x, d, index);
  check_written("index_add_", x, source);
  Shape shape = x.shape();
  shape[d] = index.numel();
  if (!(source.shape() == shape))
    fail_index("index_add_", x, index,
               str("source must have shape ", shape.text(), ", not ", source.text()));
  const bool recorded = should_record({&x, &source});
  const Tensor values = apart(x, source);
  mark_in_place("index_add_", x, recorded);
  launch_by_index("index_add_", x, index, kIndexAdd, {x}, {index, values}, {d});
  if (recorded)
    record("index_add_", {x, source}, {x},
           [index = Saved(index), d](BackwardContext& c) -> Tensors {
             return {c.grad(), c.needs(1) ? index_select(c.grad(), d, c.saved(index)) : Tensor()};
           });
  return x;
}

Tensor index_add(const Tensor& x, int dim, const Tensor& index, const Tensor& source,
                 double alpha) {
  return index_add_(clone(x), dim, index, source, alpha);
}

Tensor gather(const Tensor& x, int dim, const Tensor& index) {
  const int d = dim_of("gather", x, dim);
  if (x.dims() == 0) {
    const Tensor y = gather(as_line(x), 0, as_line(index));
    return index.dims() == 0 ? view(y, Shape{}) : y;
  }
  if (index.dims() == 0) return view(gather(x, dim, as_line(index)), Shape{});
  check_places("gather", x, d, index);
  const Tensor y = Tensor::empty(index.shape(), x.dtype(), x.device());
  launch_by_index("gather", x, index, kGather, {y}, {x, index}, {d}, true);
  if (is_float(x.dtype()) && should_record({&x}))
    record("gather", {x}, {y},
           [index = Saved(index), d, from = x.shape(),
            dtype = x.dtype()](BackwardContext& c) -> Tensors {
             return {add_up(kScatterAdd, from, dtype, d, c.saved(index), c.grad())};
           });
  return y;
}

Tensor take_along_dim(const Tensor& x, const Tensor& index, std::optional<int> dim) {
  if (!dim) return gather(flatten(x), 0, flatten(index));
  if (x.dims() != index.dims())
    fail_index("take_along_dim", x, index, "both must have as many dimensions");
  const int d = dim_of("take_along_dim", x, *dim);
  Shape from = x.shape(), by = index.shape();
  for (int i = 0; i < x.dims(); ++i) {
    if (i == d) continue;
    if (from[i] != by[i] && from[i] != 1 && by[i] != 1)
      fail_index("take_along_dim", x, index, str("dimension ", i, " does not broadcast"));
    from[i] = by[i] = from[i] == 1 ? by[i] : from[i];
  }
  return gather(expand(x, from), d, expand(index, by));
}

const Tensor& scatter_add_(const Tensor& x, int dim, const Tensor& index, const Tensor& source) {
  const int d = dim_of("scatter_add_", x, dim);
  if (x.dims() == 0)
    return copy_(x, view(scatter_add(as_line(x), 0, as_line(index), as_line(source)), Shape{}));
  check_places("scatter_add_", x, d, index);
  check_written("scatter_add_", x, source);
  const Tensor part = source_part("scatter_add_", x, index, source);
  const bool recorded = should_record({&x, &part});
  const Tensor values = apart(x, part);
  mark_in_place("scatter_add_", x, recorded);
  launch_by_index("scatter_add_", x, index, kScatterAdd, {x}, {index, values}, {d}, true);
  if (recorded)
    record("scatter_add_", {x, part}, {x},
           [index = Saved(index), d](BackwardContext& c) -> Tensors {
             return {c.grad(), c.needs(1) ? gather(c.grad(), d, c.saved(index)) : Tensor()};
           });
  return x;
}

Tensor scatter_add(const Tensor& x, int dim, const Tensor& index, const Tensor& source) {
  return scatter_add_(clone(x), dim, index, source);
}

namespace {

void check_mask(const char* op, const Tensor& x, const Tensor& mask) {
  if (mask.dtype() != DType::boolean)
    throw Error(Fault::usage,
                str(op, " of ", x.text(), ": the mask ", mask.text(), " must be bool"));
}

// A 0-d value in the dtype of x.
Tensor number_like(const char* op, const Tensor& x, const Tensor& value) {
  if (value.dims() != 0)
    throw Error(Fault::usage,
                str(op, " of ", x.text(), ": the value ", value.text(), " must be 0-d"));
  return to(value, x.dtype());
}

const Tensor& fill_masked(const Tensor& x, const Tensor& mask, const Tensor& value) {
  check_mask("masked_fill_", x, mask);
  const bool recorded = should_record({&x, &value});
  const Tensor spread = expand(mask, x.shape());
  mark_in_place("masked_fill_", x, recorded);
  {
    NoGrad none;
    const Tensor target = x.detach();
    where_out(target, spread, value.detach(), target);
  }
  if (recorded)
    record("masked_fill_", {x, value}, {x}, [mask = Saved(mask)](BackwardContext& c) -> Tensors {
      const Tensor g = c.grad(), none = Tensor::zeros({}, g.dtype(), g.device());
      return {where(c.saved(mask), none, g),
              c.needs(1) ? sum_to(where(c.saved(mask), g, none), Shape{}) : Tensor()};
    });
  return x;
}

}  // namespace

Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value) {
  check_mask("masked_fill", x, mask);
  return where(mask, full_like(Tensor::empty({}, x.dtype(), x.device()), value), x);
}
Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value) {
  check_mask("masked_fill", x, mask);
  return where(mask, number_like("masked_fill", x, value), x);
}

const Tensor& masked_fill_(const Tensor& x, const Tensor& mask, Scalar value) {
  return fill_masked(x, mask, full_like(Tensor::empty({}, x.dtype(), x.device()), value));
}
const Tensor& masked_fill_(const Tensor& x, const Tensor& mask, const Tensor& value) {
  return fill_masked(x, mask, number_like("masked_fill_", x, value));
}

}  // namespace wellspring
