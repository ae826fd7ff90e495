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
template <class... T>
Tensors list_of(const std::tuple<T...>& t) {
  return std::apply([](const auto&... each) { return Tensors{each...}; }, t);
}
/// An extent that two operands share, seldom unequal.
inline int64_t like(C c, int64_t n) { return c.rarely(40) ? n + 1 : n; }
/// A number for each of n dimensions, in [low, high).
inline std::vector<int64_t> numbers(C c, int n, int low, int high) {
  std::vector<int64_t> all;
  for (int i = 0; i < n; ++i) all.push_back(low + c.below(high - low));
  return all;
}
/// How a loss is reduced, seldom in a way that there is not.
inline const char* reduction(C c) {
  static constexpr const char* kHow[] = {"mean", "sum", "none", "some"};
  return kHow[c.below(10) ? c.below(3) : 3];
}
#define WS_FAMILY(name, gradients) Tensors call_##name(Choices& c);
#include "ops/random_families.inc"
#undef WS_FAMILY

}  // namespace wellspring::random_calls
