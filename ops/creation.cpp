// Checks of the operators that make tensors from numbers.

#include "ops/creation.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/arrange.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kFill("fill"), kArange("arange"), kLinspace("linspace"), kTriangle("triangle");

DType dtype_of(Scalar value) {
  switch (value.kind) {
    case Scalar::Kind::boolean:
      return DType::boolean;
    case Scalar::Kind::integer:
      return DType::i64;
    default:
      return DType::f32;
  }
}

Tensor filled(const char* op, const Shape& shape, Scalar value, DType dtype, Device device) {
  if (is_complex(dtype)) throw Error(Fault::usage, str(op, ": complex tensors are not filled"));
  const Tensor y = Tensor::empty(shape, dtype, device);
  if (y.numel() == 0) return y;
  // A whole number that f64 does not hold.
  if (dtype == DType::i64 && value.kind == Scalar::Kind::integer &&
      (value.f >= 0x1p63 || static_cast<int64_t>(value.f) != value.i))
    launch(kArange, {y.as_strided({y.numel()}, {1}, 0)}, {}, {0.0, 0.0, value.i, 0, true});
  else
    launch(kFill, {y}, {}, {value.f});
  return y;
}

// end - start over step, rounded up: how many elements a sequence has.
int64_t count_of(Scalar start, Scalar end, Scalar step, bool whole) {
  const auto fail = [&](const char* why) {
    throw Error(Fault::usage,
                str("arange from ", start.f, " to ", end.f, " by ", step.f, ": ", why));
  };
  if (!std::isfinite(start.f) || !std::isfinite(end.f) || !std::isfinite(step.f))
    fail("not finite");
  if (step.f == 0) fail("the step must not be 0");
  if ((end.f - start.f) * step.f < 0) fail("the step leads away from the end");
  if (!whole) {
    const double n = std::ceil((end.f - start.f) / step.f);
    if (n > 0x1p62) fail("too many elements");
    return static_cast<int64_t>(n);
  }
  const auto distance = static_cast<__int128>(end.i) - start.i;
  const __int128 n = (distance + step.i - (step.i > 0 ? 1 : -1)) / step.i;
  if (n > INT64_MAX / 8) fail("too many elements");
  return static_cast<int64_t>(n);
}

}  // namespace

Tensor empty(const Shape& shape, DType dtype, Device device) {
  return Tensor::empty(shape, dtype, device);
}
Tensor empty_like(const Tensor& x, std::optional<DType> dtype) {
  return Tensor::empty(x.shape(), dtype.value_or(x.dtype()), x.device());
}

Tensor full(const Shape& shape, Scalar value, std::optional<DType> dtype, Device device) {
  return filled("full", shape, value, dtype.value_or(dtype_of(value)), device);
}
Tensor full_like(const Tensor& x, Scalar value, std::optional<DType> dtype) {
  return filled("full_like", x.shape(), value, dtype.value_or(x.dtype()), x.device());
}
Tensor zeros(const Shape& shape, DType dtype, Device device) {
  return is_complex(dtype) ? Tensor::zeros(shape, dtype, device)
                           : filled("zeros", shape, 0, dtype, device);
}
Tensor zeros_like(const Tensor& x, std::optional<DType> dtype) {
  return zeros(x.shape(), dtype.value_or(x.dtype()), x.device());
}
Tensor ones(const Shape& shape, DType dtype, Device device) {
  return filled("ones", shape, 1, dtype, device);
}
Tensor ones_like(const Tensor& x, std::optional<DType> dtype) {
  return ones(x.shape(), dtype.value_or(x.dtype()), x.device());
}

Tensor fill(const Tensor& x, Scalar value) { return full_like(x, value); }
Tensor fill(const Tensor& x, const Tensor& value) {
  if (value.dims() != 0)
    throw Error(Fault::usage,
                str("fill of ", x.text(), ": the value ", value.text(), " must be 0-d"));
  return clone(expand(to(value, x.dtype()), x.shape()));
}

Tensor arange(Scalar start, Scalar end, Scalar step, std::optional<DType> dtype, Device device) {
  const auto real = [](Scalar s) { return s.kind == Scalar::Kind::real; };
  const bool whole = !real(start) && !real(end) && !real(step);
  const DType kind = dtype.value_or(whole ? DType::i64 : DType::f32);
  if (kind == DType::boolean || is_complex(kind))
    throw Error(Fault::usage, str("arange: there is no sequence of ", name_of(kind)));
  const Tensor y = Tensor::empty({count_of(start, end, step, whole)}, kind, device);
  if (y.numel())
    launch(kArange, {y}, {}, {start.f, step.f, start.i, step.i, whole && !is_float(kind)});
  return y;
}
Tensor arange(Scalar end, std::optional<DType> dtype, Device device) {
  return arange(0, end, 1, dtype, device);
}

