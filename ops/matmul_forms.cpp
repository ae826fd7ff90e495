// The named products of PyTorch over matmul(): checks of the dimensions, and what is added.

#include "base/error.h"
#include "base/text.h"
#include "ops/matmul.h"
#include "ops/out.h"
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
  OutForm form(op, {&out});
  form.reads(a), form.reads(b);
  // Overlap would read what was written; another dtype or shape is told by the plain form.
  const bool apart = out.storage() != a.storage() && out.storage() != b.storage();
  const bool direct = is_float(a.dtype()) && a.dtype() != DType::f16;
  if (!apart || !direct || a.dtype() != b.dtype() || out.dtype() != a.dtype() ||
      a.size(-1) != b.size(-2)) {
    form.write({plain(a, b)});
    return out;
  }
  Shape shape = a.shape();
  shape[shape.size() - 1] = b.size(-1);
  check_target(op, out, a.dtype(), a.device());
  mark_in_place(op, out, false);
  fit_shape(op, out, shape);
  if (out.numel()) launch(kMatmul, {out}, {a.detach(), b.detach(), Tensor()}, {false});
  return out;
}

// f16 and bf16 are computed in f32 and rounded once.
bool is_half(const Tensor& c, const Tensor& a, const Tensor& b) {
  return (c.dtype() == DType::f16 || c.dtype() == DType::bf16) && a.dtype() == c.dtype() &&
         b.dtype() == c.dtype();
}
using Sum = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, double, double);
Tensor by_f32(Sum sum, const Tensor& c, const Tensor& a, const Tensor& b, double beta,
              double alpha) {
  return to(sum(to(c, DType::f32), to(a, DType::f32), to(b, DType::f32), beta, alpha), c.dtype());
}

void check_sum(const char* op, const Tensor& c, const Tensor& result) {
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
  if (is_half(c, a, b)) return by_f32(addmm, c, a, b, beta, alpha);
  return combined("addmm", c, matmul(a, b), beta, alpha);
}
const Tensor& addmm_(const Tensor& c, const Tensor& a, const Tensor& b, double beta, double alpha) {
  check_dims("addmm_", a, 2, b, 2);
  const bool half = is_half(c, a, b);
  const Tensor ab = half ? by_f32(addmm, c, a, b, beta, alpha) : matmul(a, b);
  check_sum("addmm_", c, ab);
  if (half) return copy_(c, ab);
  scale_target(c, beta);
  return add_(c, ab, alpha);
}

Tensor baddbmm(const Tensor& c, const Tensor& a, const Tensor& b, double beta, double alpha) {
  check_batch("baddbmm", a, b);
  if (is_half(c, a, b)) return by_f32(baddbmm, c, a, b, beta, alpha);
  return combined("baddbmm", c, matmul(a, b), beta, alpha);
}
const Tensor& baddbmm_(const Tensor& c, const Tensor& a, const Tensor& b, double beta,
                       double alpha) {
  check_batch("baddbmm_", a, b);
  const bool half = is_half(c, a, b);
  const Tensor ab = half ? by_f32(baddbmm, c, a, b, beta, alpha) : matmul(a, b);
  check_sum("baddbmm_", c, ab);
  if (half) return copy_(c, ab);
  scale_target(c, beta);
  return add_(c, ab, alpha);
}

Tensor addmv(const Tensor& c, const Tensor& a, const Tensor& b, double beta, double alpha) {
  check_dims("addmv", a, 2, b, 1);
  if (is_half(c, a, b)) return by_f32(addmv, c, a, b, beta, alpha);
  return combined("addmv", c, matmul(a, b), beta, alpha);
}

}  // namespace wellspring
