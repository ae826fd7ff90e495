// Complex numbers: views of their parts, and the conjugate.

#include "ops/complex.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kConj("conj"), kCopy("copy");

void check_complex(const char* op, const Tensor& x) {
  if (!x.defined() || !is_complex(x.dtype()))
    throw Error(Fault::usage,
                str(op, ": x is complex, not ", x.defined() ? x.text() : "undefined"));
}

// The same memory as elements of another dtype.
Tensor seen_as(const Tensor& x, DType dtype, const Shape& shape, const Shape& strides,
               int64_t offset) {
  auto data = std::make_shared<TensorData>();
  data->storage = x.storage();
  data->shape = shape, data->strides = strides, data->offset = offset;
  data->dtype = dtype;
  data->is_view = true;
  return Tensor(std::move(data));
}

// Without gradient.
Tensor pairs_of(const Tensor& x) {
  if (x.dims() == kMaxDims)
    throw Error(Fault::usage, str("view_as_real of ", x.text(), ": no room for a dimension"));
  Shape shape = x.shape(), strides;
  for (int64_t s : x.strides()) strides.push_back(2 * s);
  shape.push_back(2), strides.push_back(1);
  return seen_as(x, DType::f32, shape, strides, 2 * x.offset());
}
Tensor of_pairs(const Tensor& x) {
  const int n = x.dims() - 1;
  bool fits = x.dtype() == DType::f32 && n >= 0 && x.shape()[n] == 2 && x.strides()[n] == 1 &&
              x.offset() % 2 == 0;
  Shape shape, strides;
  for (int d = 0; fits && d < n; ++d) {
    fits = x.strides()[d] % 2 == 0 || x.shape()[d] <= 1;
    shape.push_back(x.shape()[d]), strides.push_back(x.strides()[d] / 2);
  }
  if (!fits)
    throw Error(Fault::usage, str("view_as_complex: x is f32[..., 2] with a last stride of 1 and "
                                  "other strides and offset even, but is ",
                                  x.text(), " with strides ", x.strides().text()));
  return seen_as(x, DType::c64, shape, strides, x.offset() / 2);
}

// Part 0 (real) or 1 of every element.
Tensor part_of(const Tensor& x, int part) {
  Shape strides;
  for (int64_t s : x.strides()) strides.push_back(2 * s);
  return seen_as(x, DType::f32, x.shape(), strides, 2 * x.offset() + part);
}
Tensor part(const char* op, const Tensor& x, int which) {
  check_complex(op, x);
  const Tensor y = part_of(x, which);
  if (should_record({&x}))
    record(op, {x}, {y}, [which](BackwardContext& c) -> Tensors {
      const Tensor dx = Tensor::zeros(c.grad().shape(), DType::c64, c.grad().device());
      launch(kCopy, {part_of(dx, which)}, {c.grad().detach()});
      return {dx};
    });
  return y;
}

Tensor conjugate(const Tensor& x) {
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  launch(kConj, {y}, {x.detach()});
  return y;
}

}  // namespace

Tensor view_as_real(const Tensor& x) {
  check_complex("view_as_real", x);
  const Tensor y = pairs_of(x);
  if (should_record({&x}))
    record("view_as_real", {x}, {y},
           [](BackwardContext& c) -> Tensors { return {of_pairs(contiguous(c.grad().detach()))}; });
  return y;
}

Tensor view_as_complex(const Tensor& x) {
  const Tensor y = of_pairs(x);
  if (should_record({&x}))
    record("view_as_complex", {x}, {y},
           [](BackwardContext& c) -> Tensors { return {pairs_of(c.grad())}; });
  return y;
}

Tensor real(const Tensor& x) { return is_complex(x.dtype()) ? part("real", x, 0) : x; }
Tensor imag(const Tensor& x) { return part("imag", x, 1); }

Tensor complex(const Tensor& real, const Tensor& imag) {
  if (!real.defined() || !imag.defined() || real.dtype() != DType::f32 ||
      imag.dtype() != DType::f32 || !(real.shape() == imag.shape()))
    throw Error(Fault::usage, str("complex: the parts are f32 of one shape, but are ",
                                  real.defined() ? real.text() : "undefined", " and ",
                                  imag.defined() ? imag.text() : "undefined"));
  const Tensor y = Tensor::empty(real.shape(), DType::c64, real.device());
  launch(kCopy, {part_of(y, 0)}, {real.detach()});
  launch(kCopy, {part_of(y, 1)}, {imag.detach()});
  if (should_record({&real, &imag}))
    record("complex", {real, imag}, {y}, [](BackwardContext& c) -> Tensors {
      return {part_of(c.grad(), 0), part_of(c.grad(), 1)};
    });
  return y;
}

Tensor conj_physical(const Tensor& x) {
  if (!is_complex(x.dtype())) return clone(x);
  const Tensor y = conjugate(x);
  if (should_record({&x}))
    record("conj_physical", {x}, {y},
           [](BackwardContext& c) -> Tensors { return {conjugate(c.grad())}; });
  return y;
}
const Tensor& conj_physical_(const Tensor& x) {
  if (!is_complex(x.dtype())) return x;
  const bool recorded = should_record({&x});
  mark_in_place("conj_physical_", x, recorded);
  launch(kConj, {x.detach()}, {x.detach()});
  if (recorded)
    record("conj_physical_", {x}, {x},
           [](BackwardContext& c) -> Tensors { return {conjugate(c.grad())}; });
  return x;
}
Tensor resolve_conj(const Tensor& x) { return x; }
Tensor resolve_neg(const Tensor& x) { return x; }

}  // namespace wellspring
