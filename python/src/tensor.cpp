// The class Tensor and the dtypes. Operators on it are generated; lists, NumPy and DLPack are in
// exchange.cpp, subscripts in indexing.cpp.

#include "tensor/tensor.h"

#include <array>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/arithmetic.h"
#include "ops/complex.h"
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
  if (reinterpret_cast<PyObject*>(Py_TYPE(o)) == g_tensor) {  // without an exception
    const Tensor& t = *nb::inst_ptr<Tensor>(o);
    if (!is_integer(t.dtype()) || t.numel() != 1) return false;
  }
  PyObject* index = PyNumber_Index(o);
  if (!index) return PyErr_Clear(), false;
  *value = PyLong_AsLongLong(index);
  Py_DECREF(index);
  if (*value == -1 && PyErr_Occurred()) return PyErr_Clear(), false;
  return true;
}

// A number on the other side of an operator.
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
  if (is_complex(t.dtype())) {
    if (t.numel() != 1) t.item();  // throws
    const std::vector<double> parts = view_as_real(t.detach()).to_vector<double>();
    return nb::steal(PyComplex_FromDoubles(parts[0], parts[1]));
  }
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
  WS_BINARY("floordiv", floor_divide)
  WS_BINARY("mod", remainder)
  WS_BINARY("and", bitwise_and)
  WS_BINARY("or", bitwise_or)
  WS_BINARY("xor", bitwise_xor)
  WS_BINARY("lshift", bitwise_left_shift)
  WS_BINARY("rshift", bitwise_right_shift)
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
  WS_REVERSED("floordiv", floor_divide)
  WS_REVERSED("mod", remainder)
  WS_REVERSED("and", bitwise_and)
  WS_REVERSED("or", bitwise_or)
  WS_REVERSED("xor", bitwise_xor)
  WS_REVERSED("lshift", bitwise_left_shift)
  WS_REVERSED("rshift", bitwise_right_shift)
  WS_IN_PLACE("add", add_)
  WS_IN_PLACE("sub", sub_)
  WS_IN_PLACE("mul", mul_)
  WS_IN_PLACE("truediv", div_)
  WS_IN_PLACE("pow", pow_)
  WS_IN_PLACE("floordiv", floor_divide_)
  WS_IN_PLACE("mod", remainder_)
  WS_IN_PLACE("and", bitwise_and_)
  WS_IN_PLACE("or", bitwise_or_)
  WS_IN_PLACE("xor", bitwise_xor_)
  WS_IN_PLACE("lshift", bitwise_left_shift_)
  WS_IN_PLACE("rshift", bitwise_right_shift_)
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
  c.def("__invert__", [](const Tensor& a) { return bitwise_not(a); });
}

// Conversions by PyTorch's short names, and what a tensor's dtype and memory are.
void bind_conversions(nb::class_<Tensor>& c) {
  static constexpr std::pair<const char*, DType> kShort[] = {
      {"double", DType::f64}, {"float", DType::f32},   {"bfloat16", DType::bf16},
      {"half", DType::f16},   {"long", DType::i64},    {"int", DType::i32},
      {"short", DType::i16},  {"bool", DType::boolean}};
  for (const auto& [name, type] : kShort)
    c.def(name, [dtype = type](const Tensor& t) { return to(t, dtype); });
  c.def("cpu", [](const Tensor& t) { return to(t, Device{}); })
      .def(
          "type", [](const Tensor& t, DType dtype) { return to(t, dtype); }, nb::arg("dtype"),
          "As to(dtype).")
      .def("is_floating_point", [](const Tensor& t) { return is_float(t.dtype()); })
      .def("is_complex", [](const Tensor& t) { return is_complex(t.dtype()); })
      .def("element_size", [](const Tensor& t) { return size_of(t.dtype()); })
      .def("nelement", &Tensor::numel)
      .def(
          "where",
          [](const Tensor& self, const Tensor& condition, nb::handle other) {
            return combined(self, other,
                            [&](const Tensor& x, const auto& y) { return where(condition, x, y); });
          },
          nb::arg("condition"), nb::arg("other"), "This tensor where condition is set, else other.")
      .def_prop_ro(
          "T",
          [](const Tensor& t) {
            std::vector<int> dims;
            for (int d = t.dims() - 1; d >= 0; --d) dims.push_back(d);
            return permute(t, dims);
          },
          "With the dimensions in the opposite order.");
}

// Methods in Python, for what is called rarely: the file is read with the first call.
struct Elsewhere {
  const char *method, *file, *function;
};
constexpr Elsewhere kElsewhere[] = {{"__repr__", "wellspring._text", "text"},
                                    {"__format__", "wellspring._text", "formatted"},
                                    {"__reduce_ex__", "wellspring._copy", "reduced"},
                                    {"__copy__", "wellspring._copy", "copied"},
                                    {"__deepcopy__", "wellspring._copy", "copied_deep"},
                                    {"norm", "wellspring._composed", "norm"}};

