// Subscripts: x[1], x[..., 2:5], x[None], x[mask], x[index] to read and to write.

#include "base/error.h"
#include "base/text.h"
#include "ops/index.h"
#include "ops/shape.h"
#include "python/src/casters.h"
#include "python/src/module.h"

namespace wellspring::python {
namespace {

[[noreturn]] void refuse(const std::string& why) { throw nb::index_error(why.c_str()); }

int64_t int_of(nb::handle h) {
  const Py_ssize_t v = PyNumber_AsSsize_t(h.ptr(), PyExc_IndexError);
  if (v == -1 && PyErr_Occurred()) throw nb::python_error();
  return v;
}

Tensor sliced(const Tensor& x, int dim, nb::handle slice_object) {
  Py_ssize_t start, stop, step;
  if (PySlice_Unpack(slice_object.ptr(), &start, &stop, &step) < 0) throw nb::python_error();
  if (step < 1) throw nb::value_error("slices take a step of 1 or more");
  if (start == 0 && stop == PY_SSIZE_T_MAX && step == 1) return x;
  PySlice_AdjustIndices(x.size(dim), &start, &stop, step);
  return slice(x, dim, start, std::max(start, stop), step);
}

// One item of a subscript after another; `dim` is the next dimension of x that none has taken.
struct Reader {
  Tensor x;
  int dim = 0;

  void take(nb::handle item, int left) {
    if (item.is_none()) {
      x = unsqueeze(x, dim++);
    } else if (item.ptr() == Py_Ellipsis) {
      dim = x.dims() - left;
    } else if (dim >= x.dims()) {
      refuse(str("too many indices for ", x.text()));
    } else if (PySlice_Check(item.ptr())) {
      x = sliced(x, dim++, item);
    } else if (const Tensor* t = nullptr; nb::try_cast(item, t) && t->defined()) {
      take_tensor(*t);
    } else if (PyList_Check(item.ptr())) {
      std::vector<int64_t> list;
      if (!ints_from(item, &list)) refuse("a list as an index holds ints");
      take_tensor(Tensor::from(list, {static_cast<int64_t>(list.size())}));
    } else if (PyIndex_Check(item.ptr())) {
      x = select(x, dim, int_of(item));
    } else {
      refuse(str("cannot index with ", nb::type_name(item.type()).c_str(),
                 "; it takes ints, slices, None, ..., int and bool tensors"));
    }
  }

  void take_tensor(const Tensor& index) {
    if (index.dtype() == DType::boolean || !is_integer(index.dtype()))
      refuse(str("an index tensor must be of an integer dtype, but is ", index.text(),
                 "; for masks use masked_select and masked_fill"));
    if (index.dims() == 0) {
      x = select(x, dim, index.to_vector<int64_t>()[0]);
      return;
    }
    // Negative places count from the end.
    std::vector<int64_t> places = index.to_vector<int64_t>();
    for (int64_t& p : places) p = p < 0 ? p + x.size(dim) : p;
    const int64_t count = index.numel();
    Shape shape = x.shape(), result;
    for (int d = 0; d < dim; ++d) result.push_back(shape[d]);
    for (int64_t n : index.shape()) result.push_back(n);
    for (int d = dim + 1; d < x.dims(); ++d) result.push_back(shape[d]);
    x = reshape(index_select(x, dim, Tensor::from(places, {count})), result);
    dim += index.dims();
    copies = true;
  }

  bool copies = false;  // the result is no view
};

Reader read(const Tensor& x, nb::handle key) {
  Reader reader{x};
  if (!PyTuple_Check(key.ptr())) {
    reader.take(key, 0);
    return reader;
  }
  const Py_ssize_t n = PyTuple_GET_SIZE(key.ptr());
  for (Py_ssize_t i = 0; i < n; ++i) {
    int left = 0;  // dimensions that what follows takes
    for (Py_ssize_t j = i + 1; j < n; ++j) left += PyTuple_GET_ITEM(key.ptr(), j) != Py_None;
    reader.take(PyTuple_GET_ITEM(key.ptr(), i), left);
  }
  return reader;
}

Tensor get(const Tensor& x, nb::handle key) {
  Reader reader = read(x, key);
  // Python's objects for one tensor compare by identity: a view of everything is a new one.
  return reader.x.same(x) ? expand(x, x.shape()) : reader.x;
}

void set(const Tensor& x, nb::handle key, nb::handle value) {
  const Reader reader = read(x, key);
  if (reader.copies)
    throw nb::type_error("assignment through an index tensor: use index_put_ or scatter");
  Scalar number = 0;
  if (const Tensor* t = nullptr; nb::try_cast(value, t) && t->defined())
    copy_(reader.x, *t);
  else if (scalar_from(value, &number))
    fill_(reader.x, number.kind == Scalar::Kind::real ? number.f : static_cast<double>(number.i));
  else
    throw nb::type_error("the assigned value must be a tensor or a number");
}

}  // namespace

void bind_indexing(nb::module_&) {
  nb::handle c = tensor_class();
  nb::cpp_function_def(&get, nb::scope(c), nb::name("__getitem__"), nb::is_method(),
                       nb::arg("key").none());
  nb::cpp_function_def(&set, nb::scope(c), nb::name("__setitem__"), nb::is_method(),
                       nb::arg("key").none(), nb::arg("value"));
}

}  // namespace wellspring::python
