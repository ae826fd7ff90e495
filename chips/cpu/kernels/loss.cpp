// Cross-entropy of rows. N rows, V columns; targets [N] are i32 or i64.
//   cross_entropy: out {losses f32 [N], lse f32 [N], gradient [N, V]}, in {logits [N, V], targets},
//     attr {logit scale, gradient's factor, ignore_index}. lse (log of the sum of exponentials) and
//     gradient may be undefined. A gradient has the logits' own memory and f32 rows: row n is
//     overwritten, from its begin, with (softmax - onehot) * factor in f32 or bf16.
//   cross_entropy_backward: out {dlogits}, in {logits, targets, lse}, attr {factor, ignore_index}.
//   nll_loss: out {losses}, in {log probabilities, targets}, attr {ignore_index}.
//   nll_loss_backward: out {d [N, V]}, in {targets}, attr {value at the targets, ignore_index}.
//   scale: out {y}, in {x}, attr {factor}: for gradients that were computed forward.
// Rows whose target is ignore_index have loss and gradient 0.

#include <cmath>

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

struct Targets {
  const void* data;
  bool wide;
  int64_t ignore;
  int64_t operator[](int64_t i) const {
    return wide ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  }
};
inline Targets targets_of(const View& v, int64_t ignore) {
  return {v.data, v.dtype == DType::i64, ignore};
}

WS_INLINE float value_of(float v) { return v; }
WS_INLINE float value_of(bf16_t v) { return to_float(v); }
WS_INLINE void put_value(float* p, float v) { *p = v; }
WS_INLINE void put_value(bf16_t* p, float v) { *p = to_bf16(v); }

// The greatest of a row times the scale; NaN is left to the sum of exponentials.
template <class T>
WS_INLINE float row_max(const T* x, int64_t width, float scale) {
  vf top[4];
  for (vf& t : top) t = splat(-INFINITY);
  int64_t i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) top[j] = vmax(load(x + i + j * kLanes) * scale, top[j]);
  for (; i < width; i += kLanes) {
    const int n = static_cast<int>(width - i < kLanes ? width - i : kLanes);
    const vf v = n == kLanes ? load(x + i) : load_part(x + i, n, value_of(x[i]));
    top[0] = vmax(v * scale, top[0]);
  }
  return max_lanes(vmax(vmax(top[0], top[1]), vmax(top[2], top[3])));
}

// The sum of exp(scale x - top), leaving the terms in x when Keep.
template <bool Keep, class T>
WS_INLINE float row_sum_exp(T* x, int64_t width, float scale, float top) {
  return row_sum(width, [&](int64_t i, int n) {
    const vf v = n == kLanes ? load(x + i) : load_part(x + i, n, -INFINITY);
    vf e = vexp(v * scale - top);
    if (n < kLanes) {
      const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
      e = select(lane < n, e, vf{});
    }
    if constexpr (Keep) store_n(x + i, e, n);
    return e;
  });
}

// Turns a row of exponentials into its gradient; G may be narrower than the row's f32.
template <class G>
WS_INLINE void row_gradient(float* e, int64_t width, float sum, int64_t target, float factor) {
  const float share = factor / sum, at_target = (e[target] / sum - 1.0f) * factor;
  auto* to = reinterpret_cast<G*>(e);
  each_vector(width, [&](int64_t i, int n) { store_n(to + i, load_n(e + i, n) * share, n); });
  put_value(to + target, at_target);
}

template <class T, class G, bool Gradient>
void cross_entropy_of(const Call& call) {
  const View &logits = call.in[0], &lse = call.out[1];
  const int64_t width = logits.shape[1];
  const auto scale = static_cast<float>(call.attr[0].f),
             factor = static_cast<float>(call.attr[1].f);
  const Targets targets = targets_of(call.in[1], call.attr[2].i);
  auto* losses = static_cast<float*>(call.out[0].data);
  each_row(logits.shape[0], width, [&](int64_t row) {
    T* x = static_cast<T*>(logits.data) + row * logits.strides[0];
    const int64_t target = targets[row];
    if (target == targets.ignore) {
      losses[row] = 0;
      if (lse.defined()) static_cast<float*>(lse.data)[row] = 0;
      if constexpr (Gradient) std::memset(x, 0, static_cast<size_t>(width) * sizeof(G));
      return;
    }
    const float at_target = value_of(x[target]) * scale, top = row_max(x, width, scale);
    const float sum = row_sum_exp<Gradient>(x, width, scale, top);
    const double log_sum = std::log(static_cast<double>(sum)) + top;
    losses[row] = static_cast<float>(log_sum - at_target);
    if (lse.defined()) static_cast<float*>(lse.data)[row] = static_cast<float>(log_sum);
    if constexpr (Gradient) row_gradient<G>(x, width, sum, target, factor);
  });
}

