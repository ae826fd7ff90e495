#pragma once
// Derivatives of pooling and resizing that have a name of their own in PyTorch: of the result's
// gradient dy, without recording. Error(Fault::usage) where dy does not fit.

#include <optional>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

Tensor avg_pool2d_backward(const Tensor& dy, const Tensor& x,
                           const std::vector<int64_t>& kernel_size,
                           const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                           bool ceil_mode, bool count_include_pad,
                           std::optional<int64_t> divisor_override);
Tensor adaptive_avg_pool2d_backward(const Tensor& dy, const Tensor& x);

/// Of upsample_nearest1d and 2d, or the exact ones, from x of `input_size` to `output_size`.
Tensor upsample_nearest_backward(const Tensor& dy, const std::vector<int64_t>& output_size,
                                 const std::vector<int64_t>& input_size,
                                 const std::vector<double>& scales, bool exact);

}  // namespace wellspring
