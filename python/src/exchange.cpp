// Tensors from and to others' memory without copying (DLPack, NumPy), and from and to lists.

#include <nanobind/ndarray.h>

#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "ops/complex.h"
#include "ops/shape.h"
#include "python/src/casters.h"
#include "python/src/module.h"
#include "tensor/autograd.h"

namespace wellspring::python {
namespace {

using Code = nb::dlpack::dtype_code;
constexpr int kCpu = nb::device::cpu::value;

struct Kind {
  Code code;
  uint8_t bits;
};
constexpr Kind kKinds[kDTypeCount] = {{Code::Float, 64}, {Code::Float, 32},  {Code::Bfloat, 16},
                                      {Code::Float, 16}, {Code::Int, 64},    {Code::Int, 32},
                                      {Code::Int, 16},   {Code::Int, 8},     {Code::UInt, 8},
                                      {Code::Bool, 8},   {Code::Complex, 64}};

nb::dlpack::dtype dlpack_dtype(DType t) {
  const Kind k = kKinds[static_cast<int>(t)];
  return {static_cast<uint8_t>(k.code), k.bits, 1};
}

DType from_dlpack_dtype(nb::dlpack::dtype t) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (t.code == static_cast<uint8_t>(kKinds[i].code) && t.bits == kKinds[i].bits && t.lanes == 1)
      return static_cast<DType>(i);
  throw nb::type_error(str("from_dlpack: no dtype here for DLPack's type code ", int{t.code},
                           " with ", int{t.bits}, " bits")
                           .c_str());
}

using Array = nb::ndarray<nb::device::cpu>;
using ReadOnlyArray = nb::ndarray<nb::ro, nb::device::cpu>;

/// The tensor shares the array's memory and keeps it alive.
template <class Array>
Tensor from_array(const Array& array) {
  if (array.ndim() > static_cast<size_t>(kMaxDims))
    throw Error(Fault::usage,
                str("from_dlpack: ", array.ndim(), " dimensions; tensors have up to ", kMaxDims));
  Shape shape, strides;
  int64_t low = 0;  // of the first element, when strides are negative
  for (size_t d = 0; d < array.ndim(); ++d) {
    shape.push_back(static_cast<int64_t>(array.shape(d)));
    strides.push_back(array.stride(d));
    if (shape[static_cast<int>(d)] > 0 && array.stride(d) < 0)
      low += (shape[static_cast<int>(d)] - 1) * array.stride(d);
  }
  const DType dtype = from_dlpack_dtype(array.dtype());
  int64_t extent = 1;  // elements from the first to the last one in memory
  for (int d = 0; d < shape.size(); ++d)
    if (shape[d] > 0) extent += (shape[d] - 1) * std::abs(strides[d]);
  std::shared_ptr<const void> owner(new Array(array), [](const void* p) {
    nb::gil_scoped_acquire held;
    delete static_cast<const Array*>(p);
  });
  char* data = static_cast<char*>(const_cast<void*>(static_cast<const void*>(array.data()))) +
               low * static_cast<int64_t>(size_of(dtype));
  if (shape.numel() == 0) return Tensor::empty(shape, dtype);
  return Tensor::wrap(data, {extent}, dtype, std::move(owner)).as_strided(shape, strides, -low);
}

[[noreturn]] void raise(PyObject* type, const std::string& why) {
  PyErr_SetString(type, why.c_str());
  throw nb::python_error();
}

/// Nothing is copied, or it says why that cannot be.
Tensor from_dlpack(nb::handle source) {
  if (nb::hasattr(source, "requires_grad") &&
      nb::cast<bool>(nb::bool_(source.attr("requires_grad"))))
    raise(PyExc_BufferError,
          "from_dlpack of a tensor that requires grad, whose gradient would be lost: detach() it "
          "first");
  Array array;
  if (nb::try_cast(source, array)) return from_array(array);
  const std::string type = nb::type_name(source.type()).c_str();
  if (ReadOnlyArray read_only; nb::try_cast(source, read_only))
    raise(PyExc_BufferError, str("from_dlpack: the ", type,
                                 " is read-only, and tensors can be written to: copy() it first, "
                                 "or call tensor(), which copies"));
  if (nb::ndarray<nb::ro> elsewhere; nb::try_cast(source, elsewhere))
    raise(PyExc_BufferError, str("from_dlpack: the ", type, " is not in host memory"));
  raise(PyExc_TypeError,
        str("from_dlpack: cannot read ", type, "; it takes NumPy arrays, and what has __dlpack__"));
}

template <class... Options>
nb::ndarray<Options...> to_array(nb::handle self) {
  const Tensor& t = nb::cast<const Tensor&>(self);
  if (!t.device().is_cpu())
    throw Error(Fault::usage, str(t.text(), " is not in host memory; use to('cpu') first"));
  size_t shape[kMaxDims];
  int64_t strides[kMaxDims];
  for (int d = 0; d < t.dims(); ++d)
    shape[d] = static_cast<size_t>(t.shape()[d]), strides[d] = t.strides()[d];
  return nb::ndarray<Options...>(t.data(), static_cast<size_t>(t.dims()), shape, self, strides,
                                 dlpack_dtype(t.dtype()), kCpu, 0);
}

void refuse_recorded(const Tensor& t, const char* what) {
  if (t.requires_grad())
    throw Error(Fault::usage, str(what, " of a tensor that requires grad: call detach() first"));
}

nb::object numpy(nb::handle self) {
  const Tensor& t = nb::cast<const Tensor&>(self);
  refuse_recorded(t, "numpy()");
  if (t.dtype() == DType::bf16)
    throw nb::type_error("NumPy has no bfloat16; convert with to(wellspring.float32)");
  return nb::cast(to_array<nb::numpy>(self), nb::rv_policy::reference);
}

// Nested lists. Their values are read into doubles, or into i64 when all are whole.
struct Nested {
  std::vector<double> reals;
  std::vector<int64_t> whole;
  std::vector<double> imaginary;
  Shape shape;
  bool any_real = false, any_int = false, any_complex = false;
};

void read_nested(nb::handle h, int depth, Nested* n) {
  if (PyList_Check(h.ptr()) || PyTuple_Check(h.ptr())) {
    const auto size = static_cast<int64_t>(PySequence_Fast_GET_SIZE(h.ptr()));
    if (depth == n->shape.size()) {
      if (!n->reals.empty()) throw nb::value_error("tensor(): the nested lists are ragged");
      n->shape.push_back(size);
    } else if (n->shape[depth] != size) {
      throw nb::value_error("tensor(): the nested lists are ragged");
    }
    for (Py_ssize_t i = 0; i < size; ++i)
      read_nested(PySequence_Fast_GET_ITEM(h.ptr(), i), depth + 1, n);
    return;
  }
  Scalar s = 0;
  std::complex<double> c;
  if (const Tensor* t = nullptr;
      nb::try_cast(h, t) && t->defined() && t->numel() == 1 && !is_complex(t->dtype())) {
    s = is_float(t->dtype()) ? Scalar(t->item()) : Scalar(t->to_vector<int64_t>()[0]);
  } else if (complex_from(t && t->defined() && t->numel() == 1 ? nb::object(h.attr("item")())
                                                               : nb::borrow(h),
                          &c)) {
    s = c.real();
    n->any_complex = true;
  } else if (!scalar_from(h, &s)) {
    throw nb::type_error(str("tensor(): cannot read ", nb::type_name(h.type()).c_str(),
                             "; it takes numbers, nested lists of them, NumPy arrays and tensors")
                             .c_str());
  }
  if (depth != n->shape.size()) throw nb::value_error("tensor(): the nested lists are ragged");
  n->any_real |= s.kind == Scalar::Kind::real;
  n->any_int |= s.kind == Scalar::Kind::integer;
  n->reals.push_back(s.kind == Scalar::Kind::real ? s.f : static_cast<double>(s.i));
  n->whole.push_back(s.kind == Scalar::Kind::real ? static_cast<int64_t>(s.f) : s.i);
  n->imaginary.push_back(c.imag());
}

Tensor packed_as(const Tensor& source, DType dtype, Device device) {
  if (is_complex(dtype) && !is_complex(source.dtype())) {
    NoGrad none;
    const Tensor real = to(source.detach(), DType::f32);
    return complex(real, Tensor::zeros(real.shape(), DType::f32, real.device())).to_device(device);
  }
  if (is_complex(source.dtype()) && !is_complex(dtype))
    throw Error(Fault::usage, str("tensor(): ", source.text(), " as ", name_of(dtype),
                                  " would lose the imaginary parts: take real() or imag()"));
  const Tensor copy = Tensor::empty(source.shape(), dtype, device);
  copy.copy_from(source.detach());
  return copy;
}

Tensor floats(const std::vector<double>& values, const Shape& shape) {
  const Tensor result = Tensor::empty(shape, DType::f32);
  std::copy(values.begin(), values.end(), result.data_as<float>());
  return result;
}

Tensor make_tensor(nb::handle data, std::optional<DType> dtype, Device device, bool requires_grad) {
  Tensor result;
  if (const Tensor* t = nullptr; nb::try_cast(data, t) && t->defined()) {
    result = packed_as(*t, dtype.value_or(t->dtype()), device);
  } else if (nb::hasattr(data, "__dlpack__") && !PyList_Check(data.ptr())) {
    const Tensor shared = from_array(nb::cast<ReadOnlyArray>(data));
    result = packed_as(shared, dtype.value_or(shared.dtype()), device);
  } else {
    Nested n;
    read_nested(data, 0, &n);
    const DType type = dtype.value_or(n.any_complex                   ? DType::c64
                                      : n.any_real || n.reals.empty() ? DType::f32
                                      : n.any_int                     ? DType::i64
                                                                      : DType::boolean);
    Tensor values;
    if (n.any_complex) {
      values = complex(floats(n.reals, n.shape), floats(n.imaginary, n.shape));
    } else if (n.any_real || n.reals.empty()) {
      values = Tensor::empty(n.shape, DType::f64);
      std::copy(n.reals.begin(), n.reals.end(), values.data_as<double>());
    } else {
      values = Tensor::from(n.whole, n.shape);
    }
    result = packed_as(values, type, device);
  }
  if (requires_grad) result.set_requires_grad(true);
  return result;
}

// Nested lists of what next() gives.
template <class F>
nb::object listed(const Shape& shape, int depth, F&& next) {
  if (depth == shape.size()) return next();
  nb::list list;
  for (int64_t i = 0; i < shape[depth]; ++i) list.append(listed(shape, depth + 1, next));
  return list;
}

nb::object tolist(const Tensor& t) {
  size_t at = 0;
  if (is_complex(t.dtype())) {
    const std::vector<double> v = view_as_real(t.detach()).to_vector<double>();
    return listed(t.shape(), 0, [&]() -> nb::object {
      at += 2;
      return nb::steal(PyComplex_FromDoubles(v[at - 2], v[at - 1]));
    });
  }
  if (is_float(t.dtype())) {
    const std::vector<double> v = t.to_vector<double>();
    return listed(t.shape(), 0, [&] { return nb::object(nb::float_(v[at++])); });
  }
  const std::vector<int64_t> v = t.to_vector<int64_t>();
  if (t.dtype() == DType::boolean)
    return listed(t.shape(), 0, [&] { return nb::object(nb::bool_(v[at++] != 0)); });
  return listed(t.shape(), 0, [&] { return nb::object(nb::int_(v[at++])); });
}

// A tensor's values in row-major order, and back: what _copy.py makes pickles of.
nb::bytes bytes_of(const Tensor& t) {
  const Tensor packed = contiguous(t.detach().to_device(Device{}));
  return nb::bytes(packed.data(), static_cast<size_t>(packed.numel()) * size_of(packed.dtype()));
}

Tensor from_bytes(nb::bytes values, DType dtype, const Shape& shape) {
  const Tensor result = Tensor::empty(shape, dtype);
  if (values.size() != static_cast<size_t>(result.numel()) * size_of(dtype))
    throw Error(Fault::data, str(values.size(), " bytes are no ", result.text()));
  if (values.size()) std::memcpy(result.data(), values.c_str(), values.size());
  return result;
}

}  // namespace

