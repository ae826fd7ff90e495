#include <cmath>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

void adamw(const Call& call) {
  Values p(call.out[0]), m(call.out[1]), v(call.out[2]);
  const Values grad(call.in[0]);
  const double lr = call.attr[0].f, beta1 = call.attr[1].f, beta2 = call.attr[2].f,
               eps = call.attr[3].f;
  const double decay = call.attr[4].f, step = static_cast<double>(call.attr[5].i);
  for (int64_t i = 0; i < p.size(); ++i) {
    const double g = grad[i] * call.attr[6].f;
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    const double mean = m[i] / (1 - std::pow(beta1, step)),
                 square = v[i] / (1 - std::pow(beta2, step));
    p[i] -= lr * (decay * p[i] + mean / (std::sqrt(square) + eps));
  }
  p.write(call.out[0]);
  m.write(call.out[1]);
  v.write(call.out[2]);
  p.write(call.out[3]);
}
WS_REFERENCE("adamw", adamw);

void sum_squares(const Call& call) {
  const Values x(call.in[0]);
  Values sum(Shape{});
  for (double v : x.data) sum[0] += v * v;
  sum.write(call.out[0]);
}
WS_REFERENCE("sum_squares", sum_squares);

}  // namespace
}  // namespace wellspring::reference
