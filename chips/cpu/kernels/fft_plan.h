#pragma once
// The discrete Fourier transform of any length, of as many lines at once as a vector has lanes: a
// lane's bits depend on its line alone. Stockham's order of passes (no reordering) with radices 4,
// 2, 3, 5 and any other prime up to 61; lengths with greater primes by Bluestein's convolution.
// Sources: Van Loan, "Computational Frameworks for the Fast Fourier Transform"; Bluestein 1970.
// Include inside kernel sources only.

#include <cmath>

#include "chips/cpu/vector_math.h"

WS_KERNELS_BEGIN

constexpr int64_t kMostRadix = 61;
constexpr int kFftLanes = kVectorBytes / 4;

// Complex values of the lanes, parts apart.
struct FftLine {
  vf_native *re, *im;
  FftLine swapped() const { return {im, re}; }  // turns a transform into its inverse
};

struct FftValue {
  vf_native re, im;
};
WS_INLINE FftValue operator+(FftValue a, FftValue b) { return {a.re + b.re, a.im + b.im}; }
WS_INLINE FftValue operator-(FftValue a, FftValue b) { return {a.re - b.re, a.im - b.im}; }
WS_INLINE FftValue operator*(float s, FftValue a) { return {s * a.re, s * a.im}; }
WS_INLINE FftValue times(FftValue a, float re, float im) {
  return {a.re * re - a.im * im, a.re * im + a.im * re};
}
WS_INLINE FftValue times_minus_i(FftValue a) { return {a.im, -a.re}; }
WS_INLINE FftValue at(const FftLine& x, int64_t i) { return {x.re[i], x.im[i]}; }
WS_INLINE void put(const FftLine& x, int64_t i, FftValue v) { x.re[i] = v.re, x.im[i] = v.im; }

// exp(-2 pi i k / n) for k < n: products of two shorter tables, in doubles.
struct Circle {
  float *re, *im;
};
inline void fill_circle(int64_t n, Circle c) {
  int64_t step = 1;
  while (step * step < n) ++step;
  double fine_re[1024], fine_im[1024];
  if (step > 1024) step = 1024;
  const double turn = -6.283185307179586476925 / static_cast<double>(n);
  for (int64_t k = 0; k < step; ++k)
    fine_re[k] = std::cos(turn * static_cast<double>(k)),
    fine_im[k] = std::sin(turn * static_cast<double>(k));
  for (int64_t from = 0; from < n; from += step) {
    const double a = std::cos(turn * static_cast<double>(from)),
                 b = std::sin(turn * static_cast<double>(from));
    for (int64_t k = 0; k < step && from + k < n; ++k) {
      c.re[from + k] = static_cast<float>(a * fine_re[k] - b * fine_im[k]);
      c.im[from + k] = static_cast<float>(a * fine_im[k] + b * fine_re[k]);
    }
  }
}

template <int R>
WS_INLINE void butterfly(FftValue (&v)[R]) {
  if constexpr (R == 2) {
    const FftValue a = v[0] + v[1], b = v[0] - v[1];
    v[0] = a, v[1] = b;
  } else if constexpr (R == 3) {
    const FftValue sum = v[1] + v[2], side = times_minus_i(0.866025403784438647f * (v[1] - v[2]));
    const FftValue middle = v[0] - 0.5f * sum;
    v[0] = v[0] + sum, v[1] = middle + side, v[2] = middle - side;
  } else if constexpr (R == 4) {
    const FftValue a = v[0] + v[2], b = v[0] - v[2], c = v[1] + v[3],
                   d = times_minus_i(v[1] - v[3]);
    v[0] = a + c, v[1] = b + d, v[2] = a - c, v[3] = b - d;
  } else {
    static_assert(R == 5);
    const float c1 = 0.309016994374947424f, c2 = -0.809016994374947424f, s1 = 0.951056516295153572f,
                s2 = 0.587785252292473129f;
    const FftValue a = v[1] + v[4], b = v[2] + v[3], c = v[1] - v[4], d = v[2] - v[3];
    const FftValue m1 = v[0] + (c1 * a + c2 * b), m2 = v[0] + (c2 * a + c1 * b);
    const FftValue n1 = times_minus_i(s1 * c + s2 * d), n2 = times_minus_i(s2 * c - s1 * d);
    v[0] = v[0] + (a + b);
    v[1] = m1 + n1, v[4] = m1 - n1, v[2] = m2 + n2, v[3] = m2 - n2;
  }
}

