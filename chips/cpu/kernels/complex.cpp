// conj: out y, in x (c64, any strides; y may be x).
#include "chips/cpu/kernel.h"

#include <cstring>

#include "chips/cpu/kernels/copy_plan.h"

WS_KERNELS_BEGIN

void conj(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  if (x.dtype != DType::c64 || y.dtype != DType::c64) cpu::kernel_refuses("conj", "it takes c64");
  const PairPlan p = plan_pair(y, x.data, x.dtype, x.strides);
  if (p.count == 0) return;
  constexpr int64_t kPiece = 4096;
  const int64_t o = p.o[p.dims - 1], i = p.i[p.dims - 1];
  for_each_row(
      p, kPiece,
      [&](char* out, const char* in, int64_t n) {
        // Pairs as whole numbers, for the sign is all that changes (NaN's, too).
        for (int64_t k = 0; k < n; ++k) {
          uint64_t pair;
          std::memcpy(&pair, in + 8 * k * i, 8);
          pair ^= uint64_t{1} << 63;
          std::memcpy(out + 8 * k * o, &pair, 8);
        }
      },
      [] {});
}
WS_KERNEL("conj", conj)

WS_KERNELS_END
