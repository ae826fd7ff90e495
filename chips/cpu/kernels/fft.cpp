// Fourier transforms along one dimension, attributes {dimension, scale, forward}:
//   "fft_c2c"  out y c64, in x c64, of one shape
//   "fft_r2c"  out y c64 [..., n / 2 + 1, ...], in x f32 [..., n, ...]; forward
//   "fft_c2r"  out y f32 [..., n, ...], in x c64 [..., n / 2 + 1, ...]; backward
// Any strides. A tile is as many lines as a vector has lanes; the sum of a line is not normalised
// but by scale. An even number of real values is transformed as half as many complex ones.

#include "chips/cpu/kernels/fft_long.h"
#include "chips/cpu/kernels/transpose.h"

WS_KERNELS_BEGIN

// The lines of a view along `dim`, counted row-major over the other dimensions.
struct Lines {
  const View& v;
  int dim;
  int64_t count = 1, n, stride, unit;  // unit: floats of an element
  Lines(const View& v, int dim)
      : v(v), dim(dim), n(v.shape[dim]), stride(v.strides[dim]), unit(is_complex(v.dtype) ? 2 : 1) {
    for (int d = 0; d < v.dims; ++d) count *= d == dim ? 1 : v.shape[d];
    stride *= unit;
  }
  float* at(int64_t line) const {
    int64_t offset = 0;
    for (int d = v.dims - 1; d >= 0; --d) {
      if (d == dim) continue;
      offset += line % v.shape[d] * v.strides[d];
      line /= v.shape[d];
    }
    return static_cast<float*>(v.data) + offset * unit;
  }
};

// Up to a vector of lines: what their elements are read from or written to. A lane without a line
// repeats the first.
struct Lanes {
  float* line[kFftLanes];
  int64_t stride;
  int used;
  Lanes(const Lines& l, int64_t first) : stride(l.stride) {
    used = static_cast<int>(l.count - first < kFftLanes ? l.count - first : kFftLanes);
    for (int i = 0; i < kFftLanes; ++i) line[i] = l.at(first + (i < used ? i : 0));
  }
  vf_native read(int64_t i, int part) const {
    alignas(64) float x[kFftLanes];
    for (int l = 0; l < kFftLanes; ++l) x[l] = line[l][i * stride + part];
    vf_native v;
    std::memcpy(&v, x, sizeof v);
    return v;
  }
  void write(int64_t i, int part, vf_native v) const {
    alignas(64) float x[kFftLanes];
    std::memcpy(x, &v, sizeof v);
    for (int l = 0; l < used; ++l) line[l][i * stride + part] = x[l];
  }
  FftValue read(int64_t i) const { return {read(i, 0), read(i, 1)}; }
  void write(int64_t i, FftValue v) const { write(i, 0, v.re), write(i, 1, v.im); }
};

// The first of n pairs of successive floats of each lane, as many as come in blocks: f(i, pair).
// Returns how many.
template <class F>
WS_INLINE int64_t read_pairs(const Lanes& from, int64_t n, F&& f) {
  int64_t i = 0;
#if defined(__AVX2__) && !defined(__AVX512F__)
  for (; i + 4 <= n; i += 4) {
    __m256 t[8];
#pragma GCC unroll 8
    for (int l = 0; l < 8; ++l) t[l] = _mm256_loadu_ps(from.line[l] + 2 * i);
    transpose8(t);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) f(i + j, FftValue{(vf_native)t[2 * j], (vf_native)t[2 * j + 1]});
  }
#endif
  return i;
}

// Writes successive pairs of floats of each lane, f(i) one after another.
template <class F>
WS_INLINE int64_t write_pairs(const Lanes& to, int64_t n, F&& f) {
  int64_t i = 0;
#if defined(__AVX2__) && !defined(__AVX512F__)
  for (; i + 4 <= n; i += 4) {
    __m256 t[8];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const FftValue v = f(i + j);
      t[2 * j] = (__m256)v.re, t[2 * j + 1] = (__m256)v.im;
    }
    transpose8(t);
    for (int l = 0; l < to.used; ++l) _mm256_storeu_ps(to.line[l] + 2 * i, t[l]);
  }
#endif
  return i;
}

constexpr int64_t kFftTask = 1 << 13;  // complex values that one thread takes at a time