Tensor linspace(double start, double end, int64_t steps, DType dtype, Device device) {
  if (steps < 0) throw Error(Fault::usage, str("linspace: ", steps, " steps"));
  if (dtype == DType::boolean || is_complex(dtype))
    throw Error(Fault::usage, str("linspace: there is no sequence of ", name_of(dtype)));
  const Tensor y = Tensor::empty({steps}, dtype, device);
  if (steps) launch(kLinspace, {y}, {}, {start, end});
  return y;
}
Tensor logspace(double start, double end, int64_t steps, double base, DType dtype, Device device) {
  return to(pow(base, linspace(start, end, steps, DType::f64, device)), dtype);
}

Tensor eye(int64_t n, std::optional<int64_t> m, DType dtype, Device device) {
  const int64_t columns = m.value_or(n);
  if (n < 0 || columns < 0)
    throw Error(Fault::usage, str("eye: ", n, " rows and ", columns, " columns"));
  const Tensor y = zeros({n, columns}, dtype, device);
  fill_(y.as_strided({std::min(n, columns)}, {columns + 1}, 0), 1);
  return y;
}

namespace {

Tensor triangle(const char* op, const Tensor& x, int64_t diagonal, bool upper) {
  if (x.dims() < 2)
    throw Error(Fault::usage, str(op, " of ", x.text(), ": it has fewer than two dimensions"));
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (y.numel()) {
    // No further than the matrix reaches, so that the kernel's sums do not overflow.
    const int64_t reach = x.size(-1) + x.size(-2);
    launch(kTriangle, {y}, {x.detach()}, {std::clamp(diagonal, -reach, reach), upper});
  }
  if (is_float(x.dtype()) && should_record({&x}))
    record(op, {x}, {y}, [op, diagonal, upper](BackwardContext& c) -> Tensors {
      return {triangle(op, c.grad(), diagonal, upper)};
    });
  return y;
}

Tensor triangle_indices(int64_t rows, int64_t columns, int64_t offset, bool upper, DType dtype,
                        Device device) {
  if (rows < 0 || columns < 0)
    throw Error(Fault::usage, str("a triangle of ", rows, " rows and ", columns, " columns"));
  const Tensor all = ones({rows, columns}, DType::boolean, device);
  const Tensor places = nonzero(upper ? triu(all, offset) : tril(all, offset));
  return to(contiguous(transpose(places, 0, 1)), dtype);
}

}  // namespace

Tensor triu(const Tensor& x, int64_t diagonal) { return triangle("triu", x, diagonal, true); }
Tensor tril(const Tensor& x, int64_t diagonal) { return triangle("tril", x, diagonal, false); }
const Tensor& triu_(const Tensor& x, int64_t diagonal) { return copy_(x, triu(x, diagonal)); }
const Tensor& tril_(const Tensor& x, int64_t diagonal) { return copy_(x, tril(x, diagonal)); }

Tensor tril_indices(int64_t rows, int64_t columns, int64_t offset, DType dtype, Device device) {
  return triangle_indices(rows, columns, offset, false, dtype, device);
}
Tensor triu_indices(int64_t rows, int64_t columns, int64_t offset, DType dtype, Device device) {
  return triangle_indices(rows, columns, offset, true, dtype, device);
}

Tensor one_hot(const Tensor& index, int64_t classes) {
  if (index.dtype() != DType::i64 && index.dtype() != DType::i32)
    throw Error(Fault::usage, str("one_hot of ", index.text(), ": the index must be i32 or i64"));
  if (classes < 0) {
    if (index.numel() == 0)
      throw Error(Fault::usage, str("one_hot of ", index.text(), ": say how many classes"));
    classes = static_cast<int64_t>(amax(index).item()) + 1;
  }
  Shape shape = index.shape();
  shape.push_back(std::max<int64_t>(classes, 0));
  const Tensor y = zeros(shape, DType::i64, index.device());
  if (index.numel()) scatter_(y, -1, unsqueeze(index, -1), 1);
  return y;
}

}  // namespace wellspring
