// Convolution with one channel in each group. A plane of the image is copied once into a padded
// buffer whose columns are sorted by their place modulo the stride, so that a tap meets successive
// elements for successive outputs whatever stride and dilation are. One tile is one plane (forward
// and back to the image) or one channel (weights): taps are added in their order, images in theirs.

#include "chips/cpu/kernels/conv.h"
#include "chips/cpu/kernels/gemm_micro.h"

WS_SHARED_BEGIN

namespace {

template <class T>
constexpr int64_t kStep = 4 * kWidth<T>;  // outputs at once

WS_INLINE float wide(float v) { return v; }
WS_INLINE float wide(bf16_t v) { return to_float(v); }
WS_INLINE double wide(double v) { return v; }

// The padded plane: row `r` of the padded image, column c at (c % stride) * part + c / stride.
template <class T>
struct Plane {
  const ConvShape& c;
  int64_t rows, part, row_words;
  T* data;

  Plane(const ConvShape& c, int slot) : c(c) {
    rows = (c.out_rows - 1) * c.stride_y + (c.taps_y - 1) * c.dilation_y + 1;
    part = c.out_columns + (c.taps_x - 1) * c.dilation_x / c.stride_x + 1 + kStep<T>;
    row_words = part * c.stride_x;
    data = static_cast<T*>(cpu::scratch(slot, rows * row_words * sizeof(T)));
  }
  T* row(int64_t r) const { return data + r * row_words; }
  // Where the tap (r, s) meets output (y, 0).
  T* at(int64_t y, int64_t r, int64_t s) const {
    const int64_t column = s * c.dilation_x;
    return row(y * c.stride_y + r * c.dilation_y) + column % c.stride_x * part +
           column / c.stride_x;
  }
  // Calls f(word, column of the image) for the columns of a row that the image has.
  template <class F>
  void columns(int64_t width, F&& f) const {
    for (int64_t phase = 0; phase < c.stride_x; ++phase) {
      int64_t i = 0, column = phase - c.padding_x;
      if (column < 0) i = (-column + c.stride_x - 1) / c.stride_x, column += i * c.stride_x;
      for (; column < width && i < part; ++i, column += c.stride_x) f(phase * part + i, column);
    }
  }

  template <class In>
  void read(const In* image, int64_t height, int64_t width, int64_t row_stride,
            int64_t column_stride) {
    std::memset(data, 0, rows * row_words * sizeof(T));
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t y = r - c.padding_y;
      if (y < 0 || y >= height) continue;
      T* to = row(r);
      const In* from = image + y * row_stride;
      columns(width,
              [&](int64_t word, int64_t column) { to[word] = wide(from[column * column_stride]); });
    }
  }
};

// Calls f(T{}, In{}) by the dtype of an operand.
template <class F>
void with_operand(DType t, F&& f) {
  if (t == DType::f64)
    f(double{}, double{});
  else if (t == DType::f32)
    f(float{}, float{});
  else
    f(float{}, bf16_t{});
}

template <class T>
void weights_of(const View& weight, int64_t filter, int64_t taps, T* out) {
  for (int64_t i = 0; i < taps; ++i) {
    if (weight.dtype == DType::f64)
      out[i] = static_cast<T>(static_cast<const double*>(weight.data)[filter * taps + i]);
    else if (weight.dtype == DType::f32)
      out[i] = static_cast<T>(static_cast<const float*>(weight.data)[filter * taps + i]);
    else
      out[i] = to_float(static_cast<const bf16_t*>(weight.data)[filter * taps + i]);
  }
}
template <class T>
T bias_of(const View& bias, int64_t i) {
  if (!bias.defined()) return T{};
  const int64_t at = i * bias.strides[0];
  if (bias.dtype == DType::f64) return static_cast<T>(static_cast<const double*>(bias.data)[at]);
  if (bias.dtype == DType::f32) return static_cast<T>(static_cast<const float*>(bias.data)[at]);
  return to_float(static_cast<const bf16_t*>(bias.data)[at]);
}

// One row of outputs into `out`, which has room for whole steps.
template <class T>
void row_of_outputs(const Plane<T>& plane, const T* weight, T bias, int64_t y, T* out) {
  const ConvShape& c = plane.c;
  constexpr int kW = kWidth<T>;
  for (int64_t x = 0; x < c.out_columns; x += kStep<T>) {
    native<T> sum[4];
    for (native<T>& s : sum) s = native<T>{} + bias;
    for (int64_t r = 0; r < c.taps_y; ++r)
      for (int64_t s = 0; s < c.taps_x; ++s) {
        const T* p = plane.at(y, r, s) + x;
        const T w = weight[r * c.taps_x + s];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sum[i] += w * load_native(p + i * kW);
      }
    for (int i = 0; i < 4; ++i) store_native(out + x + i * kW, sum[i]);
  }
}

template <class To, class T>
void write_row(To* out, int64_t stride, const T* values, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i * stride] = convert(values[i], out);
}
template <class T>
void write_values(const View& v, int64_t at, int64_t stride, const T* values, int64_t n) {
  if constexpr (sizeof(T) == 8) {
    write_row(static_cast<double*>(v.data) + at, stride, values, n);
  } else if (v.dtype == DType::f32) {
    write_row(static_cast<float*>(v.data) + at, stride, values, n);
  } else {
    write_row(static_cast<bf16_t*>(v.data) + at, stride, values, n);
  }
}

template <class T>
T* row_words(int slot, int64_t n) {
  return static_cast<T*>(cpu::scratch(slot, (n + 2 * kStep<T>)*sizeof(T)));
}

}  // namespace

