// Checks and derivatives of picking by index.

#include "ops/index.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/dims.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kSelect("index_select");
KernelRef kIndexAdd("index_add");
KernelRef kGather("gather");
KernelRef kScatterAdd("scatter_add");

[[noreturn]] void fail(const char* op, const Tensor& x, const Tensor& index,
                       const std::string& why) {
  throw Error(Fault::usage, str(op, " of ", x.text(), " by index ", index.text(), ": ", why));
}

// The kernels do not look: every index has to lie in the dimension.
void check_index(const char* op, const Tensor& x, int dim, const Tensor& index) {
  if (x.dims() == 0) fail(op, x, index, "a 0-d tensor has nothing to pick from; use unsqueeze()");
  if (index.dtype() != DType::i32 && index.dtype() != DType::i64)
    fail(op, x, index, "it must be i32 or i64");
  if (index.numel() == 0) return;
  NoGrad none;
  const double low = amin(index).item(), high = amax(index).item();
  if (low < 0 || high >= static_cast<double>(x.shape()[dim]))
    fail(op, x, index,
         str("indices from ", static_cast<int64_t>(low), " to ", static_cast<int64_t>(high),
             " do not all lie in dimension ", dim));
}

void check_list(const char* op, const Tensor& x, int dim, const Tensor& index) {
  if (index.dims() != 1) fail(op, x, index, "it must be 1-d");
  check_index(op, x, dim, index);
}

// `most`: the extents that index may have outside `dim`.
void check_places(const char* op, const Tensor& x, int dim, const Tensor& index) {
  if (index.dims() != x.dims()) fail(op, x, index, "both must have as many dimensions");
  for (int i = 0; i < x.dims(); ++i)
    if (i != dim && index.shape()[i] > x.shape()[i])
      fail(op, x, index, str("dimension ", i, " is too long"));
  check_index(op, x, dim, index);
}

void check_target(const char* op, const Tensor& x, const Tensor& source) {
  if (!is_float(x.dtype()) || x.dtype() != source.dtype())
    throw Error(Fault::usage, str(op, ": ", x.text(), " and source ", source.text(),
                                  " must be floating and of one dtype"));
  for (int i = 0; i < x.dims(); ++i)
    if (x.strides()[i] == 0 && x.shape()[i] > 1)
      throw Error(Fault::usage,
                  str(op, " in place on ", x.text(), ": elements share memory; clone() it first"));
}

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
  check_list("index_select", x, d, index);
  Shape shape = x.shape();
  shape[d] = index.numel();
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  launch(kSelect, {y}, {has_slices(x, d) ? x : contiguous(x.detach()), index}, {d});
  if (is_float(x.dtype()) && should_record({&x}))
    record("index_select", {x}, {y},
           [index = Saved(index), d, from = x.shape(),
            dtype = x.dtype()](BackwardContext& c) -> Tensors {
             return {add_up(kIndexAdd, from, dtype, d, c.saved(index), c.grad())};
           });
  return y;
}

const Tensor& index_add_(const Tensor& x, int dim, const Tensor& index, const Tensor& source) {
  const int d = dim_of("index_add_", x, dim);
  check_list("index_add_", x, d, index);
  check_target("index_add_", x, source);
  Shape shape = x.shape();
  shape[d] = index.numel();
  if (!(source.shape() == shape))
    fail("index_add_", x, index,
         str("source must have shape ", shape.text(), ", not ", source.text()));
  const bool recorded = should_record({&x, &source});
  const Tensor values = source.storage() == x.storage() ? clone(source.detach()) : source;
  mark_in_place("index_add_", x, recorded);
  launch(kIndexAdd, {x}, {index, values}, {d});
  if (recorded)
    record("index_add_", {x, source}, {x},
           [index = Saved(index), d](BackwardContext& c) -> Tensors {
             return {c.grad(), c.needs(1) ? index_select(c.grad(), d, c.saved(index)) : Tensor()};
           });
  return x;
}

Tensor gather(const Tensor& x, int dim, const Tensor& index) {
  const int d = dim_of("gather", x, dim);
  check_places("gather", x, d, index);
  const Tensor y = Tensor::empty(index.shape(), x.dtype(), x.device());
  launch(kGather, {y}, {x, index}, {d});
  if (is_float(x.dtype()) && should_record({&x}))
    record("gather", {x}, {y},
           [index = Saved(index), d, from = x.shape(),
            dtype = x.dtype()](BackwardContext& c) -> Tensors {
             return {add_up(kScatterAdd, from, dtype, d, c.saved(index), c.grad())};
           });
  return y;
}

const Tensor& scatter_add_(const Tensor& x, int dim, const Tensor& index, const Tensor& source) {
  const int d = dim_of("scatter_add_", x, dim);
  check_places("scatter_add_", x, d, index);
  check_target("scatter_add_", x, source);
  if (!(source.shape() == index.shape()))
    fail("scatter_add_", x, index, str("source ", source.text(), " must have its shape"));
  const bool recorded = should_record({&x, &source});
  const Tensor values = source.storage() == x.storage() ? clone(source.detach()) : source;
  mark_in_place("scatter_add_", x, recorded);
  launch(kScatterAdd, {x}, {index, values}, {d});
  if (recorded)
    record("scatter_add_", {x, source}, {x},
           [index = Saved(index), d](BackwardContext& c) -> Tensors {
             return {c.grad(), c.needs(1) ? gather(c.grad(), d, c.saved(index)) : Tensor()};
           });
  return x;
}

namespace {

void check_mask(const char* op, const Tensor& x, const Tensor& mask) {
  if (mask.dtype() != DType::boolean)
    throw Error(Fault::usage,
                str(op, " of ", x.text(), ": the mask ", mask.text(), " must be bool"));
}

}  // namespace

Tensor masked_fill(const Tensor& x, const Tensor& mask, Scalar value) {
  check_mask("masked_fill", x, mask);
  return where(mask, Tensor::full({}, value.f, x.dtype(), x.device()), x);
}

const Tensor& masked_fill_(const Tensor& x, const Tensor& mask, Scalar value) {
  check_mask("masked_fill_", x, mask);
  const bool recorded = should_record({&x});
  const Tensor spread = expand(mask, x.shape());
  mark_in_place("masked_fill_", x, recorded);
  {
    NoGrad none;
    const Tensor target = x.detach();
    where_out(target, spread, Tensor::full({}, value.f, x.dtype(), x.device()), target);
  }
  if (recorded)
    record("masked_fill_", {x}, {x}, [mask = Saved(mask)](BackwardContext& c) -> Tensors {
      return {masked_fill(c.grad(), c.saved(mask), 0)};
    });
  return x;
}

}  // namespace wellspring
