#pragma once
// Dimensions named by a caller.

#include "tensor/tensor.h"

namespace wellspring {

/// Dimension `dim` of x counted from the front; negative counts from the end. A 0-d tensor is taken
/// to have one dimension, as PyTorch does. Error(Fault::usage) naming `op` when out of range.
int dim_of(const char* op, const Tensor& x, int dim);

}  // namespace wellspring