// A length with its factors and tables. Words of memory: words_of(n).
struct FftPlan {
  int64_t n = 1, factors[64], count = 0;
  Circle circle{};
  // Bluestein's: a plan of length m, the chirp, and the transform of its conjugate.
  int64_t m = 0;
  Circle chirp{}, kernel{}, inner{};
  int64_t inner_factors[64], inner_count = 0;

  static int64_t split(int64_t n, int64_t (&factors)[64], bool& smooth) {
    int64_t count = 0;
    smooth = true;
    while (n % 4 == 0) factors[count++] = 4, n /= 4;
    for (int64_t f = 2; f * f <= n; ++f)
      while (n % f == 0) factors[count++] = f, n /= f;
    if (n > 1) factors[count++] = n;
    for (int64_t i = 0; i < count; ++i) smooth = smooth && factors[i] <= kMostRadix;
    return count;
  }
  static int64_t convolution_length(int64_t n) {
    int64_t m = 1;
    while (m < 2 * n - 1) m *= 2;
    return 3 * m / 4 >= 2 * n - 1 && m >= 4 ? 3 * m / 4 : m;
  }
  explicit FftPlan(int64_t length) : n(length) {
    bool smooth;
    count = split(n, factors, smooth);
    if (smooth) return;
    m = convolution_length(n);
    inner_count = split(m, inner_factors, smooth);
  }
  int64_t table_words() const { return 2 * (m ? 2 * n + 3 * m : n); }
  // Vectors that one transform works in, besides its input and output.
  int64_t work_vectors() const { return m ? 4 * m : 2 * n; }

  float* place(float* words) {
    const auto take = [&](Circle& c, int64_t k) { c = {words, words + k}, words += 2 * k; };
    if (!m) {
      take(circle, n);
      return words;
    }
    take(circle, n), take(chirp, n), take(kernel, m), take(inner, m);
    return words;
  }
};

template <int R>
void pass(const FftLine& x, const FftLine& y, int64_t length, int64_t s, int64_t n,
          const Circle& circle) {
  const int64_t m = length / R, turn = n / length;
  for (int64_t p = 0; p < m; ++p) {
    float re[R], im[R];
    for (int j = 1; j < R; ++j) re[j] = circle.re[turn * p * j], im[j] = circle.im[turn * p * j];
    for (int64_t q = 0; q < s; ++q) {
      FftValue v[R];
#pragma GCC unroll 5
      for (int k = 0; k < R; ++k) v[k] = at(x, q + s * (p + m * k));
      butterfly<R>(v);
      put(y, q + s * (R * p), v[0]);
#pragma GCC unroll 5
      for (int j = 1; j < R; ++j) put(y, q + s * (R * p + j), times(v[j], re[j], im[j]));
    }
  }
}

inline void pass_of_prime(int64_t r, const FftLine& x, const FftLine& y, int64_t length, int64_t s,
                          int64_t n, const Circle& circle) {
  const int64_t m = length / r, turn = n / length, part = n / r;
  for (int64_t p = 0; p < m; ++p)
    for (int64_t q = 0; q < s; ++q) {
      FftValue v[kMostRadix];
      for (int64_t k = 0; k < r; ++k) v[k] = at(x, q + s * (p + m * k));
      for (int64_t j = 0; j < r; ++j) {
        FftValue sum = v[0];
        int64_t angle = 0;
        for (int64_t k = 1; k < r; ++k) {
          angle += j;
          if (angle >= r) angle -= r;
          sum = sum + times(v[k], circle.re[part * angle], circle.im[part * angle]);
        }
        const int64_t w = turn * p * j;
        put(y, q + s * (r * p + j), times(sum, circle.re[w], circle.im[w]));
      }
    }
}

