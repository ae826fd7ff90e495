#pragma once
// A whole reduction by one fold. Include inside kernel sources only.

#include "chips/cpu/kernels/reduce_fold.h"

WS_KERNELS_BEGIN

// Writes results to the output, each through `finish`.
template <class W, class Finish>
void write_results(const View& out, W* results, int64_t n, Finish finish) {
  const StoreRow<W> put = storer<W>(out.dtype);
  constexpr int64_t kBlock = 4096;
  const int64_t size = static_cast<int64_t>(size_of(out.dtype));
  parallel_for((n + kBlock - 1) / kBlock, [&](int64_t t) {
    const int64_t begin = t * kBlock, end = begin + kBlock < n ? begin + kBlock : n;
    for (int64_t k = begin; k < end; ++k) results[k] = finish(results[k]);
    put(static_cast<char*>(out.data) + begin * size, 1, end - begin, results + begin);
  });
}

template <template <class> class F, class Finish>
void reduce(const Call& call, Finish finish) {
  const View& out = call.out[0];
  const View& x = call.in[0];
  const ReducePlan p = plan_reduce(out, x);
  const auto run = [&]<class W>(W) {
    if (p.kept.count) write_results(out, fold<F<W>>(p, x, nullptr), p.kept.count, finish);
  };
  if (x.dtype == DType::f64)
    run(double{});
  else if (is_float(x.dtype))
    run(float{});
  else
    run(int64_t{});
}

constexpr auto kSame = [](auto v) { return v; };

WS_KERNELS_END
