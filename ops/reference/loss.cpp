// Operands as in chips/cpu/kernels/loss.cpp.
#include <algorithm>
#include <cmath>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

// max + log(sum(exp(x - max))) of a row.
double log_sum_exp(const double* x, int64_t width) {
  double top = -INFINITY, sum = 0;
  for (int64_t i = 0; i < width; ++i) top = std::max(top, x[i]);
  for (int64_t i = 0; i < width; ++i) sum += std::exp(x[i] - top);
  return top + std::log(sum);
}

// (softmax(row) - onehot) * factor, zeros for an ignored row.
void gradient_of_row(const double* x, double lse, int64_t width, double target, double ignore,
                     double factor, double* d) {
  for (int64_t i = 0; i < width; ++i)
    d[i] =
        target == ignore ? 0 : (std::exp(x[i] - lse) - (static_cast<double>(i) == target)) * factor;
}

void cross_entropy(const Call& call) {
  Values logits(call.in[0]);
  const Values targets(call.in[1]);
  const int64_t width = logits.extent(1);
  const double factor = call.attr[1].f, ignore = static_cast<double>(call.attr[2].i);
  Values losses(targets.shape), sums(targets.shape), d(logits.shape);
  for (double& x : logits.data) x *= call.attr[0].f;
  for (int64_t row = 0; row < targets.size(); ++row) {
    const double* x = &logits.data[row * width];
    const bool counts = targets[row] != ignore;
    if (counts) sums[row] = log_sum_exp(x, width);
    if (counts) losses[row] = sums[row] - x[static_cast<int64_t>(targets[row])];
    gradient_of_row(x, sums[row], width, targets[row], ignore, factor, &d.data[row * width]);
  }
  losses.write(call.out[0]);
  sums.write(call.out[1]);
  d.write(call.out[2]);
}
WS_REFERENCE("cross_entropy", cross_entropy);

void cross_entropy_backward(const Call& call) {
  const Values logits(call.in[0]), targets(call.in[1]), sums(call.in[2]);
  const int64_t width = logits.extent(1);
  Values d(logits.shape);
  for (int64_t row = 0; row < targets.size(); ++row)
    gradient_of_row(&logits.data[row * width], sums[row], width, targets[row],
                    static_cast<double>(call.attr[1].i), call.attr[0].f, &d.data[row * width]);
  d.write(call.out[0]);
}
WS_REFERENCE("cross_entropy_backward", cross_entropy_backward);

void nll_loss(const Call& call) {
  const Values x(call.in[0]), targets(call.in[1]);
  Values losses(targets.shape);
  for (int64_t row = 0; row < targets.size(); ++row)
    if (const auto t = static_cast<int64_t>(targets[row]); t != call.attr[0].i)
      losses[row] = -x[row * x.extent(1) + t];
  losses.write(call.out[0]);
}
WS_REFERENCE("nll_loss", nll_loss);

void nll_loss_backward(const Call& call) {
  const Values targets(call.in[0]);
  Values d(Values(call.out[0]).shape);
  for (int64_t row = 0; row < targets.size(); ++row)
    if (const auto t = static_cast<int64_t>(targets[row]); t != call.attr[1].i)
      d[row * d.extent(1) + t] = call.attr[0].f;
  d.write(call.out[0]);
}
WS_REFERENCE("nll_loss_backward", nll_loss_backward);

void scale(const Call& call) {
  Values x(call.in[0]);
  for (double& v : x.data) v *= call.attr[0].f;
  x.write(call.out[0]);
}
WS_REFERENCE("scale", scale);

}  // namespace
}  // namespace wellspring::reference
