// Checks and derivatives of the reductions. Kernels take the output with the input's dimensions, extent
// 1 where they are reduced.

#include "ops/reduce.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/dims.h"
#include "ops/dispatch.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

KernelRef kSum("reduce_sum");

// The shapes of a result: with extents of 1 where x is reduced, and as the caller wants it.
struct Reduced {
  Shape kept, result;
  int64_t count = 1;  // elements of x for one of the result
};

Reduced reduced(const char* op, const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  bool gone[kMaxDims + 1] = {};
  for (const int dim : dims) {
    const int d = dim_of(op, x, dim);
    if (gone[d])
      throw Error(Fault::usage, str(op, " of ", x.text(), ": dimension ", dim, " is named twice"));
    gone[d] = true;
  }
  Reduced r;
  for (int i = 0; i < x.dims(); ++i) {
    const bool reduce = dims.empty() || gone[i];
    r.kept.push_back(reduce ? 1 : x.shape()[i]);
    if (reduce) r.count *= x.shape()[i];
    if (!reduce || keepdim) r.result.push_back(reduce ? 1 : x.shape()[i]);
  }
  return r;
}

void check_real(const char* op, const Tensor& x) {
  if (is_complex(x.dtype()))
    throw Error(Fault::usage, str(op, " of ", x.text(), ": complex tensors are not reduced"));
}

Tensor run(const KernelRef& kernel, const Tensor& x, const Reduced& r, DType dtype,
           std::initializer_list<Attr> attrs = {}) {
  const Tensor y = Tensor::empty(r.kept, dtype, x.device());
  launch(kernel, {y}, {x}, attrs);
  return y.as_strided(r.result, contiguous_strides(r.result), 0);
}

// The gradient of a result seen at every element of x.
Tensor repeated(const Tensor& g, const Reduced& r, const Shape& shape) {
  return expand(reshape(g, r.kept), shape);
}

DType sum_type(DType t) { return is_float(t) ? t : DType::i64; }

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& dims, bool keepdim, std::optional<DType> dtype) {
  check_real("sum", x);
  const DType type = dtype.value_or(sum_type(x.dtype()));
  // Wider accumulation, or truncation before it, has to happen element by element.
  if (x.dtype() != type && (type == DType::f64 || !is_float(type)) && is_float(x.dtype()))
    return sum(to(x, type), dims, keepdim, type);
  const Reduced r = reduced("sum", x, dims, keepdim);
  const Tensor y = run(kSum, x, r, type);
  if (is_float(type) && should_record({&x}))
    record("sum", {x}, {y}, [r, shape = x.shape(), from = x.dtype()](BackwardContext& c) -> Tensors {
      return {repeated(to(c.grad(), from), r, shape)};
    });
  return y;
}

}  // namespace wellspring
