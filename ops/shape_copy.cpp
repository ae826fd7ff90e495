// Copies, conversions, fills and joins, and their derivatives. Views are in ops/shape.cpp.

#include "base/error.h"
#include "base/text.h"
#include "ops/complex.h"
#include "ops/dims.h"
#include "ops/pointwise_call.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kCopy("copy");
KernelRef kFill("fill");

// A row-major copy on the same device.
Tensor packed(const Tensor& x, DType dtype) {
  const Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  launch(kCopy, {y}, {x});
  return y;
}

void check_convertible(const char* op, const Tensor& x, DType to) {
  if (is_complex(x.dtype()) && !is_complex(to))
    throw Error(Fault::usage, str(op, ": ", x.text(), " does not convert to ", name_of(to)));
}

void check_target(const char* op, const Tensor& x) {
  for (int i = 0; i < x.dims(); ++i)
    if (x.strides()[i] == 0 && x.shape()[i] > 1)
      throw Error(Fault::usage,
                  str(op, " in place on ", x.text(), " with strides ", x.strides().text(),
                      ": elements share memory; clone() it first"));
}

bool same_place(const Tensor& a, const Tensor& b) {
  return a.offset() == b.offset() && a.strides() == b.strides() && a.dtype() == b.dtype();
}

// Overwriting x: nothing flows back to what it was.
void record_overwritten(const char* op, const Tensor& x) {
  record(op, {x}, {x}, [](BackwardContext&) -> Tensors { return {Tensor()}; });
}

}  // namespace

Tensor contiguous(const Tensor& x) { return x.is_contiguous() ? x : clone(x); }

Tensor clone(const Tensor& x) {
  const Tensor y = packed(x, x.dtype());
  if (should_record({&x}))
    record("clone", {x}, {y}, [](BackwardContext& c) -> Tensors { return {c.grad()}; });
  return y;
}

Tensor to(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  check_convertible("to", x, dtype);
  const Tensor y = packed(x, dtype);
  if ((is_float(dtype) || is_complex(dtype)) && should_record({&x}))
    record("to", {x}, {y}, [from = x.dtype()](BackwardContext& c) -> Tensors {
      return {to(is_complex(from) ? c.grad() : real(c.grad()), from)};
    });
  return y;
}

Tensor to(const Tensor& x, Device device) {
  if (x.device() == device) return x;
  const Tensor y = x.to_device(device);
  if (should_record({&x}))
    record("to", {x}, {y},
           [from = x.device()](BackwardContext& c) -> Tensors { return {to(c.grad(), from)}; });
  return y;
}

const Tensor& copy_(const Tensor& x, const Tensor& source) {
  check_convertible("copy_", source, x.dtype());
  check_target("copy_", x);
  const bool recorded = should_record({&x, &source});
  Tensor values = expand(source.detach(), x.shape());
  if (values.storage() == x.storage()) {
    if (same_place(values, x) && !recorded) return x;
    values = packed(values, values.dtype());  // the two may overlap
  }
  mark_in_place("copy_", x, recorded);
  launch(kCopy, {x}, {values.to_device(x.device())});
  if (recorded)
    record("copy_", {x, source}, {x},
           [shape = source.shape(), dtype = source.dtype(),
            device = source.device()](BackwardContext& c) -> Tensors {
             if (!c.needs(1)) return {Tensor(), Tensor()};
             return {Tensor(), to(to(sum_to(c.grad(), shape), dtype), device)};
           });
  return x;
}

const Tensor& fill_(const Tensor& x, Scalar value) {
  check_target("fill_", x);
  const bool recorded = should_record({&x});
  mark_in_place("fill_", x, recorded);
  launch(kFill, {x}, {}, {value.f});
  if (recorded) record_overwritten("fill_", x);
  return x;
}

const Tensor& fill_(const Tensor& x, const Tensor& value) {
  if (value.dims() != 0)
    throw Error(Fault::usage,
                str("fill_ of ", x.text(), ": the value ", value.text(), " must be 0-d"));
  return copy_(x, value);
}

const Tensor& zero_(const Tensor& x) { return fill_(x, 0); }

Tensor cat(std::span<const Tensor> parts, int dim) {
  if (parts.empty()) throw Error(Fault::usage, "cat of no tensors");
  // A part of shape [0] fits everywhere, as in PyTorch; it only counts for the dtype.
  const auto counts = [](const Tensor& t) { return t.dims() != 1 || t.numel() != 0; };
  Tensors inputs;
  std::vector<Operand> operands;
  for (const Tensor& t : parts) {
    if (t.dims() == 0) throw Error(Fault::usage, "cat of 0-d tensors: use stack()");
    if (counts(t)) inputs.push_back(t);
    operands.emplace_back(t);
  }
  if (inputs.empty()) inputs.push_back(parts[0]);
  const Tensor& first = inputs[0];
  const int d = dim_of("cat", first, dim);
  bool alike = true, real = true;
  for (const Tensor& t : parts) alike &= t.dtype() == first.dtype(), real &= !is_complex(t.dtype());
  const DType dtype = alike ? first.dtype() : real ? promoted_dtype(operands) : DType::c64;
  Shape shape = first.shape();
  shape[d] = 0;
  for (const Tensor& t : inputs) {
    Shape rest = t.shape();
    if (t.dims() > d) rest[d] = shape[d];
    if (!(rest == shape) || is_complex(t.dtype()) != is_complex(dtype))
      throw Error(Fault::usage, str("cat along dimension ", d, ": ", first.text(), " and ",
                                    t.text(), " do not fit"));
    shape[d] += t.shape()[d];
  }
  const Tensor y = Tensor::empty(shape, dtype, first.device());
  std::vector<int64_t> sizes;
  std::vector<DType> dtypes;
  for (const Tensor& t : inputs) sizes.push_back(t.shape()[d]), dtypes.push_back(t.dtype());
  const Tensors targets = split(y, std::span<const int64_t>(sizes), d);
  for (size_t i = 0; i < inputs.size(); ++i) launch(kCopy, {targets[i]}, {inputs[i]});
  if (should_record(inputs))
    record("cat", std::move(inputs), {y}, [sizes, dtypes, dtype, d](BackwardContext& c) -> Tensors {
      Tensors back = split(c.grad(), std::span<const int64_t>(sizes), d);
      for (size_t i = 0; i < back.size(); ++i)
        if (!c.needs(static_cast<int>(i)))
          back[i] = Tensor();
        else if (dtypes[i] != dtype)
          back[i] = to(back[i], dtypes[i]);
      return back;
    });
  return y;
}

Tensor stack(std::span<const Tensor> parts, int dim) {
  if (parts.empty()) throw Error(Fault::usage, "stack of no tensors");
  Tensors raised;
  for (const Tensor& t : parts) {
    if (!(t.shape() == parts[0].shape()))
      throw Error(Fault::usage, str("stack of ", parts[0].text(), " and ", t.text(),
                                    ": the shapes must be the same"));
    raised.push_back(unsqueeze(t, dim));
  }
  return cat(raised, dim < 0 ? dim + parts[0].dims() + 1 : dim);
}

}  // namespace wellspring
