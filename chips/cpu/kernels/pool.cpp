// Pooling of x [N, C, H, W] (any strides) to row-major y [N, C, Y, X]. Tables rows [Y, 3] and
// columns [X, 3], i64: the first place of a window, its end, and the step between places (max) or
// the number that a mean divides by (avg).
//   "max_pool"           out {y, i64 places in the plane}, in {x, rows, columns}
//   "max_pool_backward"  out dx (row-major), in {dy, places}
//   "avg_pool"           out y, in {x, rows, columns}, attr {divisor, 0 for that of the tables}
//   "avg_pool_backward"  out dx (row-major), in {dy, rows, columns}, attr {divisor}
// A tile is some planes.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/planes.h"
#include "chips/cpu/native.h"

WS_KERNELS_BEGIN

// A plane's values, row-major: where they lie, or in the thread's memory.
template <class W>
const W* read_plane(const View& x, int64_t image, int64_t channel, int slot) {
  const int64_t height = x.shape[2], width = x.shape[3];
  W* plane =
      static_cast<W*>(cpu::scratch(slot, static_cast<size_t>(height * width + 1) * sizeof(W)));
  const LoadRow<W> load = loader<W>(x.dtype);
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  const char* from =
      static_cast<const char*>(x.data) + (image * x.strides[0] + channel * x.strides[1]) * size;
  if (x.strides[2] == width * x.strides[3])  // one row of all
    return load(from, x.strides[3], height * width, plane);
  for (int64_t i = 0; i < height; ++i) {
    W* to = plane + i * width;
    const W* row = load(from + i * x.strides[2] * size, x.strides[3], width, to);
    if (row != to) std::memcpy(to, row, static_cast<size_t>(width) * sizeof(W));
  }
  return plane;
}
template <class W>
W* empty_plane(int64_t count, int slot) {
  W* plane = static_cast<W*>(cpu::scratch(slot, static_cast<size_t>(count + 1) * sizeof(W)));
  for (int64_t k = 0; k < count; ++k) plane[k] = 0;
  return plane;
}
template <class W>
void write_plane(const View& y, int64_t plane, const W* values) {
  const int64_t count = y.shape[2] * y.shape[3];
  storer<W>(y.dtype)(
      static_cast<char*>(y.data) + plane * count * static_cast<int64_t>(size_of(y.dtype)), 1, count,
      values);
}

template <class F>
void with_wide(const char* kernel, DType t, F&& f) {
  if (!is_float(t)) cpu::kernel_refuses(kernel, "it takes floating dtypes");
  if (t == DType::f64)
    f(double{});
  else
    f(float{});
}

// Windows first..end-1 of a row of results have the same columns, each `step` further.
struct Regular {
  int64_t first = 0, end = 0, step = 0;
};
// Those around the middle: at the ends padding may cut windows short.
Regular regular_windows(const int64_t* columns, int64_t count) {
  if (count < 2) return {};
  const auto follows = [&](int64_t j, int64_t step) {
    const int64_t *before = columns + 3 * (j - 1), *c = columns + 3 * j;
    return c[0] - before[0] == step && c[1] - before[1] == step && c[2] == before[2];
  };
  const int64_t middle = count / 2, step = columns[3 * middle] - columns[3 * middle - 3];
  if (!follows(middle, step)) return {};
  Regular r{middle - 1, middle + 1, step};
  while (r.first > 0 && follows(r.first, step)) --r.first;
  while (r.end < count && follows(r.end, step)) ++r.end;
  return r;
}

// Elements p[0], p[step], p[2 step], ...: nothing after the last one is read.
WS_INLINE native<float> load_every(const float* p, int64_t step) {
  constexpr int n = kWidth<float>;
  if (step == 1) return load_native(p);
  if (step == 2) {
    const native<float> low = load_native(p), high = load_native(p + n - 1);
#if defined(__AVX512F__)
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29,
                                   31);
#elif defined(__AVX2__)
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 9, 11, 13, 15);
#else
    return __builtin_shufflevector(low, high, 0, 2, 5, 7);
#endif
  }
  native<float> v;
  for (int l = 0; l < n; ++l) v[l] = p[l * step];
  return v;
}

// One row of regular windows by vectors, rows `r` of the plane v: from `first` on, as far as they
// fill vectors; returns where that ends. Places fit i32.
int64_t max_of_windows(const float* v, int64_t across, const int64_t* r, const int64_t* columns,
                       const Regular& windows, float* best, int64_t* at) {
  constexpr int n = kWidth<float>;
  native<int32_t> lane;
  for (int l = 0; l < n; ++l) lane[l] = static_cast<int32_t>(l * windows.step);
  int64_t j = windows.first;
  for (; j + n <= windows.end; j += n) {
    const int64_t* c = columns + 3 * j;
    native<float> top = native<float>{} - __builtin_inff();
    native<int32_t> place = lane + static_cast<int32_t>(r[0] * across + c[0]);
    for (int64_t a = r[0]; a < r[1]; a += r[2])
      for (int64_t b = c[0]; b < c[1]; b += c[2]) {
        const native<float> w = load_every(v + a * across + b, windows.step);
        const native<int32_t> take = (w > top) | (w != w);
        top = take ? w : top;
        place = take ? lane + static_cast<int32_t>(a * across + b) : place;
      }
    store_native(best + j, top);
    for (int l = 0; l < n; ++l) at[j + l] = place[l];
  }
  return j;
}

