#pragma once
// How Python's values become the types of the operators' declarations (ops/schema), and back.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>

#include <array>
#include <complex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/scalar.h"
#include "tensor/tensor.h"

namespace nb = nanobind;

namespace wellspring::python {

/// An int, or a sequence of ints, into `values`; false when it is neither.
bool ints_from(nb::handle source, std::vector<int64_t>* values) noexcept;
/// A Python number (or what has __index__ or __float__ and no dimensions); false for others.
bool scalar_from(nb::handle source, Scalar* value) noexcept;
/// Python's complex and NumPy's; false for others.
bool complex_from(nb::handle source, std::complex<double>* value) noexcept;
/// From wellspring.float32, "f32" or "float32", NumPy's and PyTorch's dtypes and Python's own
/// types; false for others.
bool dtype_from(nb::handle source, DType* value) noexcept;
nb::object dtype_object(DType dtype);

/// What says more than "incompatible arguments" does: an argument is of the right type, but has no
/// right value. Raised when the call reads it, which is after Python has chosen the overload.
struct Refused {
  std::string why;  // empty: nothing to refuse
  void check() const;
};

/// tensor(data): a new tensor of an array or of nested lists.
Tensor tensor_of(nb::handle data);

/// Several targets of `out=`, with the objects that stand for them, which the call keeps alive.
template <size_t N>
struct Outs {
  std::array<Tensor, N> tensors;
  std::array<PyObject*, N> objects{};
};

}  // namespace wellspring::python

namespace nanobind::detail {

/// None is the undefined tensor, where a declaration has `= {}`.
template <>
struct type_caster<wellspring::Tensor> : type_caster_base<wellspring::Tensor> {
  using Base = type_caster_base<wellspring::Tensor>;
  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    is_none_ = source.is_none();
    return is_none_ || Base::from_python(source, flags, cleanup);
  }
  template <class T>
  bool can_cast() const noexcept {
    return is_none_ || Base::template can_cast<T>();
  }
  operator wellspring::Tensor*() {
    return is_none_ ? undefined() : Base::operator wellspring::Tensor*();
  }
  operator wellspring::Tensor&() { return *operator wellspring::Tensor*(); }
  operator wellspring::Tensor&&() { return std::move(*operator wellspring::Tensor*()); }

 private:
  bool is_none_ = false;
  static wellspring::Tensor* undefined() {
    static wellspring::Tensor none;  // nobody changes it
    return &none;
  }
};

/// A tuple or list of as many tensors; the result is a tuple of Python's own objects of them.
template <size_t N>
struct type_caster<wellspring::python::Outs<N>> {
  NB_TYPE_CASTER(wellspring::python::Outs<N>, const_name("tuple[") +
                                                  make_caster<wellspring::Tensor>::Name +
                                                  const_name(", ...]"))
  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    if (!PyList_Check(source.ptr()) && !PyTuple_Check(source.ptr())) return false;
    if (PySequence_Fast_GET_SIZE(source.ptr()) != static_cast<Py_ssize_t>(N)) return false;
    for (size_t i = 0; i < N; ++i) {
      make_caster<wellspring::Tensor> one;
      PyObject* item = PySequence_Fast_GET_ITEM(source.ptr(), static_cast<Py_ssize_t>(i));
      if (item == Py_None || !one.from_python(item, flags, cleanup)) return false;
      value.tensors[i] = static_cast<wellspring::Tensor&>(one);
      value.objects[i] = item;
    }
    return true;
  }
  static handle from_cpp(const Value& outs, rv_policy, cleanup_list*) noexcept {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(N));
    for (size_t i = 0; i < N; ++i)
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), Py_NewRef(outs.objects[i]));
    return tuple;
  }
};

/// A value of which some are refused: what its caster has besides the reading.
template <class V>
struct refusing_caster {
  using Value = V;
  template <class T>
  using Cast = movable_cast_t<T>;
  template <class T>
  bool can_cast() const noexcept {
    return true;
  }
  operator Value*() { return &operator Value&(); }
  operator Value&() { return refused_.check(), value_; }
  operator Value&&() { return std::move(operator Value&()); }

 protected:
  Value value_;
  wellspring::python::Refused refused_;
};

/// A sequence of ints, or one.
template <>
struct type_caster<wellspring::Shape> : refusing_caster<wellspring::Shape> {
  static constexpr auto Name = const_name("int | collections.abc.Sequence[int]");
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    std::vector<int64_t> ints;
    if (!wellspring::python::ints_from(source, &ints)) return false;
    if (ints.size() > wellspring::kMaxDims)
      refused_.why = "a size of " + std::to_string(ints.size()) +
                     " dimensions: tensors have up to " + std::to_string(wellspring::kMaxDims);
    else
      value_ = wellspring::Shape(ints);
    return true;
  }
  static handle from_cpp(const wellspring::Shape& shape, rv_policy, cleanup_list*) noexcept {
    PyObject* tuple = PyTuple_New(shape.size());
    for (int i = 0; i < shape.size(); ++i)
      PyTuple_SET_ITEM(tuple, i, PyLong_FromLongLong(shape[i]));
    return tuple;
  }
};

