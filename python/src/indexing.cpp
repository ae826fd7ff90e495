// Subscripts: x[1], x[..., 2:5], x[None], x[mask], x[index] to read and to write.

#include "base/error.h"
#include "base/text.h"
#include "ops/creation.h"
#include "ops/index.h"
#include "ops/shape.h"
#include "python/src/casters.h"
#include "python/src/module.h"
#include "tensor/autograd.h"

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

// What an item of a subscript is; arrays and lists are read once, before their place is known.
struct Item {
  nb::handle object;
  Tensor index;  // of a tensor, array or list
  bool is_index() const { return index.defined(); }
  /// How many dimensions it takes.
  int takes() const {
    if (object.is_none() || object.ptr() == Py_Ellipsis) return 0;
    if (is_index() && index.dtype() == DType::boolean) return index.dims();
    return 1;
  }
};

// Only ints, i32 and i64 and masks index; an empty list has no dtype of its own.
Tensor checked(const Tensor& index, bool listed) {
  const DType t = index.dtype();
  if (t == DType::boolean || t == DType::i64 || t == DType::i32) return index;
  if (listed && index.numel() == 0) return to(index, DType::i64);
  if (t == DType::i16 || t == DType::i8) return to(index, DType::i64);
  refuse(str("an index is a bool mask or of whole numbers (i64, i32), not ", index.text(),
             t == DType::u8 ? ": to() says which" : ""));
}

Item item_of(nb::handle o) {
  if (const Tensor* t = nullptr; nb::try_cast(o, t) && t->defined()) return {o, checked(*t, false)};
  if (PyBool_Check(o.ptr())) return {o, full({}, Scalar(o.ptr() == Py_True), DType::boolean)};
  const bool array = nb::hasattr(o, "__dlpack__");
  if (array && nb::hasattr(o, "ndim") && nb::cast<int>(o.attr("ndim")) == 0 &&
      PyIndex_Check(o.ptr()))
    return {o, {}};
  if (array || PyList_Check(o.ptr()) || PyTuple_Check(o.ptr()) || PyRange_Check(o.ptr()))
    return {o, checked(tensor_of(PyRange_Check(o.ptr()) ? nb::object(nb::list(o)) : nb::borrow(o)),
                       !array)};
  return {o, {}};
}

// One item of a subscript after another. What views can say is done at once; index tensors and
// masks wait until the end, by the dimension of x that they stand at.
struct Reader {
  Tensor x;
  int dim = 0;  // the next dimension of x that no item has taken
  Tensors picks;

  void take(const Item& item, int left) {
    nb::handle o = item.object;
    if (o.is_none()) {
      x = unsqueeze(x, dim++);
    } else if (o.ptr() == Py_Ellipsis) {
      dim = x.dims() - left;
    } else if (dim + item.takes() > x.dims()) {
      refuse(str("too many indices for ", x.text()));
    } else if (item.is_index()) {
      take_index(item.index);
    } else if (PySlice_Check(o.ptr())) {
      x = sliced(x, dim++, o);
    } else if (PyIndex_Check(o.ptr())) {
      x = select(x, dim, int_of(o));
    } else {
      refuse(str(
          "cannot index with ", nb::type_name(o.type()).c_str(),
          "; it takes ints, slices, None, ..., and tensors, arrays and lists of ints or bools"));
    }
  }

  void take_index(const Tensor& index) {
    const bool mask = index.dtype() == DType::boolean;
    if (!mask && index.dims() == 0) {
      x = select(x, dim, index.to_vector<int64_t>()[0]);
      return;
    }
    if (mask && index.dims() == 0) x = unsqueeze(x, dim);  // all of it, or nothing
    picks.resize(static_cast<size_t>(dim - within_));      // one pick for all dimensions of a mask
    const Tensor whole = index.dims() ? index : unsqueeze(index, 0);
    picks.push_back(whole.to_device(x.device()));
    dim += mask ? whole.dims() : 1;
    within_ += mask ? whole.dims() - 1 : 0;
  }

 private:
  int within_ = 0;  // dimensions that masks took beyond their first
};

Reader read(const Tensor& x, nb::handle key) {
  std::vector<Item> items;
  if (PyTuple_Check(key.ptr()))
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key.ptr()); ++i)
      items.push_back(item_of(PyTuple_GET_ITEM(key.ptr(), i)));
  else
    items.push_back(item_of(key));
  Reader reader;
  reader.x = x;
  int left = 0;  // dimensions that what follows takes
  for (const Item& item : items) left += item.takes();
  for (const Item& item : items) reader.take(item, left -= item.takes());
  return reader;
}

Tensor get(const Tensor& x, nb::handle key) {
  const Reader reader = read(x, key);
  if (!reader.picks.empty()) return index(reader.x, reader.picks);
  // Python's objects for one tensor compare by identity: a view of everything is a new one.
  return reader.x.same(x) ? expand(x, x.shape()) : reader.x;
}

void set(const Tensor& x, nb::handle key, nb::handle value) {
  const Reader reader = read(x, key);
  Scalar number = 0;
  const Tensor* t = nullptr;
  const bool is_tensor = nb::try_cast(value, t) && t->defined();
  if (!is_tensor && !scalar_from(value, &number))
    throw nb::type_error("the assigned value must be a tensor or a number");
  if (reader.picks.empty())
    is_tensor ? copy_(reader.x, *t) : fill_(reader.x, number);
  else
    index_put_(reader.x, reader.picks, is_tensor ? *t : full({}, number, x.dtype(), x.device()));
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
