// Checks and derivatives of sorting and choosing. What rests on sorted tensors is in
// ops/sorted.cpp.

#include "ops/sort.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/dims.h"
#include "ops/index.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kSort("sort"), kTopk("topk");

using Pair = std::tuple<Tensor, Tensor>;

void check_ordered(const char* op, const Tensor& x) {
  if (is_complex(x.dtype()))
    throw Error(Fault::usage, str(op, " of ", x.text(), ": complex numbers have no order"));
}

// x with dimension d last, row-major.
Tensor lines(const Tensor& x, int d) {
  NoGrad none;
  const Tensor t = x.detach();
  if (t.dims() == 0) return view(t, {1});
  return packed(transpose(t, d, -1));
}

// Results of lines() back where they belong.
Tensor put_back(const Tensor& t, const Tensor& x, int d) {
  NoGrad none;
  if (x.dims() == 0) return view(t, Shape{});
  return d == x.dims() - 1 ? t : contiguous(transpose(t, d, -1));
}

Pair sorted_lines(const Tensor& from, bool descending) {
  const Tensor values = Tensor::empty(from.shape(), from.dtype(), from.device()),
               places = Tensor::empty(from.shape(), DType::i64, from.device());
  if (values.numel() == 0) return {values, places};
  // Long lines are sorted in two lists of keys and places.
  constexpr int64_t kLong = 1 << 19, kRoom = 32;
  const int64_t n = from.size(-1);
  const Tensor room = n < kLong ? Tensor() : Tensor::empty({n * kRoom}, DType::u8, from.device());
  launch(kSort, {values, places, room}, {from}, {descending});
  return {values, places};
}

// The gradient of chosen elements goes where they stood; none was chosen twice.
void record_chosen(const char* op, const Tensor& x, int d, const Tensor& values,
                   const Tensor& places) {
  if (!is_float(x.dtype()) || !should_record({&x})) return;
  record(op, {x}, {values},
         [places = Saved(places), from = x.shape(), d](BackwardContext& c) -> Tensors {
           const Tensor dx = Tensor::zeros(from, c.grad().dtype(), c.grad().device());
           return {scatter_(dx, d, c.saved(places), c.grad())};
         });
}

}  // namespace

Pair sort(const Tensor& x, int dim, bool descending, bool) {
  const int d = dim_of("sort", x, dim);
  check_ordered("sort", x);
  const auto [v, p] = sorted_lines(lines(x, d), descending);
  const Tensor values = put_back(v, x, d), places = put_back(p, x, d);
  record_chosen("sort", x, d, values, places);
  return {values, places};
}

Tensor argsort(const Tensor& x, int dim, bool descending, bool stable) {
  return std::get<1>(sort(x.detach(), dim, descending, stable));
}

Tensor msort(const Tensor& x) { return std::get<0>(sort(x, 0)); }

Pair topk(const Tensor& x, int64_t k, int dim, bool largest, bool) {
  const int d = dim_of("topk", x, dim);
  check_ordered("topk", x);
  const int64_t n = x.dims() ? x.shape()[d] : 1;
  if (k < 0 || k > n)
    throw Error(Fault::usage, str("topk of ", x.text(), ": there are no ", k,
                                  " elements in dimension ", d, " of extent ", n));
  const Tensor from = lines(x, d);
  Tensor values, places;
  if (k > n / 8 && n > 64) {
    std::tie(values, places) = sorted_lines(from, largest);
    values = packed(narrow(values, -1, 0, k)), places = packed(narrow(places, -1, 0, k));
  } else {
    Shape shape = from.shape();
    shape[shape.size() - 1] = k;
    values = Tensor::empty(shape, x.dtype(), x.device());
    places = Tensor::empty(shape, DType::i64, x.device());
    if (values.numel()) launch(kTopk, {values, places}, {from}, {largest});
  }
  values = x.dims() || k == 1 ? put_back(values, x, d) : values;
  places = x.dims() || k == 1 ? put_back(places, x, d) : places;
  record_chosen("topk", x, d, values, places);
  return {values, places};
}

namespace {

// One element of each line, by its place.
Pair chosen(const Tensor& x, int d, const Tensor& places, bool keepdim) {
  const Tensor values = gather(x, d, places);
  if (keepdim || x.dims() == 0) return {values, places};
  return {squeeze(values, d), squeeze(places, d)};
}

}  // namespace

Pair kthvalue(const Tensor& x, int64_t k, int dim, bool keepdim) {
  const int d = dim_of("kthvalue", x, dim);
  const int64_t n = x.dims() ? x.shape()[d] : 1;
  if (k < 1 || k > n)
    throw Error(Fault::usage,
                str("kthvalue of ", x.text(), ": k is ", k, ", dimension ", d, " has extent ", n));
  const Tensor places = std::get<1>(topk(x.detach(), k, d, false));
  return chosen(x, d, x.dims() ? narrow(places, d, k - 1, 1) : places, keepdim);
}

Pair median(const Tensor& x, int dim, bool keepdim) {
  const int d = dim_of("median", x, dim);
  const int64_t n = x.dims() ? x.shape()[d] : 1;
  if (n == 0) throw Error(Fault::usage, str("median of ", x.text(), " over nothing"));
  if (x.dims() == 0) return chosen(x, 0, Tensor::zeros({}, DType::i64, x.device()), keepdim);
  const auto [values, order] = sort(x.detach(), d);
  Tensor places = narrow(order, d, (n - 1) / 2, 1);
  if (is_float(x.dtype())) {
    // NaNs are sorted last: the first of them is where they begin.
    const Tensor nan = isnan(values);
    const Tensor count = sum(nan, {d}, true);
    const Tensor first = gather(order, d, clamp_max(sub(n, count), n - 1));
    places = where(gt(count, 0), first, places);
  }
  return chosen(x, d, contiguous(places), keepdim);
}

Tensor median(const Tensor& x) {
  if (x.numel() == 0) throw Error(Fault::usage, str("median of ", x.text(), " over nothing"));
  return std::get<0>(median(reshape(x, {-1}), 0));
}

}  // namespace wellspring