template <>
struct type_caster<std::vector<int>> {
  NB_TYPE_CASTER(std::vector<int>, const_name("int | collections.abc.Sequence[int] | None"))
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    value.clear();
    if (source.is_none()) return true;
    std::vector<int64_t> ints;
    if (!wellspring::python::ints_from(source, &ints)) return false;
    for (int64_t i : ints) {
      if (i != static_cast<int>(i)) return false;
      value.push_back(static_cast<int>(i));
    }
    return true;
  }
  static handle from_cpp(const std::vector<int>& list, rv_policy, cleanup_list*) noexcept {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(list.size()));
    for (size_t i = 0; i < list.size(); ++i)
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), PyLong_FromLong(list[i]));
    return tuple;
  }
};

template <>
struct type_caster<std::vector<int64_t>> {
  NB_TYPE_CASTER(std::vector<int64_t>, const_name("int | collections.abc.Sequence[int] | None"))
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    value.clear();
    return source.is_none() || wellspring::python::ints_from(source, &value);
  }
  static handle from_cpp(const std::vector<int64_t>& list, rv_policy, cleanup_list*) noexcept {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(list.size()));
    for (size_t i = 0; i < list.size(); ++i)
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), PyLong_FromLongLong(list[i]));
    return tuple;
  }
};

template <>
struct type_caster<std::vector<double>> {
  NB_TYPE_CASTER(std::vector<double>, const_name("collections.abc.Sequence[float] | None"))
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    value.clear();
    if (source.is_none()) return true;
    if (!PyList_Check(source.ptr()) && !PyTuple_Check(source.ptr())) return false;
    for (Py_ssize_t i = 0, n = PySequence_Fast_GET_SIZE(source.ptr()); i < n; ++i) {
      const double x = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(source.ptr(), i));
      if (x == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
      }
      value.push_back(x);
    }
    return true;
  }
  static handle from_cpp(const std::vector<double>& list, rv_policy, cleanup_list*) noexcept {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(list.size()));
    for (size_t i = 0; i < list.size(); ++i)
      PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), PyFloat_FromDouble(list[i]));
    return tuple;
  }
};

template <>
struct type_caster<std::span<const int64_t>> {
  NB_TYPE_CASTER(std::span<const int64_t>, const_name("collections.abc.Sequence[int]"))
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    if (PyLong_Check(source.ptr()) || !wellspring::python::ints_from(source, &kept_)) return false;
    value = kept_;
    return true;
  }

 private:
  std::vector<int64_t> kept_;
};

template <>
struct type_caster<std::vector<wellspring::Tensor>> {
  NB_TYPE_CASTER(std::vector<wellspring::Tensor>,
                 const_name("list[") + make_caster<wellspring::Tensor>::Name + const_name("]"))
  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    value.clear();
    if (!PyList_Check(source.ptr()) && !PyTuple_Check(source.ptr())) return false;
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(source.ptr());
    for (Py_ssize_t i = 0; i < n; ++i) {
      make_caster<wellspring::Tensor> one;
      if (PySequence_Fast_GET_ITEM(source.ptr(), i) == Py_None) return false;
      if (!one.from_python(PySequence_Fast_GET_ITEM(source.ptr(), i), flags, cleanup)) return false;
      value.push_back(static_cast<wellspring::Tensor&>(one));
    }
    return true;
  }
  static handle from_cpp(const std::vector<wellspring::Tensor>& list, rv_policy,
                         cleanup_list* cleanup) noexcept {
    PyObject* result = PyList_New(static_cast<Py_ssize_t>(list.size()));
    for (size_t i = 0; i < list.size(); ++i) {
      handle item = make_caster<wellspring::Tensor>::from_cpp(list[i], rv_policy::copy, cleanup);
      if (!item.is_valid()) {
        Py_DECREF(result);
        return {};
      }
      PyList_SET_ITEM(result, static_cast<Py_ssize_t>(i), item.ptr());
    }
    return result;
  }
};

template <>
struct type_caster<std::span<const wellspring::Tensor>> {
  NB_TYPE_CASTER(std::span<const wellspring::Tensor>, const_name("collections.abc.Sequence[") +
                                                          make_caster<wellspring::Tensor>::Name +
                                                          const_name("]"))
  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    if (!kept_.from_python(source, flags, cleanup)) return false;
    value = kept_.operator std::vector<wellspring::Tensor>&();
    return true;
  }

 private:
  make_caster<std::vector<wellspring::Tensor>> kept_;
};

template <>
struct type_caster<wellspring::Scalar> {
  NB_TYPE_CASTER(wellspring::Scalar, const_name("bool | int | float"))
  type_caster() : value(0) {}
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    return wellspring::python::scalar_from(source, &value);
  }
};

template <>
struct type_caster<wellspring::Device> : refusing_caster<wellspring::Device> {
  static constexpr auto Name = const_name("str");
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    const char* text = PyUnicode_Check(source.ptr()) ? PyUnicode_AsUTF8(source.ptr()) : nullptr;
    if (!text) return PyErr_Clear(), false;
    try {
      value_ = wellspring::parse_device(text);
    } catch (const std::exception& e) {
      refused_.why = e.what();
    }
    return true;
  }
  static handle from_cpp(wellspring::Device device, rv_policy, cleanup_list*) noexcept {
    return nb::cast(wellspring::device_name(device)).release();
  }
};

template <>
struct type_caster<wellspring::DType> {
  NB_TYPE_CASTER(wellspring::DType, const_name("dtype"))
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    return wellspring::python::dtype_from(source, &value);
  }
  static handle from_cpp(wellspring::DType dtype, rv_policy, cleanup_list*) noexcept {
    return wellspring::python::dtype_object(dtype).release();
  }
};

}  // namespace nanobind::detail
