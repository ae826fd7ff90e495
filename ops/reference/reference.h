#pragma once
// The slow, clear reference: one kernel for each name, with the Call convention of the real one,
// any strides, every dtype read as f64, computed in f64 and rounded once. Registered from
// ops/reference/FAMILY.cpp:
//
//   void softmax(const Call& call) { ... }
//   WS_REFERENCE("softmax", softmax);

#include <vector>

#include "tensor/chip.h"
#include "tensor/tensor.h"

namespace wellspring::reference {

/// A tensor's values in f64, row-major; complex ones as pairs, in one more dimension.
struct Values {
  Shape shape;
  std::vector<double> data;

  Values() = default;
  /// Reads a view; an undefined one gives no values.
  explicit Values(const View& view);
  /// Zeros of a shape.
  explicit Values(const Shape& shape, double value = 0);
  /// Writes to a view of the same shape, rounding once (integers truncate; bool is "not zero").
  void write(const View& view) const;

  int64_t size() const { return static_cast<int64_t>(data.size()); }
  double& operator[](int64_t i) { return data[i]; }
  double operator[](int64_t i) const { return data[i]; }
  /// Extent, counting from the end when negative.
  int64_t extent(int dim) const { return shape[dim < 0 ? dim + shape.size() : dim]; }
  /// Number of rows of the last dimension.
  int64_t rows() const { return shape.size() && extent(-1) ? size() / extent(-1) : size(); }
};

/// All reference kernels.
const std::vector<NamedKernel>& kernels();

struct Registrar {
  Registrar(const char* name, Kernel kernel);
};

}  // namespace wellspring::reference

#define WS_REFERENCE(name, function) \
  static const ::wellspring::reference::Registrar registrar_of_##function(name, function)
