#include "ops/reference/reference.h"

#include "tensor/dispatch.h"
#include "tensor/host_copy.h"

namespace wellspring::reference {
namespace {

std::vector<NamedKernel>& table() {
  static std::vector<NamedKernel> all;
  return all;
}

Shape shape_of(const View& view) {
  return Shape(std::span<const int64_t>(view.shape, static_cast<size_t>(view.dims)));
}

}  // namespace

Values::Values(const View& view) {
  if (!view.defined()) return;
  shape = shape_of(view);
  data.resize(shape.numel());
  Shape packed = contiguous_strides(shape);
  host_copy(View{data.data(), DType::f64, shape.size(), shape.data(), packed.data()}, view);
}

Values::Values(const Shape& shape, double value) : shape(shape), data(shape.numel(), value) {}

void Values::write(const View& view) const {
  if (!view.defined()) return;
  Shape packed = contiguous_strides(shape);
  host_copy(view, View{const_cast<double*>(data.data()), DType::f64, shape.size(), shape.data(),
                       packed.data()});
}

const std::vector<NamedKernel>& kernels() { return table(); }

Registrar::Registrar(const char* name, Kernel kernel) {
  set_stand_ins(kernels);
  table().push_back({name, kernel});
}

}  // namespace wellspring::reference
