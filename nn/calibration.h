#pragma once
// What a matrix is multiplied with, as quantising it wants to know (GPTQ, Frantar et al. 2022).

#include "tensor/tensor.h"

namespace wellspring {

/// The feedback for quantising a matrix [N, K] in the order of its columns, from the sum of x^T x over rows x that it is
/// multiplied with: moments [K, K], f32, symmetric, overwritten. With moments (their diagonal raised by `damping` times
/// its mean) = R D R^T, R upper triangular with ones on its diagonal: R above the diagonal, D on it, f32 [K, K].
/// Then the error of choosing q[k] in order for w[k] + sum over j < k of (w[j] - q[j]) R[j, k] is the sum of D[k]
/// times the squares of what is left there (LDLQ, Chee et al. 2023). All zeros become the identity. Error(Fault::data)
/// when the moments are not finite.
Tensor error_feedback(const Tensor& moments, double damping = 0.01);

}  // namespace wellspring
