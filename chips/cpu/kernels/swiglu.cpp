// swiglu: out {y [.., F]}, in {gate_up [.., 2F]};  swiglu_backward: out {dgate_up}, in {dy,
// gate_up}.

#include "chips/cpu/kernels/swiglu.h"

WS_KERNELS_BEGIN

WS_INLINE vf sigmoid(vf x) { return 1.0f / (1.0f + vexp(-x)); }

template <class T>
void swiglu_of(const Rows& y, const Rows& gate_up) {
  const int64_t width = y.width;
  each_row(y.count, 2 * width, [&](int64_t row) {
    const T* gate = reinterpret_cast<const T*>(gate_up.data) + row * 2 * width;
    swiglu_row(gate, gate + width, reinterpret_cast<T*>(y.data) + row * width, width);
  });
}

template <class T>
void swiglu_backward_of(const Rows& d, const Rows& dy, const Rows& gate_up) {
  const int64_t width = dy.width;
  each_row(dy.count, 2 * width, [&](int64_t row) {
    const T* gate = reinterpret_cast<const T*>(gate_up.data) + row * 2 * width;
    const T* up = gate + width;
    const T* from = reinterpret_cast<const T*>(dy.data) + row * width;
    T* to = reinterpret_cast<T*>(d.data) + row * 2 * width;
    each_vector(width, [&](int64_t i, int n) {
      const vf g = load_n(gate + i, n), g_dy = load_n(from + i, n), s = sigmoid(g);
      store_n(to + i, g_dy * load_n(up + i, n) * (s * (1.0f + g * (1.0f - s))), n);
      store_n(to + width + i, g_dy * (g * s), n);
    });
  });
}

void swiglu(const Call& call) {
  const Rows y = packed_rows("swiglu", call.out[0]), x = packed_rows("swiglu", call.in[0]);
  if (y.half != x.half) cpu::kernel_refuses("swiglu", "the dtypes differ");
  x.half ? swiglu_of<bf16_t>(y, x) : swiglu_of<float>(y, x);
}

void swiglu_backward(const Call& call) {
  const Rows d = packed_rows("swiglu_backward", call.out[0]);
  const Rows dy = packed_rows("swiglu_backward", call.in[0]),
             x = packed_rows("swiglu_backward", call.in[1]);
  if (d.half != x.half || dy.half != x.half)
    cpu::kernel_refuses("swiglu_backward", "the dtypes differ");
  x.half ? swiglu_backward_of<bf16_t>(d, dy, x) : swiglu_backward_of<float>(d, dy, x);
}

WS_KERNEL("swiglu", swiglu)
WS_KERNEL("swiglu_backward", swiglu_backward)

WS_KERNELS_END
