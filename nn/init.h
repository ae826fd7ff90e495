#pragma once
// Initial values by Philox, keyed by (seed, name of the tensor in files): they depend neither on
// the order in which parameters are made, nor on fusing, nor on the number of threads.

#include <cstdint>

#include "nn/parameter.h"

namespace wellspring {

/// Normal values with deviation `std`, drawn again outside +-`bound` deviations (0: not truncated),
/// into every part of a f32 parameter; element k of a part is a function of (seed, part name, k)
/// alone.
void init_normal(const Parameter& parameter, uint64_t seed, double std, double bound = 3);
void init_constant(const Parameter& parameter, double value);

}  // namespace wellspring
