#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

void embedding(const Call& call) {
  const Values weight(call.in[0]), ids(call.in[1]);
  Values y(Values(call.out[0]).shape);
  const int64_t width = y.extent(-1);
  for (int64_t i = 0; i < y.size(); ++i)
    y[i] = weight[static_cast<int64_t>(ids[i / width]) * width + i % width];
  y.write(call.out[0]);
}
WS_REFERENCE("embedding", embedding);

void embedding_backward(const Call& call) {
  const Values dy(call.in[0]), ids(call.in[1]);
  Values grad = call.attr[0].i ? Values(call.out[0]) : Values(Values(call.out[0]).shape);
  const int64_t width = grad.extent(-1);
  for (int64_t i = 0; i < dy.size(); ++i)
    grad[static_cast<int64_t>(ids[i / width]) * width + i % width] += dy[i];
  grad.write(call.out[0]);
}
WS_REFERENCE("embedding_backward", embedding_backward);

}  // namespace
}  // namespace wellspring::reference
