// Searching in sorted tensors, and what differs.

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "ops/creation.h"
#include "ops/index.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/pointwise_call.h"
#include "ops/reduce.h"
#include "ops/scan.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "ops/sort.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kSearch("searchsorted");

}  // namespace

Tensor searchsorted(const Tensor& sorted, const Tensor& x, bool out_int32, bool right) {
  const auto fail = [&](const std::string& why) {
    throw Error(Fault::usage, str("searchsorted of ", x.text(), " in ", sorted.text(), ": ", why));
  };
  if (sorted.dims() == 0) fail("the sorted tensor has no dimension");
  if (is_complex(x.dtype()) || is_complex(sorted.dtype())) fail("complex numbers have no order");
  if (sorted.dims() != 1) {
    bool fits = sorted.dims() == x.dims();
    for (int i = 0; fits && i < x.dims() - 1; ++i) fits = sorted.shape()[i] == x.shape()[i];
    if (!fits) fail("all dimensions but the last must agree");
  }
  NoGrad none;
  const Operand both[] = {sorted, x};
  const DType common = promoted_dtype(both);
  const Tensor lines = packed(to(sorted.detach(), common)), wanted = packed(to(x.detach(), common));
  const int64_t n = sorted.size(-1),
                rows = sorted.dims() == 1 ? 1 : sorted.numel() / std::max<int64_t>(n, 1);
  const Tensor y = Tensor::empty(x.shape(), out_int32 ? DType::i32 : DType::i64, x.device());
  if (y.numel() == 0) return y;
  if (n == 0) return zero_(y);
  launch(kSearch, {view(y, {rows, y.numel() / rows})},
         {view(lines, {rows, n}), view(wanted, {rows, y.numel() / rows})}, {right});
  return y;
}

Tensor bucketize(const Tensor& x, const Tensor& boundaries, bool out_int32, bool right) {
  if (boundaries.dims() != 1)
    throw Error(Fault::usage,
                str("bucketize of ", x.text(), ": boundaries ", boundaries.text(), " must be 1-d"));
  return searchsorted(boundaries, x, out_int32, right);
}

namespace {

// Runs of equal elements in a row-major 1-d tensor.
struct Runs {
  Tensor values, member, counts;  // member: i64, which run each element is in
};
Runs runs_of(const Tensor& x) {
  const int64_t n = x.numel();
  if (n == 0)
    return {x, Tensor::empty({0}, DType::i64, x.device()),
            Tensor::empty({0}, DType::i64, x.device())};
  const Tensor begins = Tensor::empty({n}, DType::boolean, x.device());
  fill_(narrow(begins, 0, 0, 1), 1);
  if (n > 1) ne_out(narrow(begins, 0, 1, n - 1), narrow(x, 0, 1, n - 1), narrow(x, 0, 0, n - 1));
  const Tensor places = view(nonzero(begins), {-1});
  const int64_t runs = places.numel();
  const Tensor counts = Tensor::empty({runs}, DType::i64, x.device());
  if (runs > 1)
    sub_out(narrow(counts, 0, 0, runs - 1), narrow(places, 0, 1, runs - 1),
            narrow(places, 0, 0, runs - 1));
  sub_out(narrow(counts, 0, runs - 1, 1),
          Tensor::full({1}, static_cast<double>(n), DType::i64, x.device()),
          narrow(places, 0, runs - 1, 1));
  return {index_select(x, 0, places), sub(cumsum(begins, 0), 1), counts};
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> unique(const Tensor& x) {
  NoGrad none;
  const auto [values, places] = sort(reshape(x.detach(), {-1}), 0);
  const Runs runs = runs_of(values);
  const Tensor which = Tensor::empty({x.numel()}, DType::i64, x.device());
  if (x.numel()) scatter_(which, 0, places, runs.member);
  return {runs.values, view(which, x.shape()), runs.counts};
}

std::tuple<Tensor, Tensor, Tensor> unique_consecutive(const Tensor& x) {
  NoGrad none;
  const Runs runs = runs_of(packed(reshape(x.detach(), {-1})));
  return {runs.values, view(runs.member, x.shape()), runs.counts};
}

Tensor isin(const Tensor& x, const Tensor& among, bool invert) {
  NoGrad none;
  const int64_t n = among.numel();
  if (n == 0) return full(x.shape(), invert, DType::boolean, x.device());
  const Operand both[] = {x, among};
  const DType common = promoted_dtype(both);
  const Tensor wanted = to(x.detach(), common);
  const Tensor sorted = std::get<0>(sort(reshape(to(among.detach(), common), {-1}), 0));
  const Tensor at = clamp_max(searchsorted(sorted, wanted), n - 1);
  const Tensor found = take(sorted, at);
  return invert ? ne(found, wanted) : eq(found, wanted);
}

Tensor bincount(const Tensor& x, const Tensor& weights, int64_t minlength) {
  const auto fail = [&](const std::string& why) {
    throw Error(Fault::usage, str("bincount of ", x.text(), ": ", why));
  };
  if (x.dims() != 1 || !is_integer(x.dtype())) fail("it must be 1-d, of whole numbers");
  if (minlength < 0) fail(str("minlength ", minlength, " is negative"));
  if (weights.defined() && !(weights.shape() == x.shape()))
    fail(str("weights ", weights.text(), " have another shape"));
  NoGrad none;
  int64_t length = minlength;
  if (x.numel()) {
    const Tensor wide = to(x, DType::i64);
    if (const double low = amin(wide).item(); low < 0) fail(str(low, " is negative"));
    length = std::max(length, static_cast<int64_t>(amax(wide).item()) + 1);
  }
  const DType dtype = !weights.defined()              ? DType::i64
                      : weights.dtype() == DType::f32 ? DType::f32
                                                      : DType::f64;
  const Tensor y = zeros({length}, dtype, x.device());
  if (x.numel() == 0) return y;
  const Tensor source = weights.defined() ? to(weights.detach(), dtype)
                                          : expand(ones({}, DType::i64, x.device()), x.shape());
  return scatter_add_(y, 0, to(x, DType::i64), source);
}

}  // namespace wellspring
