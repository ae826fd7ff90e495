// Checks and derivatives of the reductions. Kernels take the output with the input's dimensions,
// extent 1 where they are reduced.

#include "ops/reduce.h"

#include <algorithm>

#include "base/error.h"
#include "base/index_error.h"
#include "base/text.h"
#include "ops/dims.h"
#include "ops/pointwise.h"
#include "ops/reduce_call.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kSum("reduce_sum");
KernelRef kMean("reduce_mean");
KernelRef kProd("reduce_prod");
KernelRef kProdBackward("reduce_prod_backward");
KernelRef kVar("reduce_var");
KernelRef kAmax("reduce_amax");
KernelRef kAmin("reduce_amin");
KernelRef kAny("reduce_any");
KernelRef kAll("reduce_all");
KernelRef kArgmax("reduce_argmax");
KernelRef kArgmin("reduce_argmin");
KernelRef kGather("gather");
KernelRef kScatterAdd("scatter_add");

DType sum_type(DType t) { return is_float(t) ? t : DType::i64; }

// amax and amin: the elements that equal the result share its gradient.
Tensor extremum(const char* op, const KernelRef& kernel, const Tensor& x,
                const std::vector<int>& dims, bool keepdim) {
  check_real(op, x);
  const Reduced r = reduced(op, x, dims, keepdim);
  check_not_nothing(op, x, r.count);
  const Tensor y = run_reduce(kernel, x, r, x.dtype());
  if (is_float(x.dtype()) && should_record({&x}))
    record(op, {x}, {y}, [x = Saved(x), y = Saved(y), r](BackwardContext& c) -> Tensors {
      const Tensor value = c.saved(x);
      const DType wide = value.dtype() == DType::f64 ? DType::f64 : DType::f32;
      const Tensor chosen = to(eq(value, view(c.saved(y), r.kept)), wide);
      const Tensor share = div(view(contiguous(c.grad()), r.kept), sum_to(chosen, r.kept));
      return {to(mul(chosen, share), value.dtype())};
    });
  return y;
}

// One place of `dim` (of all elements when absent) for each result; kept: with extent 1 there.
Tensor places(const char* op, const KernelRef& kernel, const Tensor& x, std::optional<int> dim,
              bool keepdim) {
  check_real(op, x);
  const Reduced r = dim ? reduced(op, x, {*dim}, keepdim) : reduced(op, x, {}, keepdim);
  check_not_nothing(op, x, r.count);
  if (dim) return run_reduce(kernel, x, r, DType::i64);
  return view(run_reduce(kernel, reshape(x.detach(), {-1}), {{1}, {1}}, DType::i64), r.result);
}

// max and min along one dimension: the gradient goes to the chosen elements.
std::tuple<Tensor, Tensor> choose(const char* op, const KernelRef& kernel, const Tensor& x, int dim,
                                  bool keepdim) {
  const int d = dim_of(op, x, dim);
  const Tensor at = places(op, kernel, x, dim, true),
               values = Tensor::empty(at.shape(), x.dtype(), x.device());
  if (x.dims() == 0) {
    launch(kGather, {unsqueeze(values, 0)}, {unsqueeze(x.detach(), 0), unsqueeze(at, 0)}, {0});
  } else {
    launch(kGather, {values}, {x, at}, {d});
  }
  const Shape result = reduced(op, x, {dim}, keepdim).result;
  const Tensor y = values.as_strided(result, contiguous_strides(result), 0);
  if (is_float(x.dtype()) && should_record({&x}))
    record(op, {x}, {y}, [at, d, shape = x.shape()](BackwardContext& c) -> Tensors {
      if (shape.size() == 0) return {c.grad()};
      const Tensor dx = Tensor::zeros(shape, c.grad().dtype(), at.device());
      launch(kScatterAdd, {dx}, {at, reshape(c.grad(), at.shape())}, {d});
      return {dx};
    });
  return {y, view(at, result)};
}

}  // namespace

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

Tensor run_reduce(const KernelRef& kernel, const Tensor& x, const Reduced& r, DType dtype,
                  std::initializer_list<Attr> attrs) {
  const Tensor y = Tensor::empty(r.kept, dtype, x.device());
  launch(kernel, {y}, {x}, attrs);
  return y.as_strided(r.result, contiguous_strides(r.result), 0);
}

Tensor repeated(const Tensor& g, const Reduced& r, const Shape& shape) {
  return expand(reshape(g, r.kept), shape);
}

void check_floating(const char* op, const Tensor& x) {
  if (!is_float(x.dtype()))
    throw Error(Fault::usage, str(op, " of ", x.text(), ": the dtype must be floating; use to()"));
}

void check_not_nothing(const char* op, const Tensor& x, int64_t count) {
  if (count == 0) throw IndexError(str(op, " of ", x.text(), ": there is none among no elements"));
}

