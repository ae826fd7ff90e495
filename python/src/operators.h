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

/// Makes methods of Tensor of these functions of the module, unless Tensor has the name already.
void add_methods(nb::module_& m, std::span<const char* const> names);

}  // namespace wellspring::python