void bind_elsewhere(nb::class_<Tensor>& c) {
  for (const Elsewhere& e : kElsewhere)
    c.def(e.method, [e](nb::handle self, nb::args args, nb::kwargs options) {
      return nb::module_::import_(e.file).attr(e.function)(self, *args, **options);
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

bool complex_from(nb::handle source, std::complex<double>* value) noexcept {
  PyObject* o = source.ptr();
  if (!PyComplex_Check(o) && !std::string_view(Py_TYPE(o)->tp_name).starts_with("numpy.complex"))
    return false;
  const Py_complex c = PyComplex_AsCComplex(o);
  if (PyErr_Occurred()) return PyErr_Clear(), false;
  *value = {c.real, c.imag};
  return true;
}

namespace {

// The name that NumPy's and PyTorch's dtypes and Python's types of numbers have here; empty for
// other objects.
std::string dtype_name(PyObject* o) {
  if (PyUnicode_Check(o)) {
    const char* text = PyUnicode_AsUTF8(o);
    return text ? text : "";
  }
  if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) return "f64";
  if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) return "i64";
  if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) return "bool";
  const std::string_view type =
      PyType_Check(o) ? reinterpret_cast<PyTypeObject*>(o)->tp_name : Py_TYPE(o)->tp_name;
  if (PyType_Check(o) && type.starts_with("numpy.")) {
    const std::string name(type.substr(6));  // numpy.float32
    return name == "bool_" ? "bool" : name;
  }
  if (type == "torch.dtype" || type.starts_with("numpy.dtype")) {
    const std::string text = nb::str(nb::handle(o)).c_str();
    return text.substr(text.rfind('.') + 1);
  }
  return "";
}

}  // namespace

bool dtype_from(nb::handle source, DType* value) noexcept {
  for (int i = 0; i < kDTypeCount; ++i)
    if (source.ptr() == g_dtypes[i]) return *value = static_cast<DType>(i), true;
  if (source.is_none()) return false;
  try {
    const auto parsed = parse_dtype(dtype_name(source.ptr()));
    if (parsed) *value = *parsed;
    return parsed.has_value();
  } catch (const std::exception&) {
    PyErr_Clear();
    return false;
  }
}

void Refused::check() const {
  if (!why.empty()) throw Error(Fault::usage, why);
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
          "stride",
          [](const Tensor& t, std::optional<int> dim) -> nb::object {
            if (!dim) return nb::cast(t.strides());
            t.size(*dim);  // throws where there is no such dimension
            return nb::cast(t.strides()[*dim < 0 ? *dim + t.dims() : *dim]);
          },
          nb::arg("dim").none() = nb::none(), "In elements.")
      .def("storage_offset", &Tensor::offset)
      .def("numel", &Tensor::numel)
      .def("dim", &Tensor::dims)
      .def("data_ptr", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t.data()); })
      .def("is_contiguous", &Tensor::is_contiguous)
      .def("detach", &Tensor::detach, "The same memory without gradient history.")
      .def("item", &item, "The one element as a Python number.")
      .def("__bool__", [](const Tensor& t) { return truth(t) != 0; })
      .def("__float__", [](const Tensor& t) { return t.item(); })
      .def("__complex__",
           [](const Tensor& t) {
             return nb::steal(PyComplex_FromCComplex(PyComplex_AsCComplex(item(t).ptr())));
           })
      .def("__int__", [](const Tensor& t) { return nb::int_(item(t)); })
      .def("__index__",
           [](const Tensor& t) {
             if (!is_integer(t.dtype()) || t.numel() != 1)
               throw nb::type_error(
                   str("only one whole number can be an index, not ", t.text()).c_str());
             return item(t);
           })
      .def("__len__",
           [](const Tensor& t) {
             if (t.dims() == 0) throw nb::type_error("len() of a 0-d tensor");
             return t.size(0);
           })
      .def("__hash__", [](nb::handle t) { return reinterpret_cast<uintptr_t>(t.ptr()) >> 4; });
  bind_arithmetic(c);
  bind_conversions(c);
  bind_elsewhere(c);
}

PyTypeObject* result_type(const char* name, std::initializer_list<const char*> parts) {
  nb::handle results = PyImport_AddModule("wellspring.return_types");
  std::vector<PyStructSequence_Field> fields;
  for (const char* part : parts) fields.push_back({part, nullptr});
  fields.push_back({nullptr, nullptr});
  const std::string full = str("wellspring.return_types.", name);
  PyStructSequence_Desc description{full.c_str(), nullptr, fields.data(),
                                    static_cast<int>(parts.size())};
  PyTypeObject* type = PyStructSequence_NewType(&description);
  if (!type) throw nb::python_error();
  results.attr(name) = nb::borrow(reinterpret_cast<PyObject*>(type));
  return type;
}

void add_methods(nb::module_& m, std::span<const char* const> names,
                 std::span<const char* const> properties) {
  m.attr("return_types") = nb::borrow(PyImport_AddModule("wellspring.return_types"));
  for (const char* name : properties)
    nb::setattr(g_tensor, name,
                nb::handle(reinterpret_cast<PyObject*>(&PyProperty_Type))(m.attr(name)));
  // An instance method passes the object that it is called on as the first argument.
  for (const char* name : names)
    if (!nb::hasattr(g_tensor, name))
      nb::setattr(g_tensor, name, nb::steal(PyInstanceMethod_New(nb::object(m.attr(name)).ptr())));
}

}  // namespace wellspring::python
