#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

void rotary(const Call& call) {
  const Values x(call.in[0]), cos(call.in[1]), sin(call.in[2]), positions(call.in[3]);
  const int64_t T = x.extent(1), H = x.extent(2), D = x.extent(3), half = D / 2;
  Values y = x;
  for (int64_t row = 0; D && row < x.rows(); ++row) {
    const int64_t h = row % H, bt = row / H;
    if (h >= call.attr[0].i) continue;
    const int64_t p = positions.size() ? static_cast<int64_t>(positions[bt]) : bt % T;
    for (int64_t i = 0; i < half; ++i) {
      const double a = x[row * D + i], b = x[row * D + half + i];
      const double c = cos[p * half + i],
                   s = call.attr[1].i ? -sin[p * half + i] : sin[p * half + i];
      y[row * D + i] = a * c - b * s;
      y[row * D + half + i] = b * c + a * s;
    }
  }
  y.write(call.out[0]);
}
WS_REFERENCE("rotary", rotary);

}  // namespace
}  // namespace wellspring::reference
