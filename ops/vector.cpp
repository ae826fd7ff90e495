// Products with vectors.

#include "base/error.h"
#include "base/text.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

void check_dims(const char* op, const Tensor& a, int a_dims, const Tensor& b, int b_dims) {
  if (a.dims() != a_dims || b.dims() != b_dims)
    throw Error(Fault::usage, str(op, " of ", a.text(), " and ", b.text(), ": they must have ",
                                  a_dims, " and ", b_dims, " dimensions"));
}

}  // namespace

Tensor mv(const Tensor& a, const Tensor& v) {
  check_dims("mv", a, 2, v, 1);
  return matmul(a, v);
}

Tensor outer(const Tensor& x, const Tensor& y) {
  check_dims("outer", x, 1, y, 1);
  return mul(unsqueeze(x, 1), y);
}

Tensor dot(const Tensor& x, const Tensor& y) {
  check_dims("dot", x, 1, y, 1);
  return matmul(x, y);
}

}  // namespace wellspring
