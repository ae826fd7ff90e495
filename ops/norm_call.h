#pragma once
// What the named forms of normalisation (ops/norm_forms.cpp) call.

#include <tuple>

#include "tensor/tensor.h"

namespace wellspring {

/// {normalised, f32 [rows, {mean, rstd}]} of rows x [..., D], as layer_norm. The gradient goes
/// through the first.
std::tuple<Tensor, Tensor> layer_norm_with_stats(const char* op, const Tensor& x,
                                                 const Tensor& weight, const Tensor& bias,
                                                 double eps);

}  // namespace wellspring