Tensor tensor_of(nb::handle data) { return make_tensor(data, {}, Device{}, false); }

void bind_exchange(nb::module_& m) {
  m.def("tensor", &make_tensor, nb::arg("data").none(), nb::arg("dtype").none() = nb::none(),
        nb::arg("device") = Device{}, nb::arg("requires_grad") = false,
        "A new tensor with the values of numbers, nested lists, an array or a tensor.");
  m.def("from_dlpack", &from_dlpack, nb::arg("array"),
        "A tensor on the memory of a NumPy array, a PyTorch tensor or anything with __dlpack__. "
        "Nothing is copied: changes are seen on both sides.");
  m.def("from_numpy", &from_dlpack, nb::arg("array"), "from_dlpack() under NumPy's name.");
  m.def("_from_bytes", &from_bytes, nb::arg("values"), nb::arg("dtype"), nb::arg("shape"));
  nb::handle c = tensor_class();
  const auto method = [&](const char* name, auto f, auto... extra) {
    nb::cpp_function_def(f, nb::scope(c), nb::name(name), nb::is_method(), extra...);
  };
  method("numpy", &numpy, "A NumPy array on the same memory.");
  method("tolist", &tolist, "Nested lists of Python numbers.");
  method("_bytes", &bytes_of);
  method(
      "__array__",
      [](nb::handle self, nb::handle dtype, nb::handle copy) -> nb::object {
        nb::object array = numpy(self);
        if (!dtype.is_none()) array = array.attr("astype")(dtype);
        return copy.is_none() || !nb::cast<bool>(copy) ? array : array.attr("copy")();
      },
      nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none());
  method(
      "__dlpack__",
      [](nb::handle self, nb::kwargs options) {
        refuse_recorded(nb::cast<const Tensor&>(self), "__dlpack__()");
        if (options.contains("copy") && options["copy"].ptr() == Py_True) {
          const Tensor& t = nb::cast<const Tensor&>(self);
          nb::object copy = nb::cast(packed_as(t, t.dtype(), Device{}));
          return nb::cast(to_array<>(copy), nb::rv_policy::reference);
        }
        return nb::cast(to_array<>(self), nb::rv_policy::reference);
      },
      "A DLPack capsule on the same memory.");
  method("__dlpack_device__", [](const Tensor& t) {
    if (!t.device().is_cpu()) throw nb::type_error("DLPack: only tensors in host memory");
    return nb::make_tuple(kCpu, 0);
  });
}

}  // namespace wellspring::python
