// Tensors from numbers alone, and triangles of matrices.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/reduce_plan.h"
#include "chips/cpu/kernels/stream.h"

WS_KERNELS_BEGIN

constexpr int64_t kSequenceTile = 1 << 15, kSequenceChunk = 512;

// Elements of a row-major vector: value(k) as W.
template <class W, class Value>
void sequence(const View& y, Value value) {
  const StoreRow<W> put = storer<W>(y.dtype);
  if (!put) cpu::kernel_refuses("a sequence", "complex values");
  const int64_t n = y.shape[0], size = static_cast<int64_t>(size_of(y.dtype));
  const bool streaming = n * size >= kStreamBytes;
  parallel_for((n + kSequenceTile - 1) / kSequenceTile, [&](int64_t t) {
    alignas(64) W buffer[kSequenceChunk];
    alignas(64) char staged[kSequenceChunk * 8];
    const int64_t end = (t + 1) * kSequenceTile < n ? (t + 1) * kSequenceTile : n;
    for (int64_t k = t * kSequenceTile; k < end; k += kSequenceChunk) {
      const int64_t m = end - k < kSequenceChunk ? end - k : kSequenceChunk;
      for (int64_t j = 0; j < m; ++j) buffer[j] = value(k + j);
      char* to = static_cast<char*>(y.data) + k * size;
      if (streaming) {
        put(staged, 1, m, buffer);
        stream_copy(to, staged, m * size);
      } else {
        put(to, 1, m, buffer);
      }
    }
    stream_done();
  });
}

// out y [n]; attr: start, step (both f64), then the same as i64, and whether these count.
void arange(const Call& call) {
  if (call.attr[4].i) {
    const auto start = static_cast<uint64_t>(call.attr[2].i),
               step = static_cast<uint64_t>(call.attr[3].i);
    return sequence<int64_t>(call.out[0], [=](int64_t k) {
      return static_cast<int64_t>(start + static_cast<uint64_t>(k) * step);
    });
  }
  const double start = call.attr[0].f, step = call.attr[1].f;
  sequence<double>(call.out[0], [=](int64_t k) { return start + static_cast<double>(k) * step; });
}
WS_KERNEL("arange", arange)

// out y [n]; attr: start, end. From both ends towards the middle, so that both are met exactly.
void linspace(const Call& call) {
  const double start = call.attr[0].f, end = call.attr[1].f;
  const int64_t n = call.out[0].shape[0];
  const double step = n > 1 ? (end - start) / static_cast<double>(n - 1) : 0;
  sequence<double>(call.out[0], [=](int64_t k) {
    return k < n / 2 || n == 1 ? start + static_cast<double>(k) * step
                               : end - static_cast<double>(n - 1 - k) * step;
  });
}
WS_KERNEL("linspace", linspace)

// out y row-major [..., rows, columns]; in x. attr: diagonal k, upper. Keeps column >= row + k, or
// column <= row + k; zeros elsewhere.
template <class U>
void triangle_of(const Call& call) {
  const View& x = call.in[0];
  const int64_t diagonal = call.attr[0].i;
  const bool upper = call.attr[1].i != 0;
  const int64_t columns = x.shape[x.dims - 1], height = x.shape[x.dims - 2],
                step = x.strides[x.dims - 1];
  DimGroup rows;
  rows.dims = x.dims - 1;
  for (int k = 0; k < rows.dims; ++k)
    rows.n[k] = x.shape[k], rows.i[k] = x.strides[k], rows.o[k] = 0, rows.count *= x.shape[k];
  if (rows.count * columns == 0) return;
  const int64_t share = 1 + ((1 << 15) - 1) / columns;
  const bool streaming =
      rows.count * columns * static_cast<int64_t>(sizeof(U)) >= kStreamBytes && columns >= 64;
  U* out = static_cast<U*>(call.out[0].data);
  parallel_for((rows.count + share - 1) / share, [&](int64_t t) {
    const int64_t end = (t + 1) * share < rows.count ? (t + 1) * share : rows.count;
    GroupWalk walk(rows, rows.dims, t * share);
    alignas(64) U staged[512];
    for (int64_t r = t * share; r < end; ++r, walk.next()) {
      const U* from = static_cast<const U*>(x.data) + walk.in;
      U* to = out + r * columns;
      int64_t edge = r % height + diagonal + (upper ? 0 : 1);  // the first column past the change
      edge = edge < 0 ? 0 : edge > columns ? columns : edge;
      const int64_t first = upper ? edge : 0, last = upper ? columns : edge;
      const auto zero = [&](int64_t k, int64_t n) {
        if (!streaming) return void(std::memset(to + k, 0, static_cast<size_t>(n) * sizeof(U)));
        std::memset(staged, 0, sizeof staged);
        for (int64_t j = k; j < k + n; j += 512)
          stream_copy(reinterpret_cast<char*>(to + j), reinterpret_cast<const char*>(staged),
                      (k + n - j < 512 ? k + n - j : 512) * static_cast<int64_t>(sizeof(U)));
      };
      zero(0, first);
      zero(last, columns - last);
      if (step == 1 && streaming)
        stream_copy(reinterpret_cast<char*>(to + first),
                    reinterpret_cast<const char*>(from + first),
                    (last - first) * static_cast<int64_t>(sizeof(U)));
      else if (step == 1)
        std::memcpy(to + first, from + first, static_cast<size_t>(last - first) * sizeof(U));
      else
        for (int64_t k = first; k < last; ++k) to[k] = from[k * step];
    }
    stream_done();
  });
}
void triangle(const Call& call) {
  switch (size_of(call.in[0].dtype)) {
    case 1:
      return triangle_of<uint8_t>(call);
    case 2:
      return triangle_of<uint16_t>(call);
    case 4:
      return triangle_of<uint32_t>(call);
    default:
      return triangle_of<uint64_t>(call);
  }
}
WS_KERNEL("triangle", triangle)

WS_KERNELS_END
