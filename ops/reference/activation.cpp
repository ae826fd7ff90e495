#include <cmath>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

void swiglu(const Call& call) {
  const Values x(call.in[0]);
  Values y(Values(call.out[0]).shape);
  const int64_t width = y.extent(-1);
  for (int64_t i = 0; i < y.size(); ++i) {
    const double gate = x[i / width * 2 * width + i % width],
                 up = x[i / width * 2 * width + width + i % width];
    y[i] = gate / (1 + std::exp(-gate)) * up;
  }
  y.write(call.out[0]);
}
WS_REFERENCE("swiglu", swiglu);

void swiglu_backward(const Call& call) {
  const Values dy(call.in[0]), x(call.in[1]);
  Values d(x.shape);
  const int64_t width = dy.extent(-1);
  for (int64_t i = 0; i < dy.size(); ++i) {
    const int64_t at = i / width * 2 * width + i % width;
    const double gate = x[at], up = x[at + width], s = 1 / (1 + std::exp(-gate));
    d[at] = dy[i] * up * s * (1 + gate * (1 - s));
    d[at + width] = dy[i] * gate * s;
  }
  d.write(call.out[0]);
}
WS_REFERENCE("swiglu_backward", swiglu_backward);

}  // namespace
}  // namespace wellspring::reference
