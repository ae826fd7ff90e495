#pragma once
// For operators whose kernels take row-major memory only.

#include "tensor/tensor.h"

namespace wellspring {

/// The tensor, detached, when it is row-major, else a row-major copy of it in the same dtype. No
/// gradient.
Tensor packed(const Tensor& t);
/// The same in a given dtype: a gradient may be wider than what it belongs to.
Tensor packed_as(const Tensor& t, DType dtype);
/// Whether a kernel may overwrite this tensor: nobody else holds it or its memory, which is
/// row-major.
bool is_exclusive(const Tensor& t);
/// Throws Error(Fault::usage), naming operator and operand, unless the tensor is defined and f32 or
/// bf16.
void check_f32_or_bf16(const char* op, const char* operand, const Tensor& t);

}  // namespace wellspring
