#include "base/random.h"
#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

void dropout(const Call& call) {
  Values x(call.in[0]);
  const double p = call.attr[0].f;
  const auto seed = static_cast<uint64_t>(call.attr[1].i),
             offset = static_cast<uint64_t>(call.attr[2].i);
  Values mask(x.shape);
  for (int64_t i = 0; i < x.size(); ++i) {
    const uint64_t e = offset + static_cast<uint64_t>(i);
    const uint32_t word = philox(seed, e / 64 * 16 + e % 16, 0)[e / 16 % 4];
    mask[i] = word + 0.5 < p * 4294967296.0 ? 0 : 1;
    x[i] = mask[i] == 0 ? 0 : x[i] / (1 - p);
  }
  x.write(call.out[0]);
  if (call.outs > 1) mask.write(call.out[1]);
}
WS_REFERENCE("dropout", dropout);

}  // namespace
}  // namespace wellspring::reference
