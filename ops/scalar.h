#pragma once
// A number as an operand: an integer or a real, as PyTorch tells them apart for type promotion.

#include <concepts>
#include <cstdint>

namespace wellspring {

/// Converts from any C++ number. Against a tensor it takes the tensor's dtype unless its category
/// (bool < integer < floating) is higher.
struct Scalar {
  enum class Kind : uint8_t { boolean, integer, real };
  Kind kind;
  int64_t i = 0;
  double f = 0;
  Scalar(bool v) : kind(Kind::boolean), i(v), f(v) {}  // NOLINT
  template <std::integral T>
  requires(!std::same_as<T, bool>) Scalar(T v)
      : kind(Kind::integer), i(static_cast<int64_t>(v)), f(static_cast<double>(v)) {}  // NOLINT
  template <std::floating_point T>
  Scalar(T v) : kind(Kind::real), f(v) {}  // NOLINT
};

}  // namespace wellspring
