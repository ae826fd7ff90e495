#include "ops/reference/reference.h"

#include "tensor/dispatch.h"
#include "tensor/host_copy.h"

namespace wellspring::reference {
namespace {

std::vector<NamedKernel>& table() {
  static std::vector<NamedKernel> all;
  return all;
}

// A view whose elements are numbers: complex ones are seen as pairs.
struct Seen {
  Shape shape, strides;
  void* data;
  DType dtype;

  explicit Seen(const View& v)
      : shape(std::span(v.shape, static_cast<size_t>(v.dims))),
        strides(std::span(v.strides, static_cast<size_t>(v.dims))),
        data(v.data),
        dtype(v.dtype) {
    if (!is_complex(dtype)) return;
    for (int d = 0; d < v.dims; ++d) strides[d] *= 2;
    shape.push_back(2), strides.push_back(1);
    dtype = DType::f32;
  }
  View view() const { return {data, dtype, shape.size(), shape.data(), strides.data()}; }
};

}  // namespace

Values::Values(const View& view) {
  if (!view.defined()) return;
  const Seen seen(view);
  shape = seen.shape;
  data.resize(shape.numel());
  Shape packed = contiguous_strides(shape);
  host_copy(View{data.data(), DType::f64, shape.size(), shape.data(), packed.data()}, seen.view());
}

Values::Values(const Shape& shape, double value) : shape(shape), data(shape.numel(), value) {}

void Values::write(const View& view) const {
  if (!view.defined()) return;
  Shape packed = contiguous_strides(shape);
  host_copy(Seen(view).view(), View{const_cast<double*>(data.data()), DType::f64, shape.size(),
                                    shape.data(), packed.data()});
}

const std::vector<NamedKernel>& kernels() { return table(); }

Registrar::Registrar(const char* name, Kernel kernel) {
  set_stand_ins(kernels);
  table().push_back({name, kernel});
}

}  // namespace wellspring::reference
