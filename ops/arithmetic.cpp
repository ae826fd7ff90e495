// Elementwise operators that choose among the pointwise family's.

#include "ops/arithmetic.h"

#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "ops/out.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

double greatest_of(DType t) {
  switch (t) {
    case DType::f64:
      return std::numeric_limits<double>::max();
    case DType::bf16:
      return 3.3895313892515355e38;
    case DType::f16:
      return 65504;
    default:
      return std::numeric_limits<float>::max();
  }
}

struct Replacements {
  double nan, posinf, neginf;
};
Replacements replacements(const Tensor& x, std::optional<double> nan, std::optional<double> posinf,
                          std::optional<double> neginf) {
  const double most = greatest_of(x.dtype());
  return {nan.value_or(0), posinf.value_or(most), neginf.value_or(-most)};
}

// Towards zero: what the rest leaves, divided exactly.
template <class Y>
Tensor truncated(const Tensor& x, const Y& y) {
  const Tensor rest = sub(x, fmod(x, y));
  if (is_float(rest.dtype())) return trunc(div(x, y));
  return floor_divide(rest, y);
}

template <class Y>
Tensor rounded_quotient(const Tensor& x, const Y& y, std::optional<std::string_view> mode) {
  if (!mode) return div(x, y);
  NoGrad no_grad;  // the derivative of a step
  if (*mode == "floor") return floor_divide(x, y);
  if (*mode == "trunc") return truncated(x, y);
  throw Error(Fault::usage,
              str("div: rounding_mode is \"floor\" or \"trunc\", not \"", *mode, "\""));
}

template <class Y>
const Tensor& rounded_in_place(const Tensor& x, const Y& y, std::optional<std::string_view> mode) {
  if (!mode) return div_(x, y);
  const Tensor quotient = rounded_quotient(x, y, mode);
  check_target("div_", x, quotient.dtype(), quotient.device(), "the tensor changed in place");
  if (!(x.shape() == quotient.shape()))
    throw Error(Fault::usage, str("div_: the result is ", quotient.shape().text(),
                                  ", but the tensor changed in place is ", x.text()));
  return copy_(x, quotient);
}

[[noreturn]] void refuse_no_bound() {
  throw Error(Fault::usage, "clamp: at least one of min and max must be given");
}

// None from Python is an undefined tensor.
std::optional<Tensor> defined(const std::optional<Tensor>& t) {
  return t && t->defined() ? t : std::nullopt;
}

Scalar as_real(const Scalar& s) { return Scalar(s.f); }

}  // namespace

Tensor bitwise_not(const Tensor& x) {
  return x.dtype() == DType::boolean ? logical_not(x) : bitwise_xor(x, -1);
}
const Tensor& bitwise_not_(const Tensor& x) {
  return x.dtype() == DType::boolean ? logical_not_(x) : bitwise_xor_(x, -1);
}
const Tensor& bitwise_not_out(const Tensor& out, const Tensor& x) {
  return x.dtype() == DType::boolean ? logical_not_out(out, x) : bitwise_xor_out(out, x, -1);
}

Tensor nan_to_num(const Tensor& x, std::optional<double> nan, std::optional<double> posinf,
                  std::optional<double> neginf) {
  if (!is_float(x.dtype())) return clone(x);  // has nothing to replace
  const Replacements r = replacements(x, nan, posinf, neginf);
  return replace_nonfinite(x, r.nan, r.posinf, r.neginf);
}
const Tensor& nan_to_num_(const Tensor& x, std::optional<double> nan, std::optional<double> posinf,
                          std::optional<double> neginf) {
  if (!is_float(x.dtype())) return x;
  const Replacements r = replacements(x, nan, posinf, neginf);
  return replace_nonfinite_(x, r.nan, r.posinf, r.neginf);
}

Tensor float_power(const Tensor& x, const Tensor& y) {
  return pow(to(x, DType::f64), to(y, DType::f64));
}
Tensor float_power(const Tensor& x, Scalar y) { return pow(to(x, DType::f64), as_real(y)); }
Tensor float_power(Scalar x, const Tensor& y) { return pow(as_real(x), to(y, DType::f64)); }

using Mode = std::optional<std::string_view>;
Tensor div_rounded(const Tensor& x, const Tensor& y, Mode rounding_mode) {
  return rounded_quotient(x, y, rounding_mode);
}
Tensor div_rounded(const Tensor& x, Scalar y, Mode rounding_mode) {
  return rounded_quotient(x, y, rounding_mode);
}
const Tensor& div_rounded_(const Tensor& x, const Tensor& y, Mode rounding_mode) {
  return rounded_in_place(x, y, rounding_mode);
}
const Tensor& div_rounded_(const Tensor& x, Scalar y, Mode rounding_mode) {
  return rounded_in_place(x, y, rounding_mode);
}

Tensor clip(const Tensor& x, std::optional<Tensor> min, std::optional<Tensor> max) {
  const auto low = defined(min), high = defined(max);
  if (low && high) return clamp(x, *low, *high);
  if (low) return clamp_min(x, *low);
  if (high) return clamp_max(x, *high);
  refuse_no_bound();
}
Tensor clip(const Tensor& x, std::optional<Scalar> min, std::optional<Scalar> max) {
  if (min && max) return clamp(x, *min, *max);
  if (min) return clamp_min(x, *min);
  if (max) return clamp_max(x, *max);
  refuse_no_bound();
}
const Tensor& clip_(const Tensor& x, std::optional<Tensor> min, std::optional<Tensor> max) {
  const auto low = defined(min), high = defined(max);
  if (low && high) return clamp_(x, *low, *high);
  if (low) return clamp_min_(x, *low);
  if (high) return clamp_max_(x, *high);
  refuse_no_bound();
}
const Tensor& clip_(const Tensor& x, std::optional<Scalar> min, std::optional<Scalar> max) {
  if (min && max) return clamp_(x, *min, *max);
  if (min) return clamp_min_(x, *min);
  if (max) return clamp_max_(x, *max);
  refuse_no_bound();
}

Tensor isclose(const Tensor& x, const Tensor& y, double rtol, double atol, bool equal_nan) {
  if (!(rtol >= 0) || !(atol >= 0))
    throw Error(Fault::usage,
                str("isclose: rtol ", rtol, " and atol ", atol, " must not be negative"));
  NoGrad no_grad;
  Tensor same = eq(x, y);
  if (equal_nan) same = logical_or(same, logical_and(isnan(x), isnan(y)));
  const bool real = is_float(x.dtype()) || is_float(y.dtype());
  const Tensor a = real ? x : to(x, DType::f64), b = real ? y : to(y, DType::f64);
  const Tensor near = le(abs(sub(a, b)), add(mul(abs(b), rtol), atol));
  return logical_or(same, logical_and(near, logical_and(isfinite(a), isfinite(b))));
}

bool allclose(const Tensor& x, const Tensor& y, double rtol, double atol, bool equal_nan) {
  return all(isclose(x, y, rtol, atol, equal_nan)).item() != 0;
}

bool equal(const Tensor& x, const Tensor& y) {
  if (!(x.shape() == y.shape())) return false;
  NoGrad no_grad;
  return all(eq(x, y)).item() != 0;
}

}  // namespace wellspring
