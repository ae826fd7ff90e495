#pragma once
// OpenCL devices as a chip: memory of their own, an asynchronous queue each, kernels compiled from
// the device source (chips/device). The driver is loaded when somebody first asks for a device.

#include "tensor/chip.h"

namespace wellspring::opencl {

const Chip& chip();

/// Programs compiled from source and loaded from the cache on disk by this process; for tests.
struct ProgramCounts {
  int compiled = 0, loaded = 0;
};
ProgramCounts program_counts();

}  // namespace wellspring::opencl
