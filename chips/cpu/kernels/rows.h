#pragma once
// Packed rows of f32 or bf16, worked on as f32: an f32 row is used where it lies, a bf16 row is
// widened into a buffer and narrowed back. So a kernel over rows is one loop over floats for every
// dtype.

#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

struct Rows {
  char* data = nullptr;
  int64_t count = 0, width = 0;
  bool half = false;
  explicit operator bool() const { return data != nullptr; }
  int64_t bytes() const { return width * (half ? 2 : 4); }
  bf16_t* halves(int64_t row) const { return reinterpret_cast<bf16_t*>(data + row * bytes()); }
  float* floats(int64_t row) const { return reinterpret_cast<float*>(data + row * bytes()); }

  /// The row's values: in place, or in `buffer` (width floats).
  const float* read(int64_t row, float* buffer) const;
  /// Where to write the row before finish().
  float* target(int64_t row, float* buffer) const { return half ? buffer : floats(row); }
  void finish(int64_t row, const float* buffer) const;
};

/// 16 elements from p + i, or the first n of them and zeros.
template <class T>
WS_INLINE vf load_n(const T* p, int n) {
  return n == kLanes ? load(p) : load_part(p, n);
}
template <class T>
WS_INLINE void store_n(T* p, vf v, int n) {
  n == kLanes ? store(p, v) : store_part(p, v, n);
}

/// Calls f(i, n) for the vectors of a row: n elements from i.
template <class F>
WS_INLINE void each_vector(int64_t width, F&& f) {
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) f(i, kLanes);
  if (i < width) f(i, static_cast<int>(width - i));
}

/// The sum of f(i, n) over the vectors of a row, in four running sums; f gives zeros past n.
template <class F>
WS_INLINE float row_sum(int64_t width, F&& f) {
  vf s[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) s[j] += f(i + j * kLanes, kLanes);
  for (int j = 0; i < width; i += kLanes, ++j)
    s[j] += f(i, static_cast<int>(width - i < kLanes ? width - i : kLanes));
  return sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

inline const float* Rows::read(int64_t row, float* buffer) const {
  if (!half) return floats(row);
  const bf16_t* p = halves(row);
  each_vector(width, [&](int64_t i, int n) { store_n(buffer + i, load_n(p + i, n), n); });
  return buffer;
}
inline void Rows::finish(int64_t row, const float* buffer) const {
  if (!half) return;
  bf16_t* p = halves(row);
  each_vector(width, [&](int64_t i, int n) { store_n(p + i, load_n(buffer + i, n), n); });
}

/// The rows of a view's last dimension, which has to be row-major; none when it is undefined.
inline Rows packed_rows(const char* kernel, const View& v) {
  Rows r;
  if (!v.defined()) return r;
  int64_t step = 1;
  bool in_order = true;
  for (int d = v.dims - 1; d >= 0; --d) {
    in_order &= v.shape[d] == 1 || v.strides[d] == step;
    step *= v.shape[d];
  }
  if (step && !in_order) cpu::kernel_refuses(kernel, "a tensor is not packed");
  if (v.dtype != DType::f32 && v.dtype != DType::bf16)
    cpu::kernel_refuses(kernel, "a dtype is neither f32 nor bf16");
  r.half = v.dtype == DType::bf16;
  r.width = v.dims ? v.shape[v.dims - 1] : 1;
  r.count = r.width ? step / r.width : 0;
  static char nothing[64];
  r.data = v.data ? static_cast<char*>(v.data) : nothing;
  return r;
}

/// Rows of a tile: about 16k elements, from the shape alone.
inline int64_t rows_per_tile(int64_t width) {
  const int64_t n = 16384 / (width > 0 ? width : 1);
  return n > 1 ? n : 1;
}
inline int64_t tiles_of(int64_t count, int64_t per_tile) {
  return (count + per_tile - 1) / per_tile;
}

/// Calls f(row) for every row, in parallel.
template <class F>
inline void each_row(int64_t rows, int64_t width, F&& f) {
  const int64_t per = rows_per_tile(width);
  parallel_for(tiles_of(rows, per), [&](int64_t tile) {
    const int64_t end = (tile + 1) * per < rows ? (tile + 1) * per : rows;
    for (int64_t row = tile * per; row < end; ++row) f(row);
  });
}

/// Buffer `which` (0-5) of `width` floats of the running thread.
inline float* row_buffer(int which, int64_t width) {
  return static_cast<float*>(cpu::scratch(which, static_cast<size_t>(width) * sizeof(float)));
}

WS_KERNELS_END
