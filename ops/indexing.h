#pragma once
// What operators that read or write by index have in common.

#include <string>

#include "tensor/dispatch.h"
#include "tensor/tensor.h"

namespace wellspring {

/// Error(Fault::usage) that names the operator, the tensor and its index.
[[noreturn]] void fail_index(const char* op, const Tensor& x, const Tensor& index,
                             const std::string& why);
/// Whether indices are i32 or i64; on chips whose kernels do not look, that all of them lie in
/// dimension `dim` of x, too. (The CPU's kernels and the references look themselves.)
void check_index(const char* op, const Tensor& x, int dim, const Tensor& index,
                 bool places = false);
/// The same, and that they are 1-d (or one alone).
void check_list(const char* op, const Tensor& x, int dim, const Tensor& index);
/// The same for an index as gather() takes it.
void check_places(const char* op, const Tensor& x, int dim, const Tensor& index);
/// Error(Fault::usage) when elements of x share memory, or when the source has another dtype.
void check_written(const char* op, const Tensor& x, const Tensor& source);
/// launch(), with the tensor and its index named when one index is out of range: an IndexError, or
/// of places (gather, scatter) a plain Error, as PyTorch has it.
void launch_by_index(const char* op, const Tensor& x, const Tensor& index, const KernelRef& kernel,
                     std::initializer_list<Tensor> outs, std::initializer_list<Tensor> ins,
                     std::initializer_list<Attr> attrs, bool places = false);
/// x, or a view of a 0-d x as one element in one dimension.
Tensor as_line(const Tensor& x);
/// The source itself, or a row-major copy when it lies in the storage of x.
Tensor apart(const Tensor& x, const Tensor& source);

}  // namespace wellspring
