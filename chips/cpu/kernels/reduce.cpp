// Reductions of any list of dimensions: sum, mean, prod, var, amax, amin, any, all. The output has
// the input's dimensions, extent 1 where reduced, and is row-major.

#include "chips/cpu/kernels/reduce_fold.h"
#include "chips/cpu/kernels/reduce_ops.h"
#include "chips/cpu/kernels/reduce_run.h"

WS_KERNELS_BEGIN

void reduce_sum(const Call& call) { reduce<Sum>(call, kSame); }
WS_KERNEL("reduce_sum", reduce_sum)

void reduce_prod(const Call& call) { reduce<Product>(call, kSame); }
WS_KERNEL("reduce_prod", reduce_prod)

void reduce_amax(const Call& call) { reduce<Greatest>(call, kSame); }
WS_KERNEL("reduce_amax", reduce_amax)

void reduce_amin(const Call& call) { reduce<Least>(call, kSame); }
WS_KERNEL("reduce_amin", reduce_amin)

void reduce_any(const Call& call) { reduce<AnySet>(call, kSame); }
WS_KERNEL("reduce_any", reduce_any)

void reduce_all(const Call& call) {
  reduce<AnyZero>(call, []<class W>(W v) { return static_cast<W>(v == 0); });
}
WS_KERNEL("reduce_all", reduce_all)

template <class W>
void mean_as(const View& out, const View& x) {
  const ReducePlan p = plan_reduce(out, x);
  if (!p.kept.count) return;
  const W n = static_cast<W>(p.reduced.count);
  write_results(out, fold<Sum<W>>(p, x, nullptr), p.kept.count, [n](W v) { return v / n; });
}

void reduce_mean(const Call& call) {
  if (!is_float(call.in[0].dtype)) cpu::kernel_refuses("reduce_mean", "integers have no mean");
  if (call.in[0].dtype == DType::f64)
    mean_as<double>(call.out[0], call.in[0]);
  else
    mean_as<float>(call.out[0], call.in[0]);
}
WS_KERNEL("reduce_mean", reduce_mean)

// `means` may be undefined.
template <class W>
void var_as(const View& out, const View& means, const View& x, int64_t correction) {
  const ReducePlan p = plan_reduce(out, x);
  const int64_t outputs = p.kept.count, count = p.reduced.count;
  if (!outputs) return;
  W* mean = static_cast<W*>(cpu::scratch(7, static_cast<size_t>(outputs) * sizeof(W)));
  const W* sums = fold<Sum<W>>(p, x, nullptr);
  for (int64_t k = 0; k < outputs; ++k) mean[k] = sums[k] / static_cast<W>(count);
  const W n = static_cast<W>(count > correction ? count - correction : 0);
  write_results(out, fold<SquaredDeviation<W>>(p, x, mean), outputs, [n](W v) { return v / n; });
  if (means.defined()) write_results(means, mean, outputs, kSame);
}

void reduce_var(const Call& call) {
  if (!is_float(call.in[0].dtype)) cpu::kernel_refuses("reduce_var", "integers have no variance");
  const View means = call.outs > 1 ? call.out[1] : View{};
  if (call.in[0].dtype == DType::f64)
    var_as<double>(call.out[0], means, call.in[0], call.attr[0].i);
  else
    var_as<float>(call.out[0], means, call.in[0], call.attr[0].i);
}
WS_KERNEL("reduce_var", reduce_var)

WS_KERNELS_END
