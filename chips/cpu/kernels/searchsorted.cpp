// searchsorted: out i64 or i32 of the shape of x; in sorted [rows or 1, n], x [rows, m], of one
// dtype, row-major; attr {right}. Compares the order's keys, so that NaN is above all.

#include "chips/cpu/kernels/sort_keys.h"

WS_KERNELS_BEGIN

template <class K>
void search_as(const Call& call) {
  const View& sorted = call.in[0];
  const View& x = call.in[1];
  const View& y = call.out[0];
  const bool right = call.attr[0].i != 0;
  const int64_t n = sorted.shape[1], rows = x.shape[0], m = x.shape[1];
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  const LoadKeys<K> load = key_loader<K>(x.dtype);
  if (rows * m == 0) return;
  // Keys of all boundaries once.
  const int64_t all = sorted.shape[0] * n;
  K* keys = static_cast<K*>(cpu::scratch(4, static_cast<size_t>(all + 1) * sizeof(K)));
  load(static_cast<const char*>(sorted.data), 1, all, 0, keys);
  constexpr int64_t kTile = 1 << 13, kChunk = 512;
  const int64_t count = rows * m;
  parallel_for((count + kTile - 1) / kTile, [&](int64_t t) {
    alignas(64) K wanted[kChunk];
    const int64_t end = (t + 1) * kTile < count ? (t + 1) * kTile : count;
    for (int64_t k = t * kTile; k < end; k += kChunk) {
      const int64_t part = end - k < kChunk ? end - k : kChunk;
      load(static_cast<const char*>(x.data) + k * size, 1, part, 0, wanted);
      for (int64_t j = 0; j < part; ++j) {
        const K* row = keys + (sorted.shape[0] == 1 ? 0 : (k + j) / m * n);
        const K v = wanted[j];
        // Without branches: the place is below `low` + `left` all along.
        int64_t low = 0, left = n;
        while (left > 0) {
          const int64_t half = left / 2;
          const bool after = right ? row[low + half] <= v : row[low + half] < v;
          low = after ? low + half + 1 : low;
          left = after ? left - half - 1 : half;
        }
        if (y.dtype == DType::i64)
          static_cast<int64_t*>(y.data)[k + j] = low;
        else
          static_cast<int32_t*>(y.data)[k + j] = static_cast<int32_t>(low);
      }
    }
  });
}

void searchsorted(const Call& call) {
  if (is_complex(call.in[0].dtype)) cpu::kernel_refuses("searchsorted", "complex values");
  if (has_wide_keys(call.in[0].dtype))
    search_as<int64_t>(call);
  else
    search_as<int32_t>(call);
}
WS_KERNEL("searchsorted", searchsorted)

WS_KERNELS_END