// From x to y or back to x; returns where the result is.
inline FftLine run_passes(int64_t n, const int64_t* factors, int64_t count, const Circle& circle,
                          FftLine x, FftLine y) {
  int64_t length = n, s = 1;
  for (int64_t f = 0; f < count; ++f) {
    const int64_t r = factors[f];
    if (r == 4)
      pass<4>(x, y, length, s, n, circle);
    else if (r == 2)
      pass<2>(x, y, length, s, n, circle);
    else if (r == 3)
      pass<3>(x, y, length, s, n, circle);
    else if (r == 5)
      pass<5>(x, y, length, s, n, circle);
    else
      pass_of_prime(r, x, y, length, s, n, circle);
    length /= r, s *= r;
    const FftLine t = x;
    x = y, y = t;
  }
  return x;
}

// Transforms x [n] of all lanes; `work` has work_vectors(). Gives where the result is.
inline FftLine transform(const FftPlan& p, FftLine x, vf_native* work) {
  if (!p.m) return run_passes(p.n, p.factors, p.count, p.circle, x, {work, work + p.n});
  FftLine a{work, work + p.m}, b{work + 2 * p.m, work + 3 * p.m};
  for (int64_t k = 0; k < p.n; ++k) put(a, k, times(at(x, k), p.chirp.re[k], p.chirp.im[k]));
  for (int64_t k = p.n; k < p.m; ++k) put(a, k, {vf_native{}, vf_native{}});
  FftLine c = run_passes(p.m, p.inner_factors, p.inner_count, p.inner, a, b);
  for (int64_t k = 0; k < p.m; ++k) put(c, k, times(at(c, k), p.kernel.re[k], p.kernel.im[k]));
  FftLine d = c.re == a.re ? b : a;
  c = run_passes(p.m, p.inner_factors, p.inner_count, p.inner, c.swapped(), d.swapped()).swapped();
  for (int64_t k = 0; k < p.n; ++k) put(x, k, times(at(c, k), p.chirp.re[k], p.chirp.im[k]));
  return x;
}

// Fills the tables of a plan that has its place. `work` as of transform().
inline void fill_tables(FftPlan& p, vf_native* work) {
  fill_circle(p.n, p.circle);
  if (!p.m) return;
  fill_circle(p.m, p.inner);
  // exp(-pi i k^2 / n): the circle of 2 n at k^2 mod 2 n.
  for (int64_t k = 0; k < p.n; ++k) {
    const auto square =
        static_cast<int64_t>(static_cast<unsigned __int128>(k) * static_cast<unsigned __int128>(k) %
                             static_cast<unsigned __int128>(2 * p.n));
    const double angle =
        -3.14159265358979323846 * static_cast<double>(square) / static_cast<double>(p.n);
    p.chirp.re[k] = static_cast<float>(std::cos(angle));
    p.chirp.im[k] = static_cast<float>(std::sin(angle));
  }
  FftLine a{work, work + p.m}, b{work + 2 * p.m, work + 3 * p.m};
  for (int64_t k = 0; k < p.m; ++k) put(a, k, {vf_native{}, vf_native{}});
  for (int64_t k = 0; k < p.n; ++k) {
    const FftValue v{vf_native{} + p.chirp.re[k], vf_native{} - p.chirp.im[k]};
    put(a, k, v);
    if (k) put(a, p.m - k, v);
  }
  const FftLine c = run_passes(p.m, p.inner_factors, p.inner_count, p.inner, a, b);
  for (int64_t k = 0; k < p.m; ++k)
    p.kernel.re[k] = c.re[k][0] / static_cast<float>(p.m),
    p.kernel.im[k] = c.im[k][0] / static_cast<float>(p.m);
}

WS_KERNELS_END
