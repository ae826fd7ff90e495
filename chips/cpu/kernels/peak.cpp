// Kernel "multiply_add_peak" (out flops f64 [threads]; attr steps, pairs): multiply-adds in
// registers alone, on as many tiles as out has elements, each of which gets the operations that its
// tile did. What a matrix product cannot exceed.
#include "chips/cpu/kernels/gemm_micro.h"

WS_KERNELS_BEGIN

template <class Op>
__attribute__((noinline)) double add_up(int64_t steps) {
  native<float> acc[kMr], b = native<float>{} + 0.5f;
#pragma GCC unroll 12
  for (int m = 0; m < kMr; ++m) acc[m] = native<float>{};
  native<float> more[kMr];
#pragma GCC unroll 12
  for (int m = 0; m < kMr; ++m) more[m] = native<float>{};
  for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 12
    for (int m = 0; m < kMr; ++m) {
      acc[m] = Op::add(acc[m], 0.25f, b);
      more[m] = Op::add(more[m], 0.25f, b);
      // The sums stay apart and in registers.
      __asm__ volatile("" : "+x"(acc[m]), "+x"(more[m]));
    }
  }
  for (int m = 0; m < kMr; ++m) b += acc[m] + more[m];
  __asm__ volatile("" : : "x"(b));
  return static_cast<double>(steps) * 2 * kMr * kWidth<float> * 2 * Op::kStep;
}

void multiply_add_peak(const Call& call) {
  const View& out = call.out[0];
  if (out.dims != 1 || out.dtype != DType::f64)
    cpu::kernel_refuses("multiply_add_peak", "the result is not f64 [N]");
  parallel_for(out.shape[0], [&](int64_t tile) {
    const bool pairs = WS_PAIR_PRODUCTS && call.attr[1].i != 0;
    static_cast<double*>(out.data)[tile * out.strides[0]] =
        pairs ? add_up<Pairs<WS_PAIR_PRODUCTS>>(call.attr[0].i)
              : add_up<Plain<float>>(call.attr[0].i);
  });
}
WS_KERNEL("multiply_add_peak", multiply_add_peak)

WS_KERNELS_END
