#pragma once
// What the generated table of elementwise device kernels (ops/gen_pointwise.py) calls. The Call
// convention stands in ops/pointwise_call.h.

#include "chips/device/device.h"

namespace wellspring::device {

struct PointwiseFunction {
  const char* name = nullptr;  // null: no such result
  uint32_t slots = 0;          // bits of the inputs, then parameters, that it reads
};

struct Pointwise {
  const char *name, *unit;
  int ins, params, outs;
  bool integers;  // computes in i64, too
  PointwiseFunction functions[3];
};

void run_pointwise(const Call& call, const Pointwise& kernel);
bool takes_pointwise(const Call& call, const Pointwise& kernel);

}  // namespace wellspring::device
