#pragma once
// What the families of random calls (ops/random_*.cpp) share.

#include <algorithm>
#include <tuple>

#include "ops/random_calls.h"

namespace wellspring::random_calls {

using C = Choices&;
using X = const Tensor&;

/// A tensor of any dtype; of floating ones, with some dimensions at least.
inline Tensor some(C c) { return c.tensor(c.shape(), c.any_dtype()); }
template <int least>
Tensor real_of(C c) {
  return c.tensor(c.shape(least), c.floating());
}
inline constexpr auto real = real_of<0>;

/// One operator of a family: a call of what `operand` makes, or of nothing that others share.
struct Entry {
  const char* name;
  Tensors (*call)(C c, X x) = nullptr;
  Tensor (*operand)(C c) = nullptr;
  Tensors (*whole)(C c) = nullptr;

  constexpr Entry(const char* name, Tensors (*call)(C, X), Tensor (*operand)(C) = some)
      : name(name), call(call), operand(operand) {}
  constexpr Entry(const char* name, Tensors (*whole)(C)) : name(name), whole(whole) {}
};

template <size_t N>
Tensors one_of(C c, const Entry (&entries)[N]) {
  const Entry& e = entries[c.below(static_cast<int>(N))];
  c.chosen = e.name;
  return e.whole ? e.whole(c) : e.call(c, e.operand(c));
}

/// The shape with n elements along dimension d, where it has that.
inline Shape with_extent(Shape shape, int d, int64_t n) {
  if (shape.size()) shape[std::clamp(d < 0 ? d + shape.size() : d, 0, shape.size() - 1)] = n;
  return shape;
}
inline Tensors list_of(const std::tuple<Tensor, Tensor>& t) {
  return {std::get<0>(t), std::get<1>(t)};
}
Tensors call_pointwise(Choices& c);
Tensors call_reduce(Choices& c);
Tensors call_matmul(Choices& c);
Tensors call_norm(Choices& c);
Tensors call_index(Choices& c);
Tensors call_shape(Choices& c);

}  // namespace wellspring::random_calls
