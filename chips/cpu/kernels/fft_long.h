#pragma once
// Long lines of n = n1 n2 values as n2 transforms of n1 and n1 of n2 (Bailey's four steps), so that
// the lanes of a vector work on one line and its parts stay in the caches. Whether a length is long
// does not depend on the number of lines. Include inside kernel sources only.

#include "chips/cpu/kernels/fft_plan.h"

WS_KERNELS_BEGIN

constexpr int64_t kLongLine = 4096;  // from here on: below, a vector of lines fits the second cache

// exp(-2 pi i k / n) as the product of two short tables.
struct TwoCircles {
  int64_t n = 1, step = 1;
  int bits = 0;  // step is 2^bits
  Circle fine{}, coarse{};
  int64_t words() const { return 2 * (step + n / step + 1); }
  explicit TwoCircles(int64_t n) : n(n) {
    while (step * step < n) step *= 2, ++bits;
  }
  void fill(float* words) {
    const int64_t count = n / step + 1;
    fine = {words, words + step}, coarse = {words + 2 * step, words + 2 * step + count};
    const double turn = -6.283185307179586476925 / static_cast<double>(n);
    for (int64_t k = 0; k < step; ++k)
      fine.re[k] = static_cast<float>(std::cos(turn * static_cast<double>(k))),
      fine.im[k] = static_cast<float>(std::sin(turn * static_cast<double>(k)));
    for (int64_t k = 0; k < count; ++k)
      coarse.re[k] = static_cast<float>(std::cos(turn * static_cast<double>(k * step))),
      coarse.im[k] = static_cast<float>(std::sin(turn * static_cast<double>(k * step)));
  }
  WS_INLINE void at(int64_t k, float& re, float& im) const {
    const int64_t a = k >> bits, b = k & (step - 1);
    re = coarse.re[a] * fine.re[b] - coarse.im[a] * fine.im[b];
    im = coarse.re[a] * fine.im[b] + coarse.im[a] * fine.re[b];
  }
};

// Complex values apart by `step` floats, imaginary parts `side` floats after the real ones.
struct Strided {
  float* data;
  int64_t step, side;
  float* at(int64_t i) const { return data + i * step; }
};

struct LongPlan {
  int64_t n, n1 = 0, n2 = 0;
  FftPlan first, second;
  TwoCircles turn;

  // The greatest divisor up to the root, when all primes are small; else 0.
  static int64_t split(int64_t n) {
    if (n < kLongLine) return 0;
    int64_t rest = n;
    for (int64_t f = 2; f <= kMostRadix; ++f)
      while (rest % f == 0) rest /= f;
    if (rest != 1) return 0;
    for (int64_t d = static_cast<int64_t>(std::sqrt(static_cast<double>(n))) + 1; d >= 16; --d)
      if (n % d == 0 && d <= n / d) return d;
    return 0;
  }
  explicit LongPlan(int64_t n)
      : n(n),
        n1(split(n)),
        n2(n1 ? n / n1 : 0),
        first(n1 ? n1 : 1),
        second(n1 ? n2 : 1),
        turn(n1 ? n : 1) {}
  explicit operator bool() const { return n1 > 0; }

  int64_t words() const { return first.table_words() + second.table_words() + turn.words(); }
  void fill(float* words) {
    float* at = second.place(first.place(words));
    fill_tables(first, nullptr), fill_tables(second, nullptr);
    turn.fill(at);
  }
};

// A vector's memory of the running thread, for lines of n.
inline FftLine line_memory(int64_t n, vf_native*& work) {
  vf_native* v =
      static_cast<vf_native*>(cpu::scratch(0, static_cast<size_t>(4 * n) * sizeof(vf_native)));
  work = v + 2 * n;
  return {v, v + n};
}

WS_INLINE vf_native read_lanes(const float* p, int64_t apart, int64_t count) {
  alignas(64) float x[kFftLanes];
  for (int64_t l = 0; l < kFftLanes; ++l) x[l] = p[(l < count ? l : 0) * apart];
  vf_native v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
WS_INLINE void write_lanes(float* p, int64_t apart, int64_t count, vf_native v) {
  alignas(64) float x[kFftLanes];
  std::memcpy(x, &v, sizeof v);
  for (int64_t l = 0; l < count; ++l) p[l * apart] = x[l];
}

// One line from x to y through `middle` (2 n floats), forward; parts exchanged in both give the
// backward transform.
inline void transform_long(const LongPlan& p, const Strided& x, const Strided& y, float scale,
                           float* middle) {
  const int64_t n1 = p.n1, n2 = p.n2;
  parallel_for((n2 + kFftLanes - 1) / kFftLanes, [&](int64_t tile) {
    const int64_t column = tile * kFftLanes, left = n2 - column,
                  count = left < kFftLanes ? left : kFftLanes;
    vf_native* work;
    const FftLine line = line_memory(n1, work);
    for (int64_t j = 0; j < n1; ++j) {
      const float* from = x.at(j * n2 + column);
      put(line, j, {read_lanes(from, x.step, count), read_lanes(from + x.side, x.step, count)});
    }
    const FftLine done = transform(p.first, line, work);
    for (int64_t k = 0; k < n1; ++k) {
      float* to = middle + 2 * (k * n2 + column);
      for (int64_t l = 0; l < count; ++l) {
        float re, im;
        p.turn.at((column + l) * k, re, im);
        const float a = done.re[k][l], b = done.im[k][l];
        to[2 * l] = a * re - b * im, to[2 * l + 1] = a * im + b * re;
      }
    }
  });
  parallel_for((n1 + kFftLanes - 1) / kFftLanes, [&](int64_t tile) {
    const int64_t row = tile * kFftLanes, left = n1 - row,
                  count = left < kFftLanes ? left : kFftLanes;
    vf_native* work;
    const FftLine line = line_memory(n2, work);
    for (int64_t j = 0; j < n2; ++j) {
      const float* from = middle + 2 * (row * n2 + j);
      put(line, j, {read_lanes(from, 2 * n2, count), read_lanes(from + 1, 2 * n2, count)});
    }
    const FftLine done = transform(p.second, line, work);
    for (int64_t k = 0; k < n2; ++k) {
      float* to = y.at(row + n1 * k);
      const FftValue v = scale * at(done, k);
      write_lanes(to, y.step, count, v.re), write_lanes(to + y.side, y.step, count, v.im);
    }
  });
}

WS_KERNELS_END
