#pragma once
// Inputs of benchmarks that both sides make alike, from the element's index alone.

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

inline uint32_t hash_of(uint32_t i, uint32_t n) {
  uint32_t h = (i + n * 0x9e3779b9u) * 2654435761u;
  h = (h ^ (h >> 15)) * 2246822519u;
  return h ^ (h >> 13);
}

/// Element i of input n: a hash to [-2, 2).
inline Tensor hashed_input(const Shape& shape, DType dtype, uint32_t n) {
  std::vector<float> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(hash_of(static_cast<uint32_t>(i), n) >> 8) / 4194304.0f - 2;
  return Tensor::from(x, shape, dtype);
}

/// Hashes to [0, most).
inline Tensor hashed_places(const Shape& shape, int64_t most) {
  std::vector<int64_t> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i) x[i] = hash_of(static_cast<uint32_t>(i), 9) % most;
  return Tensor::from(x, shape);
}

}  // namespace wellspring
