// Checks and derivatives of running sums, products and extremes.

#include "ops/scan.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/arrange.h"
#include "ops/dims.h"
#include "ops/index.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kSum("scan_sum"), kProd("scan_prod"), kMax("scan_max"), kMin("scan_min"),
    kLogSum("scan_logsumexp");

// The kernels take the dimensions after the scanned one as a single one.
bool joins_after(const Tensor& x, int dim) {
  int64_t width = 1, step = 0;
  for (int k = x.dims() - 1; k > dim; --k) {
    if (x.shape()[k] == 1) continue;
    if (width != 1 && x.strides()[k] != width * step) return false;
    if (width == 1) step = x.strides()[k];
    width *= x.shape()[k];
  }
  return true;
}

void run(const KernelRef& kernel, std::initializer_list<Tensor> outs, const Tensor& x, int dim,
         bool reverse) {
  Tensor from = x.detach();
  // One element alone is a line of one.
  if (from.dims() == 0) {
    Tensor lines[2];
    int count = 0;
    for (const Tensor& t : outs) lines[count++] = t.as_strided({1}, {1}, t.offset());
    const Tensor line = from.as_strided({1}, {1}, from.offset());
    const Attr attrs[] = {0, reverse};
    return launch(kernel, std::span<const Tensor>(lines, count), std::span(&line, 1), attrs);
  }
  if (from.numel() == 0) return;
  if (!joins_after(from, dim)) from = contiguous(from);
  launch(kernel, outs, {from}, {dim, reverse});
}

Tensor summed(const Tensor& x, int dim, DType dtype, bool reverse) {
  const Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  run(kSum, {y}, x, dim, reverse);
  return y;
}

DType result_type(const char* op, const Tensor& x, std::optional<DType> dtype) {
  if (is_complex(x.dtype()) || (dtype && is_complex(*dtype)))
    throw Error(Fault::usage, str(op, " of ", x.text(), ": complex tensors are not scanned"));
  return dtype.value_or(is_float(x.dtype()) ? x.dtype() : DType::i64);
}

// The derivative of a running product y of x: sum over j >= k of g_j y_j / x_k, and where zeros are
// among the factors by the products that leave one out. Zeros split a line: before the first one
// the quotient holds; at it the product of what follows (up to the second) times what came before;
// after it nothing.
Tensor cumprod_back(const Tensor& g, const Tensor& x, int dim) {
  const Tensor y = cumprod(x, dim), zero = eq(x, 0);
  const Tensor zeros = cumsum(zero, dim);  // i64: how many there were
  const Tensor before = summed(mul(g, y), dim, g.dtype(), true);
  const Tensor safe = where(zero, Tensor::full({}, 1, x.dtype(), x.device()), x);
  const Tensor quotient = div(before, safe);
  // With the first zero of each line taken for a 1, products up to the second zero are right.
  const Tensor first = logical_and(zero, eq(zeros, 1));
  const Tensor filled = where(first, Tensor::full({}, 1, x.dtype(), x.device()), x);
  const Tensor after = summed(
      where(ge(zeros, 1), mul(g, cumprod(filled, dim)), Tensor::zeros({}, g.dtype(), g.device())),
      dim, g.dtype(), true);
  const Tensor nothing = Tensor::zeros({}, g.dtype(), g.device());
  return where(eq(zeros, 0), quotient, where(first, after, nothing));
}

std::tuple<Tensor, Tensor> extreme(const char* op, const KernelRef& kernel, const Tensor& x,
                                   int dim) {
  const int d = dim_of(op, x, dim);
  if (is_complex(x.dtype()))
    throw Error(Fault::usage, str(op, " of ", x.text(), ": complex numbers have no order"));
  const Tensor values = Tensor::empty(x.shape(), x.dtype(), x.device()),
               places = Tensor::empty(x.shape(), DType::i64, x.device());
  run(kernel, {values, places}, x, d, false);
  if (is_float(x.dtype()) && should_record({&x}))
    record(op, {x}, {values}, [places = Saved(places), d](BackwardContext& c) -> Tensors {
      const Tensor dx = Tensor::zeros(c.grad().shape(), c.grad().dtype(), c.grad().device());
      return {scatter_add_(dx, d, c.saved(places), c.grad())};
    });
  return {values, places};
}

}  // namespace

