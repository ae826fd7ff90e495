#pragma once
// What the families of random calls (ops/random_*.cpp) share.

#include <tuple>

#include "ops/random_calls.h"

namespace wellspring::random_calls {

/// One operator of a family.
struct Entry {
  const char* name;
  Tensors (*call)(Choices& c);
};

template <size_t N>
Tensors one_of(Choices& c, const Entry (&entries)[N]) {
  const Entry& e = entries[c.below(static_cast<int>(N))];
  c.chosen = e.name;
  return e.call(c);
}

inline Tensors list_of(const std::tuple<Tensor, Tensor>& t) {
  return {std::get<0>(t), std::get<1>(t)};
}
/// A tensor of any dtype, and of floating ones.
inline Tensor some(Choices& c) { return c.tensor(c.shape(), c.any_dtype()); }
inline Tensor real(Choices& c, int least = 0) { return c.tensor(c.shape(least), c.floating()); }

Tensors call_pointwise(Choices& c);
Tensors call_reduce(Choices& c);
Tensors call_matmul(Choices& c);
Tensors call_norm(Choices& c);
Tensors call_index(Choices& c);
Tensors call_shape(Choices& c);

}  // namespace wellspring::random_calls
