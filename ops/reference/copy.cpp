// copy, fill, accumulate.
#include "ops/reference/reference.h"
#include "tensor/host_copy.h"

namespace wellspring::reference {
namespace {

void copy(const Call& call) { host_copy(call.out[0], call.in[0]); }
WS_REFERENCE("copy", copy);

void fill(const Call& call) {
  Values v(call.out[0]);
  const int64_t step = is_complex(call.out[0].dtype) ? 2 : 1;  // the second of a pair is 0
  for (int64_t i = 0; i < v.size(); ++i) v[i] = i % step ? 0 : call.attr[0].f;
  v.write(call.out[0]);
}
WS_REFERENCE("fill", fill);

void accumulate(const Call& call) {
  Values sum(call.out[0]), more(call.in[0]);
  for (int64_t i = 0; i < sum.size(); ++i) sum[i] += more[i];
  sum.write(call.out[0]);
}
WS_REFERENCE("accumulate", accumulate);

}  // namespace
}  // namespace wellspring::reference