Tensor cumsum(const Tensor& x, int dim, std::optional<DType> dtype) {
  const int d = dim_of("cumsum", x, dim);
  const DType wanted = result_type("cumsum", x, dtype);
  // Integers have to be summed as such, and floats as what they are asked for.
  const Tensor from = is_float(x.dtype()) && !is_float(wanted) ? to(x.detach(), wanted) : x;
  const Tensor y = summed(from, d, wanted, false);
  if (is_float(x.dtype()) && is_float(wanted) && should_record({&x}))
    record("cumsum", {x}, {y}, [d, from = x.dtype()](BackwardContext& c) -> Tensors {
      return {to(summed(c.grad(), d, c.grad().dtype(), true), from)};
    });
  return y;
}

// In x's dtype, whatever the sums had.
const Tensor& cumsum_(const Tensor& x, int dim, std::optional<DType> dtype) {
  return copy_(x, cumsum(x, dim, dtype));
}

Tensor cumprod(const Tensor& x, int dim, std::optional<DType> dtype) {
  const int d = dim_of("cumprod", x, dim);
  const DType wanted = result_type("cumprod", x, dtype);
  const Tensor from = is_float(x.dtype()) && !is_float(wanted) ? to(x.detach(), wanted) : x;
  const Tensor y = Tensor::empty(x.shape(), wanted, x.device());
  run(kProd, {y}, from, d, false);
  if (is_float(x.dtype()) && is_float(wanted) && should_record({&x}))
    record("cumprod", {x}, {y}, [x = Saved(x), d](BackwardContext& c) -> Tensors {
      const Tensor v = c.saved(x);
      const DType wide = v.dtype() == DType::f64 ? DType::f64 : DType::f32;
      return {to(cumprod_back(to(c.grad(), wide), to(v, wide), d), v.dtype())};
    });
  return y;
}

const Tensor& cumprod_(const Tensor& x, int dim, std::optional<DType> dtype) {
  return copy_(x, cumprod(clone(x), dim, dtype));
}

std::tuple<Tensor, Tensor> cummax(const Tensor& x, int dim) {
  return extreme("cummax", kMax, x, dim);
}
std::tuple<Tensor, Tensor> cummin(const Tensor& x, int dim) {
  return extreme("cummin", kMin, x, dim);
}

Tensor logcumsumexp(const Tensor& x, int dim) {
  const int d = dim_of("logcumsumexp", x, dim);
  if (!is_float(x.dtype()))
    throw Error(Fault::usage, str("logcumsumexp of ", x.text(), ": the dtype must be floating"));
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  run(kLogSum, {y}, x, d, false);
  if (should_record({&x}))
    record("logcumsumexp", {x}, {y}, [x = Saved(x), d](BackwardContext& c) -> Tensors {
      // dx_k = exp(x_k) sum over j >= k of g_j exp(-y_j), with the sums of positive and of negative
      // g as logarithms.
      const DType dtype = c.saved(x).dtype(), wide = dtype == DType::f64 ? DType::f64 : DType::f32;
      const Tensor from = to(c.saved(x), wide), g = to(c.grad(), wide);
      const Tensor log_sums = logcumsumexp(from, d);
      const auto share = [&](const Tensor& part) {
        const Tensor turned = flip(sub(log(part), log_sums), {d});
        return exp(add(flip(logcumsumexp(turned, d), {d}), from));
      };
      return {to(sub(share(clamp_min(g, 0)), share(clamp_min(neg(g), 0))), dtype)};
    });
  return y;
}

}  // namespace wellspring
