#pragma once
// The folds of reduce_fold.h.

#include "chips/cpu/kernels/reduce_fold.h"

WS_KERNELS_BEGIN

template <class V, class M>
WS_INLINE V choose(M mask, V a, V b) {
  return mask ? a : b;
}

template <class T>
struct Sum {
  using W = T;
  using V = native<T>;
  static WS_INLINE V none() { return V{}; }
  static WS_INLINE V map(V x, V) { return x; }
  static WS_INLINE W pad(W) { return 0; }
  static WS_INLINE V join(V a, V b) { return a + b; }
};

template <class T>
struct SquaredDeviation : Sum<T> {
  using V = native<T>;
  static WS_INLINE V map(V x, V center) { return (x - center) * (x - center); }
  static WS_INLINE T pad(T center) { return center; }
};

template <class T>
struct Product {
  using W = T;
  using V = native<T>;
  static WS_INLINE V none() { return V{} + T{1}; }
  static WS_INLINE V map(V x, V) { return x; }
  static WS_INLINE W pad(W) { return 1; }
  static WS_INLINE V join(V a, V b) { return a * b; }
};

template <class T>
constexpr T kLowest = same_type<T, int64_t> ? static_cast<T>(INT64_MIN)
                                            : static_cast<T>(-__builtin_inf());
template <class T>
constexpr T kHighest = same_type<T, int64_t> ? static_cast<T>(INT64_MAX)
                                             : static_cast<T>(__builtin_inf());

// NaN wins.
template <class T>
struct Greatest {
  using W = T;
  using V = native<T>;
  static WS_INLINE V none() { return V{} + kLowest<T>; }
  static WS_INLINE V map(V x, V) { return x; }
  static WS_INLINE W pad(W) { return kLowest<T>; }
  static WS_INLINE V join(V a, V b) { return choose(b != b, b, b > a ? b : a); }
};
template <class T>
struct Least {
  using W = T;
  using V = native<T>;
  static WS_INLINE V none() { return V{} + kHighest<T>; }
  static WS_INLINE V map(V x, V) { return x; }
  static WS_INLINE W pad(W) { return kHighest<T>; }
  static WS_INLINE V join(V a, V b) { return choose(b != b, b, b < a ? b : a); }
};

// 1 when one element is not zero.
template <class T>
struct AnySet : Greatest<T> {
  using V = native<T>;
  static WS_INLINE V none() { return V{}; }
  static WS_INLINE V map(V x, V) { return choose(x != 0, V{} + T{1}, V{}); }
  static WS_INLINE T pad(T) { return 0; }
  static WS_INLINE V join(V a, V b) { return choose(a > b, a, b); }
};
// 1 when one element is zero.
template <class T>
struct AnyZero : AnySet<T> {
  using V = native<T>;
  static WS_INLINE V map(V x, V) { return choose(x == 0, V{} + T{1}, V{}); }
  static WS_INLINE T pad(T) { return 1; }
};

WS_KERNELS_END