// Runs tile(first line, x of plan.n, work) in parallel; tables live in this thread's memory.
template <class F>
void each_lines(FftPlan& plan, int64_t lines, F&& tile) {
  if (lines == 0) return;
  float* words =
      static_cast<float*>(cpu::scratch(1, static_cast<size_t>(plan.table_words()) * sizeof(float)));
  plan.place(words);
  const auto vectors = [&plan] {
    return static_cast<vf_native*>(
        cpu::scratch(0, static_cast<size_t>(2 * plan.n + plan.work_vectors()) * sizeof(vf_native)));
  };
  fill_tables(plan, vectors() + 2 * plan.n);
  // Few values are done sooner than other threads would begin.
  const int64_t of_tile = kFftLanes * (plan.n + plan.m), share = kFftTask / of_tile + 1;
  parallel_for((lines + kFftLanes * share - 1) / (kFftLanes * share), [&](int64_t t) {
    vf_native* v = vectors();
    const int64_t end = std::min(lines, (t + 1) * kFftLanes * share);
    for (int64_t first = t * kFftLanes * share; first < end; first += kFftLanes)
      tile(first, FftLine{v, v + plan.n}, v + 2 * plan.n);
  });
}

// Long lines: f(line, memory of its own for `words` floats), many at a time or the team on each.
template <class F>
void each_long_line(LongPlan& plan, int64_t lines, int64_t words, F&& f) {
  plan.fill(
      static_cast<float*>(cpu::scratch(1, static_cast<size_t>(plan.words()) * sizeof(float))));
  const auto run = [&](int64_t line) {
    f(line, static_cast<float*>(cpu::scratch(3, static_cast<size_t>(words) * sizeof(float))));
  };
  if (lines >= 4) return parallel_for(lines, run);
  for (int64_t line = 0; line < lines; ++line) run(line);
}

// Elements of a complex line, parts exchanged for the backward transform.
Strided strided(const Lines& l, int64_t line, bool forward) {
  float* p = l.at(line);
  return forward ? Strided{p, l.stride, 1} : Strided{p + 1, l.stride, -1};
}
// Pairs of real values as complex ones.
Strided strided_pairs(const Lines& l, int64_t line, bool forward) {
  float* p = l.at(line);
  return forward ? Strided{p, 2 * l.stride, l.stride}
                 : Strided{p + l.stride, 2 * l.stride, -l.stride};
}

constexpr int64_t kPairsOfTile = 4096;
template <class F>
void each_piece(int64_t count, F&& f) {
  parallel_for((count + kPairsOfTile - 1) / kPairsOfTile, [&](int64_t tile) {
    const int64_t end = (tile + 1) * kPairsOfTile < count ? (tile + 1) * kPairsOfTile : count;
    for (int64_t k = tile * kPairsOfTile; k < end; ++k) f(k);
  });
}

int dim_of(const char* kernel, const Call& call, DType out, DType in) {
  if (call.out[0].dtype != out || call.in[0].dtype != in || call.attrs < 2)
    cpu::kernel_refuses(kernel, "the dtypes are not f32 and c64");
  return static_cast<int>(call.attr[0].i);
}

void fft_c2c(const Call& call) {
  const int dim = dim_of("fft_c2c", call, DType::c64, DType::c64);
  const auto scale = static_cast<float>(call.attr[1].f);
  const bool forward = call.attr[2].i != 0;
  const Lines in(call.in[0], dim), out(call.out[0], dim);
  if (LongPlan plan(in.n); plan)
    return each_long_line(plan, out.count, 2 * in.n, [&](int64_t line, float* middle) {
      transform_long(plan, strided(in, line, forward), strided(out, line, forward), scale, middle);
    });
  FftPlan plan(in.n);
  each_lines(plan, out.count, [&](int64_t first, FftLine x, vf_native* work) {
    const Lanes from(in, first), to(out, first);
    const auto put_x = [&](int64_t i, FftValue v) { put(x, i, v); };
    int64_t i = in.stride == 2 ? read_pairs(from, in.n, put_x) : 0;
    for (; i < in.n; ++i) put(x, i, from.read(i));
    FftLine y = transform(plan, forward ? x : x.swapped(), work);
    if (!forward) y = y.swapped();
    const auto scaled_y = [&](int64_t i) { return scale * at(y, i); };
    i = out.stride == 2 ? write_pairs(to, in.n, scaled_y) : 0;
    for (; i < in.n; ++i) to.write(i, scale * at(y, i));
  });
}
WS_KERNEL("fft_c2c", fft_c2c)

