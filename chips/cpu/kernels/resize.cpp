// Resizing by the nearest element: place (i, j) of y [N, C, Y, X] is that of x at (rows[i],
// columns[j]), i64 and never falling.
//   "resize_nearest"           out y (row-major), in x, rows, columns
//   "resize_nearest_backward"  out dx (row-major), in dy, rows, columns: sums in the order of dy
// A tile is some planes.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/planes.h"

WS_KERNELS_BEGIN

template <class U>
void repeat(const View& y, const View& x, const int64_t* rows, const int64_t* columns) {
  const int64_t height = y.shape[2], width = y.shape[3], step = x.strides[3];
  each_plane(x, height * width, [&](int64_t plane, int64_t image, int64_t channel) {
    const U* from = static_cast<const U*>(x.data) + image * x.strides[0] + channel * x.strides[1];
    U* to = static_cast<U*>(y.data) + plane * height * width;
    for (int64_t i = 0; i < height; ++i, to += width) {
      if (i && rows[i] == rows[i - 1]) {
        std::memcpy(to, to - width, static_cast<size_t>(width) * sizeof(U));
        continue;
      }
      const U* row = from + rows[i] * x.strides[2];
      for (int64_t j = 0; j < width; ++j) to[j] = row[columns[j] * step];
    }
  });
}

void resize_nearest(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  const auto* rows = static_cast<const int64_t*>(call.in[1].data);
  const auto* columns = static_cast<const int64_t*>(call.in[2].data);
  switch (size_of(x.dtype)) {
    case 1:
      return repeat<uint8_t>(y, x, rows, columns);
    case 2:
      return repeat<uint16_t>(y, x, rows, columns);
    case 4:
      return repeat<uint32_t>(y, x, rows, columns);
    default:
      return repeat<uint64_t>(y, x, rows, columns);
  }
}
WS_KERNEL("resize_nearest", resize_nearest)

template <class W>
void gather_back(const View& dx, const View& dy, const int64_t* rows, const int64_t* columns) {
  const LoadRow<W> load = loader<W>(dy.dtype);
  const StoreRow<W> put = storer<W>(dx.dtype);
  const int64_t height = dx.shape[2], width = dx.shape[3], across = dy.shape[3];
  const auto in_size = static_cast<int64_t>(size_of(dy.dtype)),
             out_size = static_cast<int64_t>(size_of(dx.dtype));
  each_plane(dx, dy.shape[2] * across, [&](int64_t plane, int64_t image, int64_t channel) {
    W* sums = static_cast<W*>(cpu::scratch(0, static_cast<size_t>(height * width) * sizeof(W)));
    W* buffer = static_cast<W*>(cpu::scratch(1, static_cast<size_t>(across) * sizeof(W)));
    for (int64_t k = 0; k < height * width; ++k) sums[k] = 0;
    const char* from = static_cast<const char*>(dy.data) +
                       (image * dy.strides[0] + channel * dy.strides[1]) * in_size;
    for (int64_t i = 0; i < dy.shape[2]; ++i) {
      const W* row = load(from + i * dy.strides[2] * in_size, dy.strides[3], across, buffer);
      W* to = sums + rows[i] * width;
      for (int64_t j = 0; j < across; ++j) to[columns[j]] += row[j];
    }
    put(static_cast<char*>(dx.data) + plane * height * width * out_size, 1, height * width, sums);
  });
}

void resize_nearest_backward(const Call& call) {
  const View &dx = call.out[0], &dy = call.in[0];
  const auto* rows = static_cast<const int64_t*>(call.in[1].data);
  const auto* columns = static_cast<const int64_t*>(call.in[2].data);
  if (dx.dtype == DType::f64)
    gather_back<double>(dx, dy, rows, columns);
  else
    gather_back<float>(dx, dy, rows, columns);
}
WS_KERNEL("resize_nearest_backward", resize_nearest_backward)

WS_KERNELS_END