Tensor sum(const Tensor& x, const std::vector<int>& dims, bool keepdim,
           std::optional<DType> dtype) {
  check_real("sum", x);
  const DType type = dtype.value_or(sum_type(x.dtype()));
  // Wider accumulation, or truncation before it, has to happen element by element.
  if (x.dtype() != type && (type == DType::f64 || !is_float(type)) && is_float(x.dtype()))
    return sum(to(x, type), dims, keepdim, type);
  const Reduced r = reduced("sum", x, dims, keepdim);
  const Tensor y = run_reduce(kSum, x, r, type);
  if (is_float(type) && should_record({&x}))
    record("sum", {x}, {y},
           [r, shape = x.shape(), from = x.dtype()](BackwardContext& c) -> Tensors {
             return {repeated(to(c.grad(), from), r, shape)};
           });
  return y;
}

Tensor mean(const Tensor& x, const std::vector<int>& dims, bool keepdim,
            std::optional<DType> dtype) {
  const DType type = dtype.value_or(x.dtype());
  if (x.dtype() != type && (type == DType::f64 || !is_float(x.dtype())) && is_float(type))
    return mean(to(x, type), dims, keepdim, type);
  check_floating("mean", x);
  if (!is_float(type))
    throw Error(Fault::usage, str("mean of ", x.text(), ": the result cannot be ", name_of(type)));
  const Reduced r = reduced("mean", x, dims, keepdim);
  const Tensor y = run_reduce(kMean, x, r, type);
  if (should_record({&x}))
    record(
        "mean", {x}, {y}, [r, shape = x.shape(), from = x.dtype()](BackwardContext& c) -> Tensors {
          return {repeated(to(mul(c.grad(), 1.0 / static_cast<double>(r.count)), from), r, shape)};
        });
  return y;
}

Tensor prod(const Tensor& x, const std::vector<int>& dims, bool keepdim,
            std::optional<DType> dtype) {
  if (dtype) return to(prod(to(x, *dtype), dims, keepdim), *dtype);
  check_real("prod", x);
  const Reduced r = reduced("prod", x, dims, keepdim);
  const Tensor y = run_reduce(kProd, x, r, sum_type(x.dtype()));
  if (is_float(x.dtype()) && should_record({&x}))
    record("prod", {x}, {y}, [x = Saved(x), r](BackwardContext& c) -> Tensors {
      const Tensor value = c.saved(x),
                   dx = Tensor::empty(value.shape(), value.dtype(), value.device());
      launch(kProdBackward, {dx}, {value, view(contiguous(c.grad()), r.kept)});
      return {dx};
    });
  return y;
}

Tensor var(const Tensor& x, const std::vector<int>& dims, int64_t correction, bool keepdim) {
  check_floating("var", x);
  if (correction < 0)
    throw Error(Fault::usage,
                str("var of ", x.text(), ": correction ", correction, " is negative"));
  const Reduced r = reduced("var", x, dims, keepdim);
  const Tensor y = run_reduce(kVar, x, r, x.dtype(), {correction});
  if (should_record({&x}))
    record("var", {x}, {y}, [x = Saved(x), r, correction](BackwardContext& c) -> Tensors {
      const Tensor value = c.saved(x);
      const DType wide = value.dtype() == DType::f64 ? DType::f64 : DType::f32;
      const Tensor center = Tensor::empty(r.kept, wide, value.device());
      launch(kMean, {center}, {value});
      const double factor = 2.0 / static_cast<double>(std::max<int64_t>(0, r.count - correction));
      return {to(mul(sub(value, center), mul(view(contiguous(c.grad()), r.kept), factor)),
                 value.dtype())};
    });
  return y;
}

Tensor amax(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  return extremum("amax", kAmax, x, dims, keepdim);
}
Tensor amin(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  return extremum("amin", kAmin, x, dims, keepdim);
}

Tensor any(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  check_real("any", x);
  return run_reduce(kAny, x, reduced("any", x, dims, keepdim), DType::boolean);
}
Tensor all(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  check_real("all", x);
  return run_reduce(kAll, x, reduced("all", x, dims, keepdim), DType::boolean);
}

Tensor argmax(const Tensor& x, std::optional<int> dim, bool keepdim) {
  return places("argmax", kArgmax, x, dim, keepdim);
}
Tensor argmin(const Tensor& x, std::optional<int> dim, bool keepdim) {
  return places("argmin", kArgmin, x, dim, keepdim);
}

std::tuple<Tensor, Tensor> max(const Tensor& x, int dim, bool keepdim) {
  return choose("max", kArgmax, x, dim, keepdim);
}
std::tuple<Tensor, Tensor> min(const Tensor& x, int dim, bool keepdim) {
  return choose("min", kArgmin, x, dim, keepdim);
}

}  // namespace wellspring
