#pragma once
// What the generated bindings of the operators (ops/gen_python.py) are made of.

#include <span>
#include <tuple>

#include "ops/scalar.h"
#include "python/src/casters.h"

namespace wellspring::python {

/// Other Python threads run while an operator computes.
using Free = nb::call_guard<nb::gil_scoped_release>;
inline constexpr Free kFree{};

/// f(out, arguments...) as a function of (arguments..., out) that returns out. One type for all
/// functions of one type.
template <class... A>
auto out_last(const Tensor& (*f)(const Tensor&, A...)) {
  return [f](A... arguments, const Tensor& out) -> const Tensor& {
    f(out, arguments...);
    return out;
  };
}

/// The same for several targets, a tuple in Python.
template <class... T, class... A>
auto outs_last(const std::tuple<T...>& (*f)(const std::tuple<T...>&, A...)) {
  return [f](A... arguments, const Outs<sizeof...(T)>& outs) {
    f(std::apply([](const auto&... t) { return std::tuple<T...>(t...); }, outs.tensors),
      arguments...);
    return outs;
  };
}

/// f(x, arguments...), which changes x, returning Python's own object of x.
template <class... A>
auto in_place(const Tensor& (*f)(const Tensor&, A...)) {
  return [f](const Tensor& x, A... arguments) -> const Tensor& {
    f(x, arguments...);
    return x;
  };
}

/// A new tensor, as a leaf that records what is done with it when asked for.
inline Tensor as_leaf(Tensor made, bool requires_grad) {
  if (requires_grad) made.set_requires_grad(true);
  return made;
}

/// f, with a last argument requires_grad.
template <class... A>
auto leaf(Tensor (*f)(A...)) {
  return [f](A... arguments, bool requires_grad) {
    return as_leaf(f(std::forward<A>(arguments)...), requires_grad);
  };
}

/// Several tensors that a function returns, as a tuple whose parts have names in Python.
template <class Parts>
struct NamedParts {
  Parts parts;
  PyTypeObject* type;
};

/// The type of such results, `wellspring.return_types.NAME`; it lives as long as the process.
PyTypeObject* result_type(const char* name, std::initializer_list<const char*> parts);

/// f, whose result has names. One type for all functions of one type.
template <class... T, class... A>
auto named(std::tuple<T...> (*f)(A...), PyTypeObject* type) {
  return [f, type](A... arguments) {
    return NamedParts<std::tuple<T...>>{f(std::forward<A>(arguments)...), type};
  };
}

/// f(list) for a list that was given as several arguments: view(x, 2, 3).
template <class List, class F>
decltype(auto) spread(const nb::args& given, F&& f) {
  nb::detail::make_caster<List> list;
  if (given.size() < 2 || !list.from_python(given, 0, nullptr)) throw nb::next_overload();
  const List& values = list.operator List&();
  nb::gil_scoped_release free;
  return f(values);
}

/// Makes methods (and properties) of Tensor of these functions of the module, unless Tensor has the
/// name already.
void add_methods(nb::module_& m, std::span<const char* const> names,
                 std::span<const char* const> properties);

}  // namespace wellspring::python

namespace nanobind::detail {

template <class... T>
struct type_caster<wellspring::python::NamedParts<std::tuple<T...>>> {
  using Value = wellspring::python::NamedParts<std::tuple<T...>>;
  static constexpr auto Name = make_caster<std::tuple<T...>>::Name;
  static handle from_cpp(const Value& value, rv_policy, cleanup_list* cleanup) noexcept {
    PyObject* result = PyStructSequence_New(value.type);
    if (!result) return {};
    Py_ssize_t at = 0;
    bool whole = true;
    const auto put = [&](const auto& part) {
      using Part = std::decay_t<decltype(part)>;
      handle item = make_caster<Part>::from_cpp(part, rv_policy::copy, cleanup);
      whole &= item.is_valid();
      PyStructSequence_SetItem(result, at++, item.ptr());
    };
    std::apply([&](const T&... parts) { (put(parts), ...); }, value.parts);
    if (whole) return result;
    Py_DECREF(result);
    return {};
  }
};

}  // namespace nanobind::detail
