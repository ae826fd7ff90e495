#pragma once
// Random calls: bytes choose an operator of a family, its operands (shapes up to 8 dimensions,
// strides, dtypes, values) and numbers, good ones and bad ones. The call runs on the kernels of
// this processor and on the slow reference; both give the same results, or both refuse. The fuzz
// targets (random_calls_fuzz.cpp, one program per line of random_families.inc) and the property
// tests (random_calls_test.cpp) draw from it.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "tensor/autograd.h"
#include "tensor/tensor.h"

namespace wellspring {

/// Choices read from bytes; zeros when they are used up.
class Choices {
 public:
  /// `gradient`: floating operands want one.
  explicit Choices(std::span<const uint8_t> bytes, bool gradient = false)
      : bytes_(bytes), values_(seed_of(bytes)), gradient_(gradient) {}
  /// The operator, for messages.
  std::string chosen;
  /// The operands that want a gradient, in the order drawn.
  std::vector<Tensor> wanting;
  int below(int n);  // n >= 1
  bool coin() { return below(2) != 0; }
  /// One in n.
  bool rarely(int n) { return below(n) == n - 1; }
  template <class T>
  const T& of(std::span<const T> list) {
    return list[below(static_cast<int>(list.size()))];
  }
  template <class T, size_t N>
  const T& of(const T (&list)[N]) {
    return of(std::span<const T>(list));
  }

  /// Extents; at most about 1000 elements.
  Shape shape(int least_dims = 0, int most_dims = 5);
  /// What broadcasts with it: leading dimensions left out, extents of 1.
  Shape broadcastable(const Shape& shape);
  DType floating();
  DType any_dtype();
  /// A dimension of n, seldom one that does not exist.
  int dim(int n);
  /// Some dimensions of n, mostly different ones.
  std::vector<int> dims(int n);
  /// Multiples of 1/8 in [-4, 4], which every floating dtype holds, of any strides; integers small.
  Tensor tensor(const Shape& shape, DType dtype);
  /// That or, as often, none.
  Tensor tensor_or_none(const Shape& shape, DType dtype) {
    return coin() ? tensor(shape, dtype) : Tensor();
  }
  /// Of whole numbers in [low, high), seldom one outside.
  Tensor ids(const Shape& shape, int64_t low, int64_t high);

 private:
  static uint64_t seed_of(std::span<const uint8_t> bytes);
  Tensor lay(const Shape& shape, DType dtype);
  std::span<const uint8_t> bytes_;
  Random values_;
  bool gradient_;
};

/// A family: makes operands and calls one of its operators.
struct RandomFamily {
  const char* name;
  Tensors (*call)(Choices& choices);
  bool gradients;  // compared as well, not only walked
};
std::span<const RandomFamily> random_families();

/// Empty when kernels and reference agree about the call that the bytes choose; else the operator
/// and what differs. Also walks the gradient, and compares it where the family says so.
std::string try_random_call(const RandomFamily& family, std::span<const uint8_t> bytes);
/// The same for a fuzz target: aborts with a message where they do not.
void fuzz_random_call(std::string_view family, const uint8_t* data, size_t size);

}  // namespace wellspring