// X[k] of n real values from the transform Z of n / 2 pairs of them.
WS_INLINE FftValue from_halves(FftValue z, FftValue mirrored, float re, float im) {
  const FftValue even{0.5f * (z.re + mirrored.re), 0.5f * (z.im - mirrored.im)},
      odd{0.5f * (z.im + mirrored.im), 0.5f * (mirrored.re - z.re)};
  return even + times(odd, re, im);
}

struct Pair {
  float re, im;
};

// The formulas of from_halves() for one number.
void long_r2c(LongPlan& plan, const Lines& in, const Lines& out, float scale) {
  const int64_t n = in.n, half = n / 2;
  TwoCircles turn(n);
  turn.fill(
      static_cast<float*>(cpu::scratch(2, static_cast<size_t>(turn.words()) * sizeof(float))));
  each_long_line(plan, out.count, 4 * half, [&](int64_t line, float* memory) {
    float* z = memory + 2 * half;
    transform_long(plan, strided_pairs(in, line, true), {z, 2, 1}, 1, memory);
    float* to = out.at(line);
    each_piece(half + 1, [&](int64_t k) {
      const float *a = z + 2 * (k == half ? 0 : k), *b = z + 2 * (k == 0 ? 0 : half - k);
      const Pair even{0.5f * (a[0] + b[0]), 0.5f * (a[1] - b[1])},
          odd{0.5f * (a[1] + b[1]), 0.5f * (b[0] - a[0])};
      float re = k == half ? -1.0f : 1.0f, im = 0;
      if (k != 0 && k != half) turn.at(k, re, im);
      float* y = to + k * out.stride;
      y[0] = scale * (even.re + (odd.re * re - odd.im * im));
      y[1] = k == 0 || k == half ? 0.0f : scale * (even.im + (odd.re * im + odd.im * re));
    });
  });
}

// exp(-2 pi i k / n) for k < n, in the thread's memory beside the plan's tables.
Circle circle_of(int64_t n) {
  Circle turn{};
  turn.re = static_cast<float*>(cpu::scratch(2, static_cast<size_t>(2 * n) * sizeof(float)));
  turn.im = turn.re + n;
  fill_circle(n, turn);
  return turn;
}

void fft_r2c(const Call& call) {
  const int dim = dim_of("fft_r2c", call, DType::c64, DType::f32);
  const auto scale = static_cast<float>(call.attr[1].f);
  const Lines in(call.in[0], dim), out(call.out[0], dim);
  const int64_t n = in.n, half = n / 2;
  const bool even = n % 2 == 0;
  if (LongPlan plan(even ? half : 0); plan) return long_r2c(plan, in, out, scale);
  FftPlan plan(even ? half : n);
  const Circle turn = even && out.count ? circle_of(n) : Circle{};
  each_lines(plan, out.count, [&](int64_t first, FftLine x, vf_native* work) {
    const Lanes from(in, first), to(out, first);
    if (!even) {
      for (int64_t i = 0; i < n; ++i) put(x, i, {from.read(i, 0), vf_native{}});
      const FftLine y = transform(plan, x, work);
      for (int64_t k = 0; k <= half; ++k) to.write(k, scale * at(y, k));
      return;
    }
    const auto put_x = [&](int64_t i, FftValue v) { put(x, i, v); };
    int64_t i = in.stride == 1 ? read_pairs(from, half, put_x) : 0;
    for (; i < half; ++i) put(x, i, {from.read(2 * i, 0), from.read(2 * i + 1, 0)});
    const FftLine y = transform(plan, x, work);
    const auto result = [&](int64_t k) {
      const FftValue z = at(y, k == half ? 0 : k), mirrored = at(y, k ? half - k : 0);
      FftValue v = k == half ? from_halves(z, at(y, 0), -1, 0)
                             : from_halves(z, mirrored, turn.re[k], turn.im[k]);
      if (k == 0 || k == half) v.im = vf_native{};
      return scale * v;
    };
    i = out.stride == 2 ? write_pairs(to, half + 1, result) : 0;
    for (; i <= half; ++i) to.write(i, result(i));
  });
}
WS_KERNEL("fft_r2c", fft_r2c)

