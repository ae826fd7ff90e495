// The named products of PyTorch over matmul(): checks of the dimensions, and what is added.

#include "base/error.h"
#include "base/text.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kMatmul("matmul");

void check_dims(const char* op, const Tensor& a, int a_dims, const Tensor& b, int b_dims) {
  if (a.dims() == a_dims && b.dims() == b_dims) return;
  throw Error(Fault::usage, str(op, " takes ", a_dims, "-d and ", b_dims, "-d operands, not ",
                                a.text(), " and ", b.text()));
}

void check_batch(const char* op, const Tensor& a, const Tensor& b) {
  check_dims(op, a, 3, b, 3);
  if (a.size(0) != b.size(0))
    throw Error(Fault::usage, str(op, ": the batches differ (", a.text(), " and ", b.text(), ")"));
}

// beta c + alpha ab
Tensor combined(const char* op, const Tensor& c, const Tensor& ab, double beta, double alpha) {
  if (c.dtype() != ab.dtype())
    throw Error(Fault::usage,
                str(op, ": the dtypes must be the same (", c.text(), " and ", ab.text(), ")"));
  bool fits = c.dims() <= ab.dims();
  for (int d = 1; fits && d <= c.dims(); ++d) fits = c.size(-d) == ab.size(-d) || c.size(-d) == 1;
  if (!fits)
    throw Error(Fault::usage,
                str(op, ": ", c.text(), " does not broadcast to the product ", ab.text()));
  const Tensor product = alpha == 1 ? ab : mul(ab, alpha);
  if (beta == 0) return product;
  return beta == 1 ? add(c, product) : add(product, c, beta);
}

// Whether c is a row that the product adds by itself.
bool is_bias(const Tensor& c, const Tensor& a, const Tensor& b, double beta, double alpha) {
  return beta == 1 && alpha == 1 && c.dims() == 1 && c.size(0) == b.size(1) &&
         c.dtype() == a.dtype() && a.dtype() == b.dtype() && a.size(1) == b.size(0);
}

const Tensor& product_out(const char* op, const Tensor& out, const Tensor& a, const Tensor& b,
                          Tensor (*plain)(const Tensor&, const Tensor&)) {
  if (should_record({&a, &b}))
    throw Error(
        Fault::usage,
        str(op, ": a result written to out has no gradient; use the plain form, or NoGrad"));
  if (!out.defined()) throw Error(Fault::usage, str(op, ": out is undefined"));
  // Overlap would read what was written; another dtype or shape is told by the plain form's copy.
  const bool apart = out.storage() != a.storage() && out.storage() != b.storage();
  Shape shape = a.shape();
  shape[shape.size() - 1] = b.size(-1);
  if (!(out.shape() == shape) || out.dtype() != a.dtype())
    throw Error(Fault::usage, str(op, ": the result is ", name_of(a.dtype()), shape.text(),
                                  ", but out is ", out.text()));
  mark_in_place(op, out, false);
  const bool direct = is_float(a.dtype()) && a.dtype() != DType::f16;
  if (apart && direct && a.dtype() == b.dtype() && a.size(-1) == b.size(-2)) {
    if (out.numel()) launch(kMatmul, {out}, {a.detach(), b.detach(), Tensor()}, {false});
  } else {
    out.copy_from(plain(a, b));
  }
  return out;
}

void check_target(const char* op, const Tensor& c, const Tensor& result) {
  if (!(c.shape() == result.shape()))
    throw Error(Fault::usage,
                str(op, ": the result is ", result.text(), ", but it would go to ", c.text()));
}

// c times beta; 0 clears NaN, too.
void scale_target(const Tensor& c, double beta) {
  if (beta == 0)
    zero_(c);
  else if (beta != 1)
    mul_(c, beta);
}

}  // namespace

Tensor mm(const Tensor& a, const Tensor& b) {
  check_dims("mm", a, 2, b, 2);
  return matmul(a, b);
}
const Tensor& mm_out(const Tensor& out, const Tensor& a, const Tensor& b) {
  check_dims("mm", a, 2, b, 2);
  return product_out("mm", out, a, b, mm);
}

Tensor bmm(const Tensor& a, const Tensor& b) {
  check_batch("bmm", a, b);
  return matmul(a, b);
}
const Tensor& bmm_out(const Tensor& out, const Tensor& a, const Tensor& b) {
  check_batch("bmm", a, b);
  return product_out("bmm", out, a, b, bmm);
}

Tensor addmm(const Tensor& c, const Tensor& a, const Tensor& b, double beta, double alpha) {
  check_dims("addmm", a, 2, b, 2);
  if (is_bias(c, a, b, beta, alpha)) return linear(a, transpose(b, 0, 1), c);
  return combined("addmm", c, matmul(a, b), beta, alpha);
}
const Tensor& addmm_(const Tensor& c, const Tensor& a, const Tensor& b, double beta, double alpha) {
  check_dims("addmm_", a, 2, b, 2);
  const Tensor ab = matmul(a, b);
  check_target("addmm_", c, ab);
  scale_target(c, beta);
  return add_(c, ab, alpha);
}
const Tensor& addmm_out(const Tensor& out, const Tensor& c, const Tensor& a, const Tensor& b,
                        double beta, double alpha) {
  if (should_record({&c, &a, &b}))
    throw Error(Fault::usage,
                "addmm: a result written to out has no gradient; use the plain "
                "form, or NoGrad");
  const Tensor result = addmm(c, a, b, beta, alpha);
  if (!out.defined()) throw Error(Fault::usage, "addmm: out is undefined");
  check_target("addmm", out, result);
  return copy_(out, result);
}

Tensor baddbmm(const Tensor& c, const Tensor& a, const Tensor& b, double beta, double alpha) {
  check_batch("baddbmm", a, b);
  return combined("baddbmm", c, matmul(a, b), beta, alpha);
}
const Tensor& baddbmm_(const Tensor& c, const Tensor& a, const Tensor& b, double beta,
                       double alpha) {
  check_batch("baddbmm_", a, b);
  const Tensor ab = matmul(a, b);
  check_target("baddbmm_", c, ab);
  scale_target(c, beta);
  return add_(c, ab, alpha);
}

Tensor addmv(const Tensor& c, const Tensor& a, const Tensor& b, double beta, double alpha) {
  check_dims("addmv", a, 2, b, 1);
  return combined("addmv", c, matmul(a, b), beta, alpha);
}

}  // namespace wellspring
