// Reductions of magnitudes: the norms of any order, the count of what is not zero, and the
// logarithm of a sum of exponentials. As reduce.cpp.

#include "chips/cpu/kernels/reduce_ops.h"
#include "chips/cpu/kernels/reduce_run.h"
#include "chips/cpu/vector_math.h"

WS_KERNELS_BEGIN

template <class T>
struct Magnitude : Sum<T> {
  using V = native<T>;
  static WS_INLINE V map(V x, V) { return abs(x); }
};
template <class T>
struct Square : Sum<T> {
  using V = native<T>;
  static WS_INLINE V map(V x, V) { return x * x; }
};
template <class T>
struct NotZero : Sum<T> {
  using V = native<T>;
  static WS_INLINE V map(V x, V) { return choose(x != 0, V{} + T{1}, V{}); }
};
// The order of the norm comes in the place of the center.
template <class T>
struct Power : Sum<T> {
  using V = native<T>;
  static WS_INLINE V map(V x, V order) { return pow(abs(x), order); }
  static WS_INLINE T pad(T order) { return order > 0 ? T{} : static_cast<T>(__builtin_inf()); }
};
template <class T>
struct GreatestMagnitude : Greatest<T> {
  using V = native<T>;
  static WS_INLINE V none() { return V{}; }
  static WS_INLINE V map(V x, V) { return abs(x); }
  static WS_INLINE T pad(T) { return T{}; }
};
template <class T>
struct LeastMagnitude : Least<T> {
  using V = native<T>;
  static WS_INLINE V map(V x, V) { return abs(x); }
};
template <class T>
struct Exponential : Sum<T> {
  using V = native<T>;
  static WS_INLINE V map(V x, V center) { return exp(x - center); }
  static WS_INLINE T pad(T) { return static_cast<T>(-__builtin_inf()); }
};

// f(float{}) or f(double{}) by the dtype.
template <class F>
void with_real(const char* kernel, DType t, F f) {
  if (!is_float(t)) cpu::kernel_refuses(kernel, "it takes floating dtypes");
  if (t == DType::f64)
    f(double{});
  else
    f(float{});
}

constexpr auto kRoot = [](auto v) { return static_cast<decltype(v)>(__builtin_sqrt(v)); };

void reduce_norm1(const Call& call) { reduce<Magnitude>(call, kSame); }
WS_KERNEL("reduce_norm1", reduce_norm1)

void reduce_norm2(const Call& call) {
  if (!is_float(call.in[0].dtype)) cpu::kernel_refuses("reduce_norm2", "it takes floating dtypes");
  reduce<Square>(call, kRoot);
}
WS_KERNEL("reduce_norm2", reduce_norm2)

void reduce_norm0(const Call& call) { reduce<NotZero>(call, kSame); }
WS_KERNEL("reduce_norm0", reduce_norm0)

void reduce_norm_greatest(const Call& call) { reduce<GreatestMagnitude>(call, kSame); }
WS_KERNEL("reduce_norm_greatest", reduce_norm_greatest)

void reduce_norm_least(const Call& call) { reduce<LeastMagnitude>(call, kSame); }
WS_KERNEL("reduce_norm_least", reduce_norm_least)

// attr {order}, which is neither 0 nor infinite.
void reduce_norm_power(const Call& call) {
  const View &out = call.out[0], &x = call.in[0];
  const ReducePlan p = plan_reduce(out, x);
  const int64_t outputs = p.kept.count;
  if (!outputs) return;
  with_real("reduce_norm_power", x.dtype, [&]<class W>(W) {
    const W order = static_cast<W>(call.attr[0].f);
    W* orders = static_cast<W*>(cpu::scratch(7, static_cast<size_t>(outputs) * sizeof(W)));
    for (int64_t k = 0; k < outputs; ++k) orders[k] = order;
    write_results(out, fold<Power<W>>(p, x, orders), outputs, [order](W v) {
      return static_cast<W>(__builtin_pow(static_cast<double>(v), 1 / static_cast<double>(order)));
    });
  });
}
WS_KERNEL("reduce_norm_power", reduce_norm_power)

// max + log(sum(exp(x - max))); an infinite maximum is not taken out.
void reduce_logsumexp(const Call& call) {
  const View &out = call.out[0], &x = call.in[0];
  const ReducePlan p = plan_reduce(out, x);
  const int64_t outputs = p.kept.count;
  if (!outputs) return;
  with_real("reduce_logsumexp", x.dtype, [&]<class W>(W) {
    W* top = static_cast<W*>(cpu::scratch(7, static_cast<size_t>(outputs) * sizeof(W)));
    const W* greatest = fold<Greatest<W>>(p, x, nullptr);
    const W infinity = static_cast<W>(__builtin_inf());
    for (int64_t k = 0; k < outputs; ++k)
      top[k] = greatest[k] > -infinity && greatest[k] < infinity ? greatest[k] : W{};
    W* sums = fold<Exponential<W>>(p, x, top);
    for (int64_t k = 0; k < outputs; ++k)
      sums[k] = static_cast<W>(__builtin_log(static_cast<double>(sums[k]))) + top[k];
    write_results(out, sums, outputs, kSame);
  });
}
WS_KERNEL("reduce_logsumexp", reduce_logsumexp)

WS_KERNELS_END