void long_c2r(LongPlan& plan, const Lines& in, const Lines& out, float scale) {
  const int64_t n = out.n, half = n / 2;
  TwoCircles turn(n);
  turn.fill(
      static_cast<float*>(cpu::scratch(2, static_cast<size_t>(turn.words()) * sizeof(float))));
  each_long_line(plan, out.count, 4 * half, [&](int64_t line, float* memory) {
    float* z = memory + 2 * half;
    const float* from = in.at(line);
    each_piece(half, [&](int64_t k) {
      const float *x = from + k * in.stride, *m = from + (half - k) * in.stride;
      const Pair a{x[0], k == 0 ? 0.0f : x[1]}, b{m[0], k == 0 ? 0.0f : -m[1]};
      float re, im;
      turn.at(k, re, im);
      const Pair d{a.re - b.re, a.im - b.im};
      const Pair odd{d.re * re + d.im * im, d.im * re - d.re * im};
      z[2 * k] = a.re + b.re - odd.im, z[2 * k + 1] = a.im + b.im + odd.re;
    });
    transform_long(plan, {z + 1, 2, -1}, strided_pairs(out, line, false), scale, memory);
  });
}

// The first n complex values of each lane, in the thread's memory beside the plan's.
FftLine spectrum(const Lanes& from, int64_t n, bool successive) {
  auto* memory =
      static_cast<vf_native*>(cpu::scratch(3, static_cast<size_t>(2 * n) * sizeof(vf_native)));
  const FftLine values{memory, memory + n};
  const auto keep = [&](int64_t i, FftValue v) { put(values, i, v); };
  int64_t i = successive ? read_pairs(from, n, keep) : 0;
  for (; i < n; ++i) keep(i, from.read(i));
  return values;
}

void fft_c2r(const Call& call) {
  const int dim = dim_of("fft_c2r", call, DType::f32, DType::c64);
  const auto scale = static_cast<float>(call.attr[1].f);
  const Lines in(call.in[0], dim), out(call.out[0], dim);
  const int64_t n = out.n, half = n / 2;
  const bool even = n % 2 == 0;
  if (LongPlan plan(even ? half : 0); plan) return long_c2r(plan, in, out, scale);
  FftPlan plan(even ? half : n);
  const Circle turn = even && out.count ? circle_of(n) : Circle{};
  each_lines(plan, out.count, [&](int64_t first, FftLine x, vf_native* work) {
    const Lanes from(in, first), to(out, first);
    if (!even) {
      for (int64_t k = 0; k <= half; ++k) {
        FftValue v = from.read(k);
        if (k == 0) v.im = vf_native{};  // it counts as real
        put(x, k, v);
        if (k) put(x, n - k, {v.re, -v.im});
      }
      const FftLine y = transform(plan, x.swapped(), work).swapped();
      for (int64_t i = 0; i < n; ++i) to.write(i, 0, scale * y.re[i]);
      return;
    }
    const FftLine in_order = spectrum(from, half + 1, in.stride == 2);
    in_order.im[0] = in_order.im[half] = vf_native{};  // these count as real
    for (int64_t k = 0; k < half; ++k) {
      const FftValue a = at(in_order, k), b = at(in_order, half - k), mirrored{b.re, -b.im};
      const FftValue odd = times(a - mirrored, turn.re[k], -turn.im[k]);
      const FftValue sum = a + mirrored;
      put(x, k, {sum.re - odd.im, sum.im + odd.re});
    }
    const FftLine y = transform(plan, x.swapped(), work).swapped();
    const auto scaled_y = [&](int64_t i) { return scale * at(y, i); };
    int64_t i = out.stride == 1 ? write_pairs(to, half, scaled_y) : 0;
    for (; i < half; ++i)
      to.write(2 * i, 0, scale * y.re[i]), to.write(2 * i + 1, 0, scale * y.im[i]);
  });
}
WS_KERNEL("fft_c2r", fft_c2r)

WS_KERNELS_END
