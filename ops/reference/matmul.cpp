// matmul, matmul_whole, column_sum.
#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

void matmul(const Call& call) {
  const Values a(call.in[0]), b(call.in[1]), bias(call.in[2]);
  Values c(call.out[0]);
  const int64_t M = a.extent(-2), K = a.extent(-1), N = b.extent(-1);
  for (int64_t i = 0; i < c.size(); ++i) {
    const int64_t batch = i / (M * N), m = i / N % M, n = i % N;
    double sum = call.attr[0].i ? c[i] : 0;
    for (int64_t k = 0; k < K; ++k) sum += a[(batch * M + m) * K + k] * b[(batch * K + k) * N + n];
    c[i] = sum + (bias.size() ? bias[n] : 0);
  }
  c.write(call.out[0]);
}
WS_REFERENCE("matmul", matmul);

void matmul_whole(const Call& call) {
  const Values a(call.in[0]), b(call.in[1]);
  Values c(Values(call.out[0]).shape);
  const int64_t M = a.extent(-2), K = a.extent(-1), N = b.extent(-1);
  for (int64_t i = 0; i < c.size(); ++i)
    for (int64_t k = 0; k < K; ++k)
      c[i] += a[(i / (M * N) * M + i / N % M) * K + k] * b[(i / (M * N) * K + k) * N + i % N];
  c.write(call.out[0]);
}
WS_REFERENCE("matmul_whole", matmul_whole);

void column_sum(const Call& call) {
  const Values x(call.in[0]);
  Values sum(Shape{x.extent(-1)});
  for (int64_t i = 0; i < x.size(); ++i) sum[i % sum.size()] += x[i];
  sum.write(call.out[0]);
}
WS_REFERENCE("column_sum", column_sum);

}  // namespace
}  // namespace wellspring::reference
