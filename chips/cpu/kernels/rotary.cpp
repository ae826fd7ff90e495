// rotary: out {y}, in {x, cos, sin, positions}, attr {heads, inverse}. x and y [B, T, H, D] with a
// last stride of 1, y may be x; cos and sin f32 [P, D/2]; positions i32 [B, T] or undefined.
// `inverse` turns the other way, which is the derivative. Heads from `heads` on are copied.

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

template <class T>
WS_INLINE void rotate(const T* x, T* y, const float* cos, const float* sin, float sign,
                      int64_t half) {
  each_vector(half, [&](int64_t i, int n) {
    const vf a = load_n(x + i, n), b = load_n(x + half + i, n);
    const vf c = load_n(cos + i, n), s = load_n(sin + i, n) * sign;
    store_n(y + i, a * c - b * s, n);
    store_n(y + half + i, b * c + a * s, n);
  });
}

template <class T>
void rotary_of(const Call& call) {
  const View &y = call.out[0], &x = call.in[0], &cos = call.in[1], &sin = call.in[2];
  const View* positions = call.in[3].defined() ? &call.in[3] : nullptr;
  const int64_t B = x.shape[0], T_ = x.shape[1], H = x.shape[2], D = x.shape[3];
  const int64_t heads = call.attr[0].i;
  const float sign = call.attr[1].i ? -1.0f : 1.0f;
  each_row(B * T_, H * D, [&](int64_t row) {
    const int64_t b = row / T_, t = row % T_;
    const int64_t p =
        positions ? static_cast<const int32_t*>(
                        positions->data)[b * positions->strides[0] + t * positions->strides[1]]
                  : t;
    const float* c = static_cast<const float*>(cos.data) + p * (D / 2);
    const float* s = static_cast<const float*>(sin.data) + p * (D / 2);
    const T* from = static_cast<const T*>(x.data) + b * x.strides[0] + t * x.strides[1];
    T* to = static_cast<T*>(y.data) + b * y.strides[0] + t * y.strides[1];
    for (int64_t h = 0; h < H; ++h, from += x.strides[2], to += y.strides[2]) {
      if (h < heads)
        rotate(from, to, c, s, sign, D / 2);
      else if (from != to)
        std::memcpy(to, from, static_cast<size_t>(D) * sizeof(T));
    }
  });
}

void rotary(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  if (y.dtype != x.dtype) cpu::kernel_refuses("rotary", "the dtypes differ");
  if (x.shape[3] > 1 && (x.strides[3] != 1 || y.strides[3] != 1))
    cpu::kernel_refuses("rotary", "the last stride is not 1");
  if (x.dtype == DType::f32)
    rotary_of<float>(call);
  else if (x.dtype == DType::bf16)
    rotary_of<bf16_t>(call);
  else
    cpu::kernel_refuses("rotary", "the dtype is neither f32 nor bf16");
}
WS_KERNEL("rotary", rotary)

WS_KERNELS_END
