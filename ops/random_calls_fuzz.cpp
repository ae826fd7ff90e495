// Any bytes choose a call of the family WS_FUZZ_FAMILY that kernels and reference agree about.
#include "ops/random_calls.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  wellspring::fuzz_random_call(WS_FUZZ_FAMILY, data, size);
  return 0;
}