void cross_entropy(const Call& call) {
  const View &logits = call.in[0], &gradient = call.out[2];
  if (logits.dims != 2 || (logits.shape[1] > 1 && logits.strides[1] != 1))
    cpu::kernel_refuses("cross_entropy", "the logits are no rows");
  const bool half = logits.dtype == DType::bf16;
  if (gradient.defined()) {
    if (gradient.data != logits.data || half)
      cpu::kernel_refuses("cross_entropy", "the gradient is not in f32 logits");
    return gradient.dtype == DType::bf16 ? cross_entropy_of<float, bf16_t, true>(call)
                                         : cross_entropy_of<float, float, true>(call);
  }
  half ? cross_entropy_of<bf16_t, float, false>(call) : cross_entropy_of<float, float, false>(call);
}
WS_KERNEL("cross_entropy", cross_entropy)

template <class T>
void cross_entropy_backward_of(const Call& call) {
  const Rows d = packed_rows("cross_entropy_backward", call.out[0]);
  const Rows logits = packed_rows("cross_entropy_backward", call.in[0]);
  const Targets targets = targets_of(call.in[1], call.attr[1].i);
  const auto* lse = static_cast<const float*>(call.in[2].data);
  const auto factor = static_cast<float>(call.attr[0].f);
  const int64_t width = d.width;
  each_row(d.count, width, [&](int64_t row) {
    const T* x = reinterpret_cast<const T*>(logits.data) + row * width;
    T* to = reinterpret_cast<T*>(d.data) + row * width;
    const int64_t target = targets[row];
    if (target == targets.ignore) {
      std::memset(to, 0, static_cast<size_t>(width) * sizeof(T));
      return;
    }
    each_vector(width, [&](int64_t i, int n) {
      store_n(to + i, vexp(load_n(x + i, n) - lse[row]) * factor, n);
    });
    const double p = std::exp(static_cast<double>(value_of(x[target])) - lse[row]);
    put_value(to + target, static_cast<float>((p - 1) * factor));
  });
}

void cross_entropy_backward(const Call& call) {
  call.in[0].dtype == DType::bf16 ? cross_entropy_backward_of<bf16_t>(call)
                                  : cross_entropy_backward_of<float>(call);
}
WS_KERNEL("cross_entropy_backward", cross_entropy_backward)

void nll_loss(const Call& call) {
  const Rows x = packed_rows("nll_loss", call.in[0]);
  const Targets targets = targets_of(call.in[1], call.attr[0].i);
  auto* losses = static_cast<float*>(call.out[0].data);
  for (int64_t row = 0; row < x.count; ++row) {
    const int64_t t = targets[row];
    losses[row] =
        t == targets.ignore ? 0 : -(x.half ? to_float(x.halves(row)[t]) : x.floats(row)[t]);
  }
}
WS_KERNEL("nll_loss", nll_loss)

void nll_loss_backward(const Call& call) {
  const Rows d = packed_rows("nll_loss_backward", call.out[0]);
  const auto value = static_cast<float>(call.attr[0].f);
  const Targets targets = targets_of(call.in[0], call.attr[1].i);
  each_row(d.count, d.width, [&](int64_t row) {
    std::memset(d.data + row * d.bytes(), 0, static_cast<size_t>(d.bytes()));
    const int64_t t = targets[row];
    if (t == targets.ignore) return;
    d.half ? put_value(d.halves(row) + t, value) : put_value(d.floats(row) + t, value);
  });
}
WS_KERNEL("nll_loss_backward", nll_loss_backward)

template <class T>
void scale_of(const Rows& y, const Rows& x, float factor) {
  constexpr int64_t kTile = 32768;
  const int64_t count = x.count * x.width;
  const T* from = reinterpret_cast<const T*>(x.data);
  T* to = reinterpret_cast<T*>(y.data);
  parallel_for(tiles_of(count, kTile), [&](int64_t tile) {
    const int64_t at = tile * kTile, n = count - at < kTile ? count - at : kTile;
    each_vector(
        n, [&](int64_t i, int m) { store_n(to + at + i, load_n(from + at + i, m) * factor, m); });
  });
}

void scale(const Call& call) {
  const Rows y = packed_rows("scale", call.out[0]), x = packed_rows("scale", call.in[0]);
  if (x.half != y.half) cpu::kernel_refuses("scale", "the dtypes differ");
  const auto factor = static_cast<float>(call.attr[0].f);
  x.half ? scale_of<bf16_t>(y, x, factor) : scale_of<float>(y, x, factor);
}
WS_KERNEL("scale", scale)

WS_KERNELS_END
