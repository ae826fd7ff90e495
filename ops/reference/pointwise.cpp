#include "ops/reference/pointwise.h"

namespace wellspring::reference {
namespace {

// The element of an operand that broadcasting puts at `index` of `shape`.
int64_t place_of(const Values& v, const Shape& shape, int64_t index) {
  int64_t at = 0, step = 1;
  for (int d = shape.size() - 1, o = v.shape.size() - 1; o >= 0; index /= shape[d--], --o) {
    if (v.shape[o] != 1) at += index % shape[d] * step;
    step *= v.shape[o];
  }
  return at;
}

}  // namespace

double erfinv(double x) {
  if (std::isnan(x) || std::abs(x) > 1) return NAN;
  if (std::abs(x) == 1) return std::copysign(INFINITY, x);
  double low = -7, high = 7;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (std::erf(middle) < x ? low : high) = middle;
  }
  // Where erf is flat, bisection ends anywhere on the step; Newton's step goes to its middle.
  return low - (std::erf(low) - x) / (2 / std::sqrt(M_PI) * std::exp(-low * low));
}

double digamma(double x) {
  if (x == 0) return -1 / x;
  if (x < 0) {
    if (x == std::floor(x)) return NAN;
    return digamma(1 - x) - M_PI / std::tan(M_PI * (x - std::round(x)));
  }
  double sum = 0;
  for (; x < 1000; ++x) sum -= 1 / x;
  return sum + std::log(x) - 0.5 / x - 1 / (12 * x * x) + 1 / (120 * x * x * x * x);
}

void run_pointwise(const Call& call, int ins, int params,
                   std::initializer_list<double (*)(const double*)> functions) {
  const bool whole = static_cast<DType>(call.attr[0].i) == DType::i64;
  const auto number = [&](int i) {
    return whole ? static_cast<double>(call.attr[i].i) : call.attr[i].f;
  };
  std::vector<Values> operands;
  for (int i = 0; i < ins; ++i) operands.emplace_back(call.in[i]);
  std::vector<double> slots(ins + params);
  for (int p = 0; p < params; ++p) slots[ins + p] = number(1 + p);
  for (int o = 0; o < call.outs; ++o) {
    if (!call.out[o].defined()) continue;
    const auto function = functions.begin()[o];
    Values result(Shape(std::span(call.out[o].shape, static_cast<size_t>(call.out[o].dims))));
    for (int64_t k = 0; k < result.size(); ++k) {
      for (int i = 0; i < ins; ++i)
        slots[i] = call.in[i].defined() ? operands[i][place_of(operands[i], result.shape, k)]
                                        : number(1 + params + i);
      result[k] = function(slots.data());
    }
    result.write(call.out[o]);
  }
}

}  // namespace wellspring::reference
