#pragma once
// For operators that scatter.

#include "tensor/tensor.h"

namespace wellspring {

/// What of the source an index takes: its first index.shape() elements. Differentiable.
/// Error(Fault::usage) when it is smaller.
Tensor source_part(const char* op, const Tensor& x, const Tensor& index, const Tensor& source);

}  // namespace wellspring
