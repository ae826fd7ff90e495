#pragma once
#include "tensor/chip.h"

namespace wellspring {

/// Copies between two views in host memory with the same shape, any strides, converting the dtype:
/// a plain loop for making tensors, reading results and tests. Kernels' "copy" is the fast one.
/// Floating to integer truncates; to bool is "not zero". c64 converts only to c64; what is real
/// becomes its real part.
void host_copy(const View& to, const View& from);

}  // namespace wellspring
