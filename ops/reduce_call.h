#pragma once
// What operators over reduction kernels share. Such a kernel takes the output with the input's
// dimensions, extent 1 where they are reduced, row-major.

#include <initializer_list>
#include <vector>

#include "tensor/dispatch.h"
#include "tensor/tensor.h"

namespace wellspring {

/// The shapes of a result: with extents of 1 where x is reduced, and as the caller wants it.
struct Reduced {
  Shape kept, result;
  int64_t count = 1;  // elements of x for one of the result
};
/// Over `dims` (empty: all). Error(Fault::usage) for a dimension that is out of range or named
/// twice.
Reduced reduced(const char* op, const Tensor& x, const std::vector<int>& dims, bool keepdim);

/// A new tensor with a kernel's result of x.
Tensor run_reduce(const KernelRef& kernel, const Tensor& x, const Reduced& r, DType dtype,
                  std::initializer_list<Attr> attrs = {});

/// The gradient of a result seen at every element of x.
Tensor repeated(const Tensor& g, const Reduced& r, const Shape& shape);

void check_real(const char* op, const Tensor& x);
void check_floating(const char* op, const Tensor& x);
/// Error(Fault::usage) when there are no elements to choose from.
void check_not_nothing(const char* op, const Tensor& x, int64_t count);

}  // namespace wellspring
