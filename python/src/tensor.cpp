// The class Tensor and the dtypes. Operators on it are generated; lists, NumPy and DLPack are in
// exchange.cpp, subscripts in indexing.cpp.

#include "tensor/tensor.h"

#include <array>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "python/src/casters.h"
#include "python/src/module.h"
#include "python/src/operators.h"
#include "tensor/autograd.h"

namespace wellspring::python {
namespace {

struct PythonDType {
  DType dtype;
  std::string name;  // as PyTorch's
};
constexpr const char* kNames[kDTypeCount] = {"float64", "float32", "bfloat16", "float16",
                                             "int64",   "int32",   "int16",    "int8",
                                             "uint8",   "bool",    "complex64"};
std::array<PyObject*, kDTypeCount> g_dtypes{};  // owned by the module
PyObject* g_tensor = nullptr;

bool int_from(PyObject* o, int64_t* value) noexcept {
  if (PyBool_Check(o) || PyFloat_Check(o) || !PyIndex_Check(o)) return false;
  PyObject* index = PyNumber_Index(o);
  if (!index) return PyErr_Clear(), false;
  *value = PyLong_AsLongLong(index);
  Py_DECREF(index);
  if (*value == -1 && PyErr_Occurred()) return PyErr_Clear(), false;
  return true;
}

// A tensor from the other side of + - * /, which may be a number.
template <class F>
nb::object reversed(const Tensor& self, nb::handle other, F f) {
  Scalar number = 0;
  if (!scalar_from(other, &number)) return nb::borrow(Py_NotImplemented);
  return nb::cast(f(number, self));
}

// self OP other for a tensor or a number.
template <class F>
nb::object combined(const Tensor& self, nb::handle other, F f) {
  if (const Tensor* t = nullptr; nb::try_cast(other, t) && t->defined())
    return nb::cast(f(self, *t));
  Scalar number = 0;
  if (scalar_from(other, &number)) return nb::cast(f(self, number));
  return nb::borrow(Py_NotImplemented);
}

// In place; Python wants the same object back.
template <class F>
nb::object in_place(nb::handle self, nb::handle other, F f) {
  const Tensor& x = nb::cast<const Tensor&>(self);
  if (const Tensor* t = nullptr; nb::try_cast(other, t) && t->defined()) {
    f(x, *t);
  } else {
    Scalar number = 0;
    if (!scalar_from(other, &number)) return nb::borrow(Py_NotImplemented);
    f(x, number);
  }
  return nb::borrow(self);
}

double truth(const Tensor& t) {
  if (t.numel() != 1)
    throw Error(Fault::usage,
                str("the truth of ", t.text(), " is ambiguous: it has ", t.numel(), " elements"));
  return t.item();
}

nb::object item(const Tensor& t) {
  if (t.dtype() == DType::boolean) return nb::cast(t.item() != 0);
  if (is_integer(t.dtype())) {
    if (t.numel() != 1) t.item();  // throws
    return nb::cast(t.to_vector<int64_t>()[0]);
  }
  return nb::cast(t.item());
}

nb::object optional(const Tensor& t) { return t.defined() ? nb::cast(t) : nb::none(); }

void bind_arithmetic(nb::class_<Tensor>& c) {
#define WS_BINARY(NAME, FUNCTION)                                                           \
  c.def(                                                                                    \
      "__" NAME "__",                                                                       \
      [](const Tensor& a, nb::handle b) {                                                   \
        return combined(a, b, [](const auto& x, const auto& y) { return FUNCTION(x, y); }); \
      },                                                                                    \
      nb::arg("other").none());
#define WS_REVERSED(NAME, FUNCTION)                                                             \
  c.def(                                                                                        \
      "__r" NAME "__",                                                                          \
      [](const Tensor& a, nb::handle b) {                                                       \
        return reversed(a, b, [](const Scalar& x, const Tensor& y) { return FUNCTION(x, y); }); \
      },                                                                                        \
      nb::arg("other").none());
#define WS_IN_PLACE(NAME, FUNCTION)                                                    \
  c.def(                                                                               \
      "__i" NAME "__",                                                                 \
      [](nb::handle a, nb::handle b) {                                                 \
        return in_place(a, b, [](const Tensor& x, const auto& y) { FUNCTION(x, y); }); \
      },                                                                               \
      nb::arg("other").none());
  WS_BINARY("add", add)
  WS_BINARY("sub", sub)
  WS_BINARY("mul", mul)
  WS_BINARY("truediv", div)
  WS_BINARY("pow", pow)
  WS_BINARY("eq", eq)
  WS_BINARY("ne", ne)
  WS_BINARY("lt", lt)
  WS_BINARY("le", le)
  WS_BINARY("gt", gt)
  WS_BINARY("ge", ge)
  WS_REVERSED("add", add)
  WS_REVERSED("sub", sub)
  WS_REVERSED("mul", mul)
  WS_REVERSED("truediv", div)
  WS_REVERSED("pow", pow)
  WS_IN_PLACE("add", add_)
  WS_IN_PLACE("sub", sub_)
  WS_IN_PLACE("mul", mul_)
  WS_IN_PLACE("truediv", div_)
#undef WS_BINARY
#undef WS_REVERSED
#undef WS_IN_PLACE
  c.def(
      "__matmul__",
      [](const Tensor& a, nb::handle b) -> nb::object {
        if (const Tensor* t = nullptr; nb::try_cast(b, t) && t->defined()) {
          Tensor result;
          {
            nb::gil_scoped_release free;
            result = matmul(a, *t);
          }
          return nb::cast(result);
        }
        return nb::borrow(Py_NotImplemented);
      },
      nb::arg("other").none());
  c.def("__neg__", [](const Tensor& a) { return neg(a); });
  c.def("__abs__", [](const Tensor& a) { return abs(a); });
  c.def("__invert__", [](const Tensor& a) {
    if (a.dtype() != DType::boolean)
      throw Error(Fault::usage, str("~ of ", a.text(), ": it takes bool tensors"));
    return logical_not(a);
  });
}

}  // namespace

bool ints_from(nb::handle source, std::vector<int64_t>* values) noexcept {
  values->clear();
  int64_t one;
  PyObject* o = source.ptr();
  if (int_from(o, &one)) return values->push_back(one), true;
  if (!PyList_Check(o) && !PyTuple_Check(o)) {
    if (PyUnicode_Check(o) || PyBytes_Check(o) || !PySequence_Check(o)) return false;
    PyObject* list = PySequence_List(o);
    if (!list) return PyErr_Clear(), false;
    const bool taken = ints_from(list, values);
    Py_DECREF(list);
    return taken;
  }
  for (Py_ssize_t i = 0, n = PySequence_Fast_GET_SIZE(o); i < n; ++i) {
    if (!int_from(PySequence_Fast_GET_ITEM(o, i), &one)) return false;
    values->push_back(one);
  }
  return true;
}

bool scalar_from(nb::handle source, Scalar* value) noexcept {
  PyObject* o = source.ptr();
  int64_t i;
  if (PyBool_Check(o)) return *value = Scalar(o == Py_True), true;
  if (int_from(o, &i)) return *value = Scalar(i), true;
  if (PyFloat_Check(o)) return *value = Scalar(PyFloat_AS_DOUBLE(o)), true;
  const char* type = Py_TYPE(o)->tp_name;  // NumPy's numbers
  if (std::string_view(type).starts_with("numpy.") && std::string_view(type) != "numpy.ndarray") {
    const bool is_bool = std::string_view(type).starts_with("numpy.bool");
    PyObject* f = PyNumber_Float(o);
    if (!f) return PyErr_Clear(), false;
    const double v = PyFloat_AS_DOUBLE(f);
    Py_DECREF(f);
    *value = is_bool ? Scalar(v != 0) : Scalar(v);
    return true;
  }
  return false;
}

bool dtype_from(nb::handle source, DType* value) noexcept {
  for (int i = 0; i < kDTypeCount; ++i)
    if (source.ptr() == g_dtypes[i]) return *value = static_cast<DType>(i), true;
  if (!PyUnicode_Check(source.ptr())) return false;
  const char* text = PyUnicode_AsUTF8(source.ptr());
  const auto parsed = text ? parse_dtype(text) : std::nullopt;
  if (parsed) *value = *parsed;
  return parsed.has_value();
}

bool device_from(nb::handle source, Device* value) noexcept {
  const char* text = PyUnicode_Check(source.ptr()) ? PyUnicode_AsUTF8(source.ptr()) : nullptr;
  if (!text) return false;
  try {
    *value = parse_device(text);
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

nb::object dtype_object(DType dtype) { return nb::borrow(g_dtypes[static_cast<int>(dtype)]); }

void bind_dtypes(nb::module_& m) {
  nb::class_<PythonDType>(m, "dtype", "An element type, such as wellspring.float32.")
      .def_ro("name", &PythonDType::name)
      .def_prop_ro("itemsize", [](const PythonDType& t) { return size_of(t.dtype); })
      .def_prop_ro("is_floating_point", [](const PythonDType& t) { return is_float(t.dtype); })
      .def_prop_ro("is_complex", [](const PythonDType& t) { return is_complex(t.dtype); })
      .def("__reduce__", [](const PythonDType& t) { return t.name; })
      .def("__repr__", [](const PythonDType& t) { return "wellspring." + t.name; });
  for (int i = 0; i < kDTypeCount; ++i) {
    nb::object o = nb::cast(PythonDType{static_cast<DType>(i), kNames[i]});
    g_dtypes[i] = o.ptr();
    m.attr(kNames[i]) = o;
  }
}

nb::handle tensor_class() { return g_tensor; }

void bind_tensor(nb::module_& m) {
  auto c = nb::class_<Tensor>(m, "Tensor", nb::is_weak_referenceable(),
                              "An array on one device, with an optional gradient.");
  g_tensor = c.ptr();
  c.def_prop_ro("shape", [](const Tensor& t) { return t.shape(); })
      .def_prop_ro("dtype", [](const Tensor& t) { return t.dtype(); })
      .def_prop_ro("device", [](const Tensor& t) { return t.device(); })
      .def_prop_ro("ndim", [](const Tensor& t) { return t.dims(); })
      .def_prop_ro("is_leaf", [](const Tensor& t) { return t.is_leaf(); })
      .def_prop_ro("itemsize", [](const Tensor& t) { return size_of(t.dtype()); })
      .def_prop_ro(
          "nbytes",
          [](const Tensor& t) { return t.numel() * static_cast<int64_t>(size_of(t.dtype())); })
      .def_prop_rw(
          "requires_grad", [](const Tensor& t) { return t.requires_grad(); },
          [](const Tensor& t, bool on) { t.set_requires_grad(on); })
      .def_prop_rw(
          "grad", [](const Tensor& t) { return optional(t.grad()); },
          [](const Tensor& t, const Tensor& g) { t.set_grad(g); }, nb::arg("grad").none())
      .def(
          "requires_grad_",
          [](nb::handle t, bool on) {
            nb::cast<const Tensor&>(t).set_requires_grad(on);
            return nb::borrow(t);
          },
          nb::arg("requires_grad") = true, "Turns recording for this leaf on or off.")
      .def(
          "backward",
          [](const Tensor& t, const Tensor& gradient, bool retain_graph) {
            nb::gil_scoped_release free;
            backward(t, gradient, retain_graph);
          },
          nb::arg("gradient").none() = nb::none(), nb::arg("retain_graph") = false,
          "Adds the gradients of this tensor to the grad of the leaves.")
      .def(
          "size",
          [](const Tensor& t, std::optional<int> dim) -> nb::object {
            return dim ? nb::cast(t.size(*dim)) : nb::cast(t.shape());
          },
          nb::arg("dim").none() = nb::none())
      .def(
          "stride", [](const Tensor& t) { return t.strides(); }, "In elements.")
      .def("storage_offset", &Tensor::offset)
      .def("numel", &Tensor::numel)
      .def("dim", &Tensor::dims)
      .def("data_ptr", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.data()); })
      .def("is_contiguous", &Tensor::is_contiguous)
      .def("detach", &Tensor::detach, "The same memory without gradient history.")
      .def("item", &item, "The one element as a Python number.")
      .def("__bool__", [](const Tensor& t) { return truth(t) != 0; })
      .def("__float__", [](const Tensor& t) { return t.item(); })
      .def("__int__", [](const Tensor& t) { return static_cast<int64_t>(t.item()); })
      .def("__len__",
           [](const Tensor& t) {
             if (t.dims() == 0) throw nb::type_error("len() of a 0-d tensor");
             return t.size(0);
           })
      .def("__hash__", [](nb::handle t) { return reinterpret_cast<uintptr_t>(t.ptr()) >> 4; });
  bind_arithmetic(c);
}

void add_methods(nb::module_& m, std::span<const char* const> names) {
  // An instance method passes the object that it is called on as the first argument.
  for (const char* name : names)
    if (!nb::hasattr(g_tensor, name))
      nb::setattr(g_tensor, name, nb::steal(PyInstanceMethod_New(nb::object(m.attr(name)).ptr())));
}

}  // namespace wellspring::python
