// matmul_whole: out c [..., M, N], in a [..., M, K], b [..., K, N] of one integer dtype, any
// strides, the batch dimensions of all the same. Plain loops; sums wrap in 64 bits and are cut to
// the dtype.
#include "chips/cpu/kernels/convert.h"

WS_KERNELS_BEGIN

template <class T>
void multiply_whole(const View& c, const View& a, const View& b) {
  const int d = c.dims;
  const int64_t rows = c.shape[d - 2], columns = c.shape[d - 1], inner = a.shape[d - 1];
  int64_t batch = 1;
  for (int i = 0; i < d - 2; ++i) batch *= c.shape[i];
  parallel_for(batch * rows, [&](int64_t tile) {
    const int64_t m = tile % rows;
    int64_t index = tile / rows, at_a = m * a.strides[d - 2], at_b = 0, at_c = m * c.strides[d - 2];
    for (int i = d - 3; i >= 0; index /= c.shape[i--]) {
      const int64_t k = index % c.shape[i];
      at_a += k * a.strides[i], at_b += k * b.strides[i], at_c += k * c.strides[i];
    }
    auto* sums = static_cast<uint64_t*>(
        cpu::scratch(0, static_cast<size_t>(columns + 1) * sizeof(uint64_t)));
    for (int64_t n = 0; n < columns; ++n) sums[n] = 0;
    for (int64_t k = 0; k < inner; ++k) {
      const auto by = static_cast<uint64_t>(
          static_cast<int64_t>(static_cast<const T*>(a.data)[at_a + k * a.strides[d - 1]]));
      const T* row = static_cast<const T*>(b.data) + at_b + k * b.strides[d - 2];
      for (int64_t n = 0; n < columns; ++n)
        sums[n] += by * static_cast<uint64_t>(static_cast<int64_t>(row[n * b.strides[d - 1]]));
    }
    T* to = static_cast<T*>(c.data) + at_c;
    for (int64_t n = 0; n < columns; ++n) to[n * c.strides[d - 1]] = static_cast<T>(sums[n]);
  });
}

void matmul_whole(const Call& call) {
  const View &c = call.out[0], &a = call.in[0], &b = call.in[1];
  if (a.dtype != c.dtype || b.dtype != c.dtype || !is_integer(c.dtype))
    cpu::kernel_refuses("matmul_whole", "the dtypes are not one integer dtype");
  with_type(c.dtype, [&]<class T>(T) {
    if constexpr (same_type<T, int64_t> || same_type<T, int32_t> || same_type<T, int16_t> ||
                  same_type<T, int8_t> || same_type<T, uint8_t>)
      multiply_whole<T>(c, a, b);
  });
}
WS_KERNEL("matmul_whole", matmul_whole)

WS_KERNELS_END
