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

namespace wellspring::reference {

using std::abs, std::ceil, std::cos, std::erf, std::exp, std::exp2, std::expm1, std::floor,
    std::isfinite, std::isinf, std::log, std::log1p, std::pow, std::sin, std::sqrt, std::tanh,
    std::trunc;
inline double round(double x) { return std::nearbyint(x); }
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
/// By the tanh that the operator is named for: 0.5 x (1 + tanh(c (x + 0.044715 x^3))),
/// differentiated.
inline double gelu_tanh_slope(double x) {
  const double c = 0.7978845608028654, t = std::tanh(c * (x + 0.044715 * x * x * x));
  const double inner = c * (1 + 3 * 0.044715 * x * x);
  return 0.5 * (1 + t) + (std::abs(x) > 100 ? 0 : 0.5 * x * (1 - t * t) * inner);
}

}  // namespace wellspring::reference
