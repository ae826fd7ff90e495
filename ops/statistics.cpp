// Statistics that rest on order: extremes together, quantiles, histograms, the most frequent.

#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/creation.h"
#include "ops/dims.h"
#include "ops/index.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/scan.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "ops/sort.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

[[noreturn]] void fail(const char* op, const Tensor& x, const std::string& why) {
  throw Error(Fault::usage, str(op, " of ", x.text(), ": ", why));
}

}  // namespace

std::tuple<Tensor, Tensor> aminmax(const Tensor& x, std::optional<int> dim, bool keepdim) {
  std::vector<int> dims;
  if (dim) dims.push_back(dim_of("aminmax", x, *dim));
  return {amin(x, dims, keepdim), amax(x, dims, keepdim)};
}

Tensor quantile(const Tensor& x, double q, std::optional<int> dim, bool keepdim,
                std::string_view interpolation) {
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64)
    fail("quantile", x, "it must be f32 or f64");
  if (!(q >= 0 && q <= 1)) fail("quantile", x, str("q must be in [0, 1], but is ", q));
  if (x.numel() == 0) fail("quantile", x, "over nothing");
  const int d = dim ? dim_of("quantile", x, *dim) : 0;
  const Tensor line = dim && x.dims() ? x : reshape(x, {-1});
  const Tensor sorted = std::get<0>(sort(line, d));
  const int64_t n = line.shape()[d];
  const double at = q * static_cast<double>(n - 1);
  int64_t low = static_cast<int64_t>(std::floor(at)), high = static_cast<int64_t>(std::ceil(at));
  double share = at - static_cast<double>(low);
  if (interpolation == "lower")
    high = low, share = 0;
  else if (interpolation == "higher")
    low = high, share = 0;
  else if (interpolation == "nearest")
    low = high = static_cast<int64_t>(std::nearbyint(at)), share = 0;
  else if (interpolation == "midpoint")
    share = low == high ? 0 : 0.5;
  else if (interpolation != "linear")
    fail("quantile", x, str("unknown interpolation '", interpolation, "'"));
  const Tensor a = narrow(sorted, d, low, 1), b = narrow(sorted, d, high, 1);
  Tensor y = share == 0 ? clone(a) : add(a, mul(sub(b, a), share));
  // A line with a NaN has none but NaN: it is sorted last.
  y = add(y, mul(narrow(sorted, d, n - 1, 1).detach(), 0));
  if (!dim) {
    Shape ones;
    for (int i = 0; keepdim && i < x.dims(); ++i) ones.push_back(1);
    return reshape(y, ones);
  }
  if (x.dims() == 0) return reshape(y, Shape{});
  return keepdim ? y : squeeze(y, d);
}

Tensor histc(const Tensor& x, int64_t bins, double low, double high) {
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64) fail("histc", x, "it must be f32 or f64");
  if (bins < 1) fail("histc", x, str(bins, " bins"));
  NoGrad none;
  const Tensor y = zeros({bins}, x.dtype(), x.device());
  if (x.numel() == 0) return y;
  const Tensor v = reshape(x.detach(), {-1});
  if (low == high) low = amin(v).item(), high = amax(v).item();
  if (low == high) low -= 1, high += 1;
  if (!(low < high) || !std::isfinite(high - low))
    fail("histc", x, str("[", low, ", ", high, "] is no finite interval"));
  const Tensor inside = masked_select(v, logical_and(ge(v, low), le(v, high)));
  if (inside.numel() == 0) return y;
  const Tensor place =
      floor(mul(div(sub(to(inside, DType::f64), low), high - low), static_cast<double>(bins)));
  return scatter_add_(y, 0, to(clamp_max(place, static_cast<double>(bins - 1)), DType::i64),
                      expand(ones({}, y.dtype(), y.device()), inside.shape()));
}

std::tuple<Tensor, Tensor> mode(const Tensor& x, int dim, bool keepdim) {
  const int d = dim_of("mode", x, dim);
  const int64_t n = x.dims() ? x.shape()[d] : 1;
  if (n == 0) fail("mode", x, "over nothing");
  Tensor places;
  if (x.dims() == 0) {
    places = Tensor::zeros({}, DType::i64, x.device());
  } else {
    NoGrad none;
    // Length of the run that ends at each sorted place: the longest, of equal ones the least value.
    const auto [values, order] = sort(x.detach(), d);
    const Tensor count = ones(values.shape(), DType::i64, x.device());
    if (n > 1) {
      const Tensor begins = ones(values.shape(), DType::boolean, x.device());
      copy_(narrow(begins, d, 1, n - 1),
            ne(narrow(values, d, 1, n - 1), narrow(values, d, 0, n - 1)));
      Shape line;
      for (int i = 0; i < x.dims(); ++i) line.push_back(i == d ? n : 1);
      const Tensor at = expand(view(arange(n, {}, x.device()), line), values.shape());
      const Tensor first = std::get<0>(cummax(where(begins, at, zeros_like(at)), d));
      copy_(count, sub(at, first));
    }
    const Tensor best = argmax(count, d, true);
    places = gather(order, d, best);
  }
  const Tensor values = gather(x, d, places);
  if (keepdim || x.dims() == 0) return {values, places};
  return {squeeze(values, d), squeeze(places, d)};
}

}  // namespace wellspring