void conv_depthwise(const ConvShape& c, const View& x, const View& weight, const View& bias,
                    const View& y) {
  const int64_t taps = c.taps_y * c.taps_x;
  with_operand(x.dtype, [&]<class T, class In>(T, In) {
    parallel_for(c.images * c.groups, [&](int64_t tile) {
      const int64_t image = tile / c.groups, channel = tile % c.groups;
      Plane<T> plane(c, 0);
      plane.read(static_cast<const In*>(x.data) + image * x.strides[0] + channel * x.strides[1],
                 x.shape[2], x.shape[3], x.strides[2], x.strides[3]);
      T* w = row_words<T>(1, taps);
      T* out = row_words<T>(2, c.out_columns);
      for (int64_t i = 0; i < c.filters; ++i) {
        const int64_t filter = channel * c.filters + i;
        weights_of(weight, filter, taps, w);
        for (int64_t row = 0; row < c.out_rows; ++row) {
          row_of_outputs(plane, w, bias_of<T>(bias, filter), row, out);
          write_values(y, image * y.strides[0] + filter * y.strides[1] + row * y.strides[2],
                       y.strides[3], out, c.out_columns);
        }
      }
    });
  });
}

void conv_depthwise_input(const ConvShape& c, const View& y, const View& weight, const View& bias,
                          const View& x) {
  const int64_t taps = c.taps_y * c.taps_x;
  with_operand(y.dtype, [&]<class T, class In>(T, In) {
    parallel_for(c.images * c.groups, [&](int64_t tile) {
      const int64_t image = tile / c.groups, channel = tile % c.groups;
      Plane<T> plane(c, 0);
      std::memset(plane.data, 0, plane.rows * plane.row_words * sizeof(T));
      T* w = row_words<T>(1, taps);
      T* in = row_words<T>(2, c.out_columns > x.shape[3] ? c.out_columns : x.shape[3]);
      for (int64_t i = 0; i < c.filters; ++i) {
        const int64_t filter = channel * c.filters + i;
        weights_of(weight, filter, taps, w);
        for (int64_t row = 0; row < c.out_rows; ++row) {
          const In* from = static_cast<const In*>(y.data) + image * y.strides[0] +
                           filter * y.strides[1] + row * y.strides[2];
          for (int64_t k = 0; k < c.out_columns; ++k) in[k] = wide(from[k * y.strides[3]]);
          for (int64_t r = 0; r < c.taps_y; ++r)
            for (int64_t s = 0; s < c.taps_x; ++s) {
              T* __restrict to = plane.at(row, r, s);
              const T by = w[r * c.taps_x + s];
              for (int64_t k = 0; k < c.out_columns; ++k) to[k] += by * in[k];
            }
        }
      }
      const T extra = bias_of<T>(bias, channel);
      for (int64_t row = 0; row < x.shape[2]; ++row) {
        for (int64_t k = 0; k < x.shape[3]; ++k) in[k] = extra;
        const int64_t padded = row + c.padding_y;
        if (padded < plane.rows) {
          const T* from = plane.row(padded);
          plane.columns(x.shape[3],
                        [&](int64_t word, int64_t column) { in[column] += from[word]; });
        }
        write_values(x, image * x.strides[0] + channel * x.strides[1] + row * x.strides[2],
                     x.strides[3], in, x.shape[3]);
      }
    });
  });
}

void conv_depthwise_weight(const ConvShape& c, const View& x, const View& y, const View& dweight) {
  const int64_t taps = c.taps_y * c.taps_x;
  with_operand(x.dtype, [&]<class T, class In>(T, In) {
    constexpr int kW = kWidth<T>;
    parallel_for(c.groups, [&](int64_t channel) {
      T* total = static_cast<T*>(dweight.data) + channel * c.filters * taps;
      for (int64_t k = 0; k < c.filters * taps; ++k) total[k] = T{};
      for (int64_t image = 0; image < c.images; ++image) {
        Plane<T> plane(c, 0);
        plane.read(static_cast<const In*>(x.data) + image * x.strides[0] + channel * x.strides[1],
                   x.shape[2], x.shape[3], x.strides[2], x.strides[3]);
        T* g = row_words<T>(1, c.out_columns);
        native<T>* sums = static_cast<native<T>*>(cpu::scratch(2, taps * sizeof(native<T>)));
        for (int64_t i = 0; i < c.filters; ++i) {
          const int64_t filter = channel * c.filters + i;
          for (int64_t k = 0; k < taps; ++k) sums[k] = native<T>{};
          for (int64_t row = 0; row < c.out_rows; ++row) {
            const In* from = static_cast<const In*>(y.data) + image * y.strides[0] +
                             filter * y.strides[1] + row * y.strides[2];
            for (int64_t k = 0; k < c.out_columns; ++k) g[k] = wide(from[k * y.strides[3]]);
            for (int64_t k = c.out_columns; k < c.out_columns + kW; ++k) g[k] = T{};
            for (int64_t r = 0; r < c.taps_y; ++r)
              for (int64_t s = 0; s < c.taps_x; ++s) {
                const T* p = plane.at(row, r, s);
                native<T> sum{};
                for (int64_t k = 0; k < c.out_columns; k += kW)
                  sum += load_native(g + k) * load_native(p + k);
                sums[r * c.taps_x + s] += sum;
              }
          }
          for (int64_t k = 0; k < taps; ++k) {
            T sum{};
            for (int l = 0; l < kW; ++l) sum += sums[k][l];
            total[i * taps + k] += sum;
          }
        }
      }
    });
  });
}

WS_SHARED_END
