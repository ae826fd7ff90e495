#pragma once
// What training costs and what the machine gives.

#include <cstdint>

#include "models/decoder/config.h"
#include "tensor/chip.h"
#include "tensor/dtype.h"

namespace wellspring {

/// Operations of one token's training step, a multiplication and an addition counting two: 6 per
/// weight of a matrix product (the head included) and causal attention over `sequence` tokens at
/// half. Recomputation is not counted.
double training_flops(const DecoderConfig& model, int64_t sequence);

/// Operations a second of a large matrix product in `dtype` on all threads: the best of a few.
/// Takes about a tenth of a second.
double measure_gemm(DType dtype, Device device = {});

}  // namespace wellspring