template <class W>
WS_INLINE void max_of_window(const W* v, int64_t across, const int64_t* r, const int64_t* c,
                             W* best, int64_t* at) {
  int64_t place = r[0] * across + c[0];
  W top = static_cast<W>(-__builtin_inf());
  for (int64_t a = r[0]; a < r[1]; a += r[2])
    for (int64_t b = c[0]; b < c[1]; b += c[2])
      if (const W w = v[a * across + b]; w > top || w != w) top = w, place = a * across + b;
  *best = top, *at = place;
}

void max_pool(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  auto* places = static_cast<int64_t*>(call.out[1].data);
  const auto* rows = static_cast<const int64_t*>(call.in[1].data);
  const auto* columns = static_cast<const int64_t*>(call.in[2].data);
  const int64_t height = y.shape[2], width = y.shape[3], across = x.shape[3];
  const Regular regular =
      x.shape[2] * across <= INT32_MAX ? regular_windows(columns, width) : Regular{};
  const bool by_vectors = regular.end - regular.first >= kWidth<float>;
  with_wide("max_pool", x.dtype, [&]<class W>(W) {
    const bool as_it_lies = y.dtype == (sizeof(W) == 8 ? DType::f64 : DType::f32);
    each_plane(x, height * width * 8, [&](int64_t plane, int64_t image, int64_t channel) {
      const W* v = read_plane<W>(x, image, channel, 0);
      W* best = as_it_lies ? static_cast<W*>(y.data) + plane * height * width
                           : empty_plane<W>(height * width, 1);
      int64_t* at = places + plane * height * width;
      for (int64_t i = 0; i < height; ++i, best += width, at += width) {
        const int64_t* r = rows + 3 * i;
        int64_t j = 0;
        const auto up_to = [&](int64_t end) {
          for (; j < end; ++j) max_of_window(v, across, r, columns + 3 * j, best + j, at + j);
        };
        if constexpr (sizeof(W) == 4)
          if (by_vectors) {
            up_to(regular.first);
            j = max_of_windows(v, across, r, columns, regular, best, at);
          }
        up_to(width);
      }
      if (!as_it_lies) write_plane(y, plane, best - height * width);
    });
  });
}
WS_KERNEL("max_pool", max_pool)

void max_pool_backward(const Call& call) {
  const View &dx = call.out[0], &dy = call.in[0];
  const auto* places = static_cast<const int64_t*>(call.in[1].data);
  const int64_t count = dy.shape[2] * dy.shape[3];
  with_wide("max_pool_backward", dx.dtype, [&]<class W>(W) {
    each_plane(dy, count * 4, [&](int64_t plane, int64_t image, int64_t channel) {
      const W* g = read_plane<W>(dy, image, channel, 0);
      W* sums = empty_plane<W>(dx.shape[2] * dx.shape[3], 1);
      const int64_t* at = places + plane * count;
      for (int64_t k = 0; k < count; ++k) sums[at[k]] += g[k];
      write_plane(dx, plane, sums);
    });
  });
}
WS_KERNEL("max_pool_backward", max_pool_backward)

template <class W>
WS_INLINE W divisor_of(int64_t given, const int64_t* row, const int64_t* column) {
  return static_cast<W>(given ? given : row[2] * column[2]);
}

void avg_pool(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  const auto* rows = static_cast<const int64_t*>(call.in[1].data);
  const auto* columns = static_cast<const int64_t*>(call.in[2].data);
  const int64_t height = y.shape[2], width = y.shape[3], across = x.shape[3];
  with_wide("avg_pool", x.dtype, [&]<class W>(W) {
    each_plane(x, x.shape[2] * across + height * width,
               [&](int64_t plane, int64_t image, int64_t channel) {
                 const W* v = read_plane<W>(x, image, channel, 0);
                 W* means = empty_plane<W>(height * width, 1);
                 for (int64_t i = 0; i < height; ++i)
                   for (int64_t j = 0; j < width; ++j) {
                     const int64_t *r = rows + 3 * i, *c = columns + 3 * j;
                     W sum = 0;
                     for (int64_t a = r[0]; a < r[1]; ++a) {
                       W part = 0;
                       for (int64_t b = c[0]; b < c[1]; ++b) part += v[a * across + b];
                       sum += part;
                     }
                     means[i * width + j] = sum / divisor_of<W>(call.attr[0].i, r, c);
                   }
                 write_plane(y, plane, means);
               });
  });
}
WS_KERNEL("avg_pool", avg_pool)

void avg_pool_backward(const Call& call) {
  const View &dx = call.out[0], &dy = call.in[0];
  const auto* rows = static_cast<const int64_t*>(call.in[1].data);
  const auto* columns = static_cast<const int64_t*>(call.in[2].data);
  const int64_t height = dy.shape[2], width = dy.shape[3], across = dx.shape[3];
  with_wide("avg_pool_backward", dx.dtype, [&]<class W>(W) {
    each_plane(dy, dx.shape[2] * across + height * width,
               [&](int64_t plane, int64_t image, int64_t channel) {
                 const W* g = read_plane<W>(dy, image, channel, 0);
                 W* sums = empty_plane<W>(dx.shape[2] * across, 1);
                 for (int64_t i = 0; i < height; ++i)
                   for (int64_t j = 0; j < width; ++j) {
                     const int64_t *r = rows + 3 * i, *c = columns + 3 * j;
                     const W share = g[i * width + j] / divisor_of<W>(call.attr[0].i, r, c);
                     for (int64_t a = r[0]; a < r[1]; ++a)
                       for (int64_t b = c[0]; b < c[1]; ++b) sums[a * across + b] += share;
                   }
                 write_plane(dx, plane, sums);
               });
  });
}
WS_KERNEL("avg_pool_backward", avg_pool_backward)

WS_KERNELS_END
