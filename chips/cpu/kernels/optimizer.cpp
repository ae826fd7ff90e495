// adamw: out {master, m, v, compute copy or none}, in {grad}, attr {lr, beta1, beta2, eps, weight
// decay, step, gradient's factor}: one pass over all of them. sum_squares: out {f64 0-d}, in {x}.

#include <cmath>

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

constexpr int64_t kElements = 65536;  // of a tile

struct Adamw {
  float keep, beta1_rest, beta2, beta2_rest, step_size, root_scale, eps, grad_scale;
};

inline Adamw adamw_of(const Attr* attr) {
  const double lr = attr[0].f, beta1 = attr[1].f, beta2 = attr[2].f,
               step = static_cast<double>(attr[5].i);
  return {static_cast<float>(1 - lr * attr[4].f),
          static_cast<float>(1 - beta1),
          static_cast<float>(beta2),
          static_cast<float>(1 - beta2),
          static_cast<float>(lr / (1 - std::pow(beta1, step))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step))),
          static_cast<float>(attr[3].f),
          static_cast<float>(attr[6].f)};
}

template <bool Copies>
WS_INLINE void adamw_range(const Adamw& a, float* p, const float* grad, float* m, float* v,
                           bf16_t* copy, int64_t count) {
  each_vector(count, [&](int64_t i, int n) {
    const vf g = load_n(grad + i, n) * a.grad_scale;
    const vf m0 = load_n(m + i, n), m1 = fma(g - m0, splat(a.beta1_rest), m0);
    const vf v1 = fma(load_n(v + i, n), splat(a.beta2), g * g * a.beta2_rest);
    const vf root = fma(vsqrt(v1), splat(a.root_scale), splat(a.eps));
    const vf p1 = load_n(p + i, n) * a.keep - m1 * a.step_size / root;
    store_n(m + i, m1, n), store_n(v + i, v1, n), store_n(p + i, p1, n);
    if constexpr (Copies) store_n(copy + i, p1, n);
  });
}

void adamw(const Call& call) {
  const Rows p = packed_rows("adamw", call.out[0]), m = packed_rows("adamw", call.out[1]);
  const Rows v = packed_rows("adamw", call.out[2]), copy = packed_rows("adamw", call.out[3]);
  const Rows grad = packed_rows("adamw", call.in[0]);
  if (p.half || m.half || v.half || grad.half || (copy && !copy.half))
    cpu::kernel_refuses("adamw", "master, gradient and moments are f32, the compute copy bf16");
  const Adamw a = adamw_of(call.attr);
  const int64_t count = p.count * p.width;
  parallel_for(tiles_of(count, kElements), [&](int64_t tile) {
    const int64_t at = tile * kElements, n = count - at < kElements ? count - at : kElements;
    const auto floats = [at](const Rows& r) { return r.floats(0) + at; };
    if (copy)
      adamw_range<true>(a, floats(p), floats(grad), floats(m), floats(v), copy.halves(0) + at, n);
    else
      adamw_range<false>(a, floats(p), floats(grad), floats(m), floats(v), nullptr, n);
  });
}
WS_KERNEL("adamw", adamw)

typedef float vf4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double vd4 __attribute__((vector_size(32)));

// Adds the squares of 16 floats to four running sums, in f64, so that neither those of large
// numbers overflow nor those of small ones get lost.
WS_INLINE void add_squares(const float* x, vd4 (&sum)[4]) {
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    const vd4 d = __builtin_convertvector(*reinterpret_cast<const vf4*>(x + 4 * q), vd4);
    sum[q] += d * d;
  }
}

template <class T>
WS_INLINE double squares_of(const T* x, int64_t count) {
  vd4 sum[4] = {};
  int64_t i = 0;
  if constexpr (sizeof(T) == 4)
    for (; i + kLanes <= count; i += kLanes) add_squares(x + i, sum);
  for (; i < count; i += kLanes) {
    alignas(64) float b[kLanes];
    store(b, load_n(x + i, static_cast<int>(count - i < kLanes ? count - i : kLanes)));
    add_squares(b, sum);
  }
  const vd4 all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  return (all[0] + all[1]) + (all[2] + all[3]);
}

void sum_squares(const Call& call) {
  const Rows x = packed_rows("sum_squares", call.in[0]);
  const int64_t count = x.count * x.width, tiles = tiles_of(count, kElements);
  auto* partial =
      static_cast<double*>(cpu::scratch(0, static_cast<size_t>(tiles + 1) * sizeof(double)));
  parallel_for(tiles, [&](int64_t tile) {
    const int64_t at = tile * kElements, n = count - at < kElements ? count - at : kElements;
    partial[tile] = x.half ? squares_of(x.halves(0) + at, n) : squares_of(x.floats(0) + at, n);
  });
  double total = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) total += partial[tile];
  *static_cast<double*>(call.out[0].data) = total;
}
WS_KERNEL("sum_squares", sum_squares)

WS_KERNELS_END
