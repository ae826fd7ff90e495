#pragma once
// What the generated references of pointwise operators call.

#include <initializer_list>

#include "ops/reference/reference.h"

namespace wellspring::reference {

/// Computes each defined output of a pointwise kernel's call (see ops/pointwise_call.h) by its
/// function of all slots, inputs then parameters, in f64; null where the operator has none.
void run_pointwise(const Call& call, int ins, int params,
                   std::initializer_list<double (*)(const double*)> functions);

}  // namespace wellspring::reference

// The functions of ops/device_math.inc, for double.
#include <cmath>
#include <numeric>

namespace wellspring::reference {

using std::abs, std::acos, std::acosh, std::asin, std::asinh, std::atan, std::atan2, std::atanh,
    std::ceil, std::copysign, std::cos, std::cosh, std::erf, std::erfc, std::exp, std::exp2,
    std::expm1, std::floor, std::fmod, std::gcd, std::hypot, std::isfinite, std::isinf, std::lcm,
    std::lgamma, std::log, std::log1p, std::pow, std::sin, std::sinh, std::sqrt, std::tan,
    std::tanh, std::trunc;
inline double round(double x) { return std::nearbyint(x); }
/// By bisection.
double erfinv(double x);
/// By the recurrence up to 1000 and the first terms of Stirling's series.
double digamma(double x);
inline double floor_quotient(double x, double y) {
  if (y == 0) return x / y;
  const double rest = std::fmod(x, y), q = (x - rest) / y;
  return std::round(rest != 0 && (rest < 0) != (y < 0) ? q - 1 : q);
}
inline double floor_rest(double x, double y) {
  const double rest = std::fmod(x, y);
  return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}
inline int64_t shift_left(int64_t x, int64_t y) {
  return y < 0 || y > 63 ? 0 : static_cast<int64_t>(static_cast<uint64_t>(x) << y);
}
inline int64_t shift_right(int64_t x, int64_t y) { return x >> (y < 0 || y > 63 ? 63 : y); }
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
/// By the tanh that the operator is named for: 0.5 x (1 + tanh(c (x + 0.044715 x^3))),
/// differentiated.
inline double gelu_tanh_slope(double x) {
  const double c = 0.7978845608028654, t = std::tanh(c * (x + 0.044715 * x * x * x));
  const double inner = c * (1 + 3 * 0.044715 * x * x);
  return 0.5 * (1 + t) + (std::abs(x) > 100 ? 0 : 0.5 * x * (1 - t * t) * inner);
}

}  // namespace wellspring::reference
