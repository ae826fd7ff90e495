#pragma once
// Elementary functions on vectors of the instruction set's own width, for elementwise kernels: f32
// by polynomials, within a few units in the last place over the whole range (subnormal numbers,
// infinities and NaN included), f64 by the C library lane by lane, i64 where a function makes sense
// for integers. A lane's bits depend on that lane alone. Include inside kernel sources only.
// Sources of the methods: Cody and Waite, "Software Manual for the Elementary Functions"; Muller,
// "Elementary Functions". The polynomials of log are Cephes' (Moshier); erf's quotient was fitted
// for this file.

#include <type_traits>

#include "chips/cpu/native.h"

WS_KERNELS_BEGIN

typedef float vf_native __attribute__((vector_size(kVectorBytes)));
typedef double vd_native __attribute__((vector_size(kVectorBytes)));
typedef int64_t vl_native __attribute__((vector_size(kVectorBytes)));
typedef int32_t vi_native __attribute__((vector_size(kVectorBytes)));
typedef uint32_t vui_native __attribute__((vector_size(kVectorBytes)));
typedef int16_t vs_native __attribute__((vector_size(kVectorBytes)));
typedef int8_t vb_native __attribute__((vector_size(kVectorBytes)));
typedef uint64_t vul_native __attribute__((vector_size(kVectorBytes)));
typedef float vf_half __attribute__((vector_size(kVectorBytes / 2)));

/// One number in all lanes.
template <class V>
WS_INLINE V number(double c) {
  return V{} + static_cast<std::remove_reference_t<decltype(V{}[0])>>(c);
}

WS_INLINE vf_native abs(vf_native x) { return (vf_native)((vi_native)x & 0x7fffffff); }
WS_INLINE vd_native abs(vd_native x) { return (vd_native)((vl_native)x & INT64_MAX); }
WS_INLINE vl_native abs(vl_native x) { return x < 0 ? -x : x; }
WS_INLINE vi_native abs(vi_native x) { return x < 0 ? -x : x; }
/// The magnitude of x with the sign of s.
WS_INLINE vf_native with_sign(vf_native x, vf_native s) {
  return (vf_native)(((vi_native)x & 0x7fffffff) | ((vi_native)s & INT32_MIN));
}
WS_INLINE vd_native with_sign(vd_native x, vd_native s) {
  return (vd_native)(((vl_native)x & INT64_MAX) | ((vl_native)s & INT64_MIN));
}

// To whole numbers, halves to even ones; a zero keeps its sign.
#if defined(__AVX512F__)
#define WS_ROUNDING(name, mode)                                                   \
  WS_INLINE vf_native name(vf_native x) {                                         \
    return (vf_native)_mm512_roundscale_ps((__m512)x, mode | _MM_FROUND_NO_EXC);  \
  }                                                                               \
  WS_INLINE vd_native name(vd_native x) {                                         \
    return (vd_native)_mm512_roundscale_pd((__m512d)x, mode | _MM_FROUND_NO_EXC); \
  }
#elif defined(__AVX2__)
#define WS_ROUNDING(name, mode)                                              \
  WS_INLINE vf_native name(vf_native x) {                                    \
    return (vf_native)_mm256_round_ps((__m256)x, mode | _MM_FROUND_NO_EXC);  \
  }                                                                          \
  WS_INLINE vd_native name(vd_native x) {                                    \
    return (vd_native)_mm256_round_pd((__m256d)x, mode | _MM_FROUND_NO_EXC); \
  }
#else
// Adding and taking away 2^23 (2^52) rounds to the nearest whole number, halves to even.
template <class V>
WS_INLINE V round_magnitude(V a) {
  const V big = number<V>(sizeof(a[0]) == 4 ? 8388608.0 : 4503599627370496.0);
  return a < big ? (a + big) - big : a;
}
template <class V>
WS_INLINE V round_any(V x) {
  return with_sign(round_magnitude(abs(x)), x);
}
template <class V>
WS_INLINE V trunc_any(V x) {
  const V a = abs(x), r = round_magnitude(a);
  return with_sign(r > a ? r - number<V>(1) : r, x);
}
template <class V>
WS_INLINE V floor_any(V x) {
  const V r = round_any(x);
  return with_sign(r > x ? r - number<V>(1) : r, x);
}
template <class V>
WS_INLINE V ceil_any(V x) {
  const V r = round_any(x);
  return with_sign(r < x ? r + number<V>(1) : r, x);
}
#define WS_ROUNDING(name, mode)                                   \
  WS_INLINE vf_native name(vf_native x) { return name##_any(x); } \
  WS_INLINE vd_native name(vd_native x) { return name##_any(x); }
#endif
WS_ROUNDING(round, _MM_FROUND_TO_NEAREST_INT)
WS_ROUNDING(trunc, _MM_FROUND_TO_ZERO)
WS_ROUNDING(floor, _MM_FROUND_TO_NEG_INF)
WS_ROUNDING(ceil, _MM_FROUND_TO_POS_INF)
#undef WS_ROUNDING
WS_INLINE vl_native round(vl_native x) { return x; }
WS_INLINE vl_native trunc(vl_native x) { return x; }
WS_INLINE vl_native floor(vl_native x) { return x; }
WS_INLINE vl_native ceil(vl_native x) { return x; }

WS_INLINE auto isinf(vf_native x) { return abs(x) == __builtin_inff(); }
WS_INLINE auto isinf(vd_native x) { return abs(x) == __builtin_inf(); }
WS_INLINE auto isinf(vl_native) { return vl_native{}; }
WS_INLINE auto isfinite(vf_native x) { return abs(x) < __builtin_inff(); }
WS_INLINE auto isfinite(vd_native x) { return abs(x) < __builtin_inf(); }
WS_INLINE auto isfinite(vl_native) { return ~vl_native{}; }

WS_INLINE vf_native sqrt(vf_native x) {
#if defined(__AVX512F__)
  return (vf_native)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (vf_native)_mm256_sqrt_ps((__m256)x);
#else
  for (int i = 0; i < kVectorBytes / 4; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// c[0] + c[1] x + ... by Horner's rule.
template <class V, int N>
WS_INLINE V polynomial(V x, const double (&c)[N]) {
  V p = number<V>(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) p = p * x + number<V>(c[i]);
  return p;
}

// y 2^k for whole k in [-252, 254], in two steps so that subnormal results are rounded once more at
// most.
WS_INLINE vf_native scaled(vf_native y, vi_native k) {
  const vi_native half = k >> 1;
  return y * (vf_native)((half + 127) << 23) * (vf_native)((k - half + 127) << 23);
}
// The nearest whole number of |x| < 2^22.
WS_INLINE vf_native nearest(vf_native x) { return (x + 12582912.0f) - 12582912.0f; }
WS_INLINE vf_native within(vf_native x, float low, float high) {  // NaN stays
  x = x > high ? number<vf_native>(high) : x;
  return x < low ? number<vf_native>(low) : x;
}

// exp(r) - 1 for |r| <= ln 2 / 2, and the whole multiple of ln 2 that was taken from x.
WS_INLINE vf_native exp_parts(vf_native x, vi_native& k) {
  const vf_native n = nearest(x * 1.44269504f);
  vf_native r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  k = __builtin_convertvector(n, vi_native);
  const vf_native p = polynomial(r, {5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2,
                                     8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4});
  return p * (r * r) + r;
}
WS_INLINE vf_native exp(vf_native x) {
  vi_native k;
  const vf_native e = exp_parts(within(x, -104.0f, 88.8f), k);
  return scaled(e + 1.0f, k);
}
WS_INLINE vf_native exp2(vf_native x) {
  const vf_native c = within(x, -150.0f, 128.0f), n = nearest(c);
  const vf_native p =
      polynomial(c - n, {1.0, 0.6931471805599453, 0.2402265069591007, 0.05550410866482158,
                         9.618129107628477e-3, 1.333355814642844e-3, 1.540353039338161e-4,
                         1.525273380405984e-5});
  return scaled(p, __builtin_convertvector(n, vi_native));
}
WS_INLINE vf_native expm1(vf_native x) {
  vi_native k;
  const vf_native e = exp_parts(within(x, -20.0f, 88.8f), k);
  // (e + (1 - 2^-k)) 2^k; 2^-k is nothing beside 1 for large k.
  const vi_native up = k > 30 ? vi_native{} + 30 : k;
  const vf_native y = scaled(e + (1.0f - (vf_native)((127 - up) << 23)), k);
  return x == 0.0f ? x : y;
}

WS_INLINE vf_native log(vf_native x) {
  const vi_native tiny = x < 1.17549435e-38f;
  const vf_native grown = tiny ? x * 8388608.0f : x;
  const vi_native bits =
      (vi_native)grown - 0x3f3504f3;  // so that the fraction is in [sqrt 1/2, sqrt 2)
  const vi_native e = bits >> 23;
  const vf_native m = (vf_native)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f, z = m * m;
  const vf_native k =
      __builtin_convertvector(e, vf_native) - (tiny ? number<vf_native>(23) : vf_native{});
  vf_native p = polynomial(
      m, {3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1,
          -1.2420140846e-1, 1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2});
  p = p * m * z + k * -2.12194440e-4f;
  vf_native y = (p - 0.5f * z) + m + k * 0.693359375f;
  y = x < __builtin_inff() ? y : x;  // infinity and NaN
  y = x == 0.0f ? number<vf_native>(-__builtin_inf()) : y;
  return x < 0.0f ? number<vf_native>(__builtin_nan("")) : y;
}
// log(1 + x), with the rounding error of 1 + x taken out again by the quotient (Kahan).
WS_INLINE vf_native log1p(vf_native x) {
  const vf_native u = x + 1.0f;
  const vf_native y = log(u) * (x / (u - 1.0f));
  return (u == 1.0f) | (x == __builtin_inff()) ? x : y;
}

// e / (e + 2) with e = exp(2 |x|) - 1.
WS_INLINE vf_native tanh(vf_native x) {
  vi_native k;
  const vf_native r = exp_parts(within(abs(x), 0.0f, 10.0f) * 2.0f, k);
  const vf_native e = (r + (1.0f - (vf_native)((127 - k) << 23))) * (vf_native)((k + 127) << 23);
  return with_sign(e / (e + 2.0f), x);
}
// x P(x^2) / Q(x^2), relative error 2e-8, constant beyond 3.93 where erf is 1 to f32.
WS_INLINE vf_native erf(vf_native x) {
  const vf_native c = within(x, -3.93f, 3.93f), t = c * c;
  const vf_native p =
      polynomial(t, {1.128379145510489, 0.19077720384984734, 0.0527891821780816,
                     0.003779255230165945, 0.00028478886986010616, 2.041872243269057e-06});
  const vf_native q =
      polynomial(t, {1.0, 0.5024046178478915, 0.11425457387621281, 0.0149967481191213,
                     0.0011651043041800177, 3.8002011407617465e-05});
  return abs(x) >= 3.93f ? with_sign(number<vf_native>(1), x) : within(c * p / q, -1.0f, 1.0f);
}

// Two vectors of doubles with the lanes of one of floats, and back (rounding once).
struct Doubles {
  vd_native low, high;
};
WS_INLINE Doubles doubled(vf_native x) {
  vf_half h[2];
  std::memcpy(h, &x, sizeof x);
  return {__builtin_convertvector(h[0], vd_native), __builtin_convertvector(h[1], vd_native)};
}
WS_INLINE vf_native halved(Doubles d) {
  const vf_half h[2] = {__builtin_convertvector(d.low, vf_half),
                        __builtin_convertvector(d.high, vf_half)};
  vf_native x;
  std::memcpy(&x, h, sizeof x);
  return x;
}

template <class M>
WS_INLINE bool any_lane(M mask) {
  uint64_t words[sizeof(M) / 8], all = 0;
  std::memcpy(words, &mask, sizeof mask);
  for (uint64_t w : words) all |= w;
  return all != 0;
}

// sin (cos) of r + q pi/2, |r| <= pi/4.
template <bool Cosine>
WS_INLINE vf_native sine_of_quarters(vf_native r, vi_native q) {
  if (Cosine) q += 1;
  const vf_native z = r * r;
  const vf_native s =
      polynomial(z, {-1.6666666667e-1, 8.3333333333e-3, -1.9841269841e-4, 2.7557319e-6}) * z * r +
      r;
  const vf_native c = polynomial(
      z, {1.0, -0.5, 4.1666666667e-2, -1.3888888889e-3, 2.4801587302e-5, -2.75573192e-7});
  return (vf_native)((vi_native)((q & 1) != 0 ? c : s) ^ ((q & 2) << 30));
}
// x - n pi/2 with whole n, in doubles: pi/2 in two parts, the first of 33 bits, so that the product
// with n < 2^20 is exact.
WS_INLINE vd_native less_quarters(vd_native x, vd_native& n) {
  n = (x * 0.63661977236758134 + 6755399441055744.0) - 6755399441055744.0;
  return (x - n * 1.57079632673412561417) - n * 6.07710050650619224932e-11;
}
// Up to 1e6 in doubles; beyond by the C library, lane by lane.
template <bool Cosine>
__attribute__((noinline)) vf_native wide_sine(vf_native x) {
  const Doubles d = doubled(x);
  Doubles n;
  const vf_native r = halved({less_quarters(d.low, n.low), less_quarters(d.high, n.high)});
  vf_native y = sine_of_quarters<Cosine>(r, __builtin_convertvector(halved(n), vi_native));
  for (int i = 0; i < kVectorBytes / 4; ++i) {
    const double v = x[i];
    if (__builtin_fabs(v) > 1e6)
      y[i] = static_cast<float>(Cosine ? __builtin_cos(v) : __builtin_sin(v));
  }
  return y;
}
template <bool Cosine>
WS_INLINE vf_native sine(vf_native x) {
#if defined(__FMA__)
  // pi/2 in four parts, the first two of 9 and 11 bits: exact products with n < 2^13.
  const vf_native n = nearest(x * 0.636619772f);
  vf_native r = x - n * 1.5703125f;
  r = r - n * 4.837512969970703125e-4f;
  r = r - n * 7.5497901264e-08f;
  r = r - n * -1.7151245100e-15f;
  const vf_native y = sine_of_quarters<Cosine>(r, __builtin_convertvector(n, vi_native));
  const vi_native large = abs(x) > 8192.0f;
  return any_lane(large) ? (large ? wide_sine<Cosine>(x) : y) : y;
#else
  return wide_sine<Cosine>(x);
#endif
}
// The doubles lose the sign of zero.
WS_INLINE vf_native sin(vf_native x) { return x == 0.0f ? x : sine<false>(x); }
WS_INLINE vf_native cos(vf_native x) { return sine<true>(x); }

// x^y for x > 0 in doubles: 2^(y log2 x), to about 1e-10 where the result is an f32.
WS_INLINE vd_native power(vd_native x, vd_native y) {
  const vul_native one = vul_native{} + 0x3ff0000000000000u,
                   root = vul_native{} + 0x3fe6a09e667f3bcdu;
  const vul_native bits = (vul_native)x;
  const vul_native e = (bits - root + one) >> 52;
  const vd_native k = (vd_native)(e | 0x4330000000000000u) - (4503599627370496.0 + 1023.0);
  const vd_native m = (vd_native)(bits - (e << 52) + one);
  const vd_native s = (m - 1.0) / (m + 1.0), z = s * s;
  const vd_native l = polynomial(z, {2.8853900817779268, 0.9617966939259756, 0.5770780163555854,
                                     0.4121985831111324, 0.3205988979753252, 0.2623081892525388}) *
                          s +
                      k;
  vd_native w = y * l;
  w = w > 200.0 ? number<vd_native>(200) : w;
  w = w < -200.0 ? number<vd_native>(-200) : w;
  const vd_native shifted = w + 6755399441055744.0;
  const vd_native r = w - (shifted - 6755399441055744.0);
  const vd_native p = polynomial(
      r, {1.0, 0.6931471805599453, 0.2402265069591007, 0.05550410866482158, 9.618129107628477e-3,
          1.333355814642844e-3, 1.540353039338161e-4, 1.525273380405984e-5, 1.321548679014431e-6});
  return (vd_native)((vul_native)p + ((vul_native)shifted << 52));
}
WS_INLINE bool all_lanes(vi_native mask) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) == 0xffff;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) == 0xff;
#else
  int all = -1;
  for (int i = 0; i < kVectorBytes / 4; ++i) all &= mask[i];
  return all != 0;
#endif
}
WS_INLINE vf_native pow(vf_native x, vf_native y) {
  const vi_native twice =
      y == 2.0f;  // a lane's own affair, so that its bits do not depend on others
  if (all_lanes(twice)) return x * x;
  const vf_native a = abs(x);
  const Doubles base = doubled(a), exponent = doubled(y);
  vf_native p = halved({power(base.low, exponent.low), power(base.high, exponent.high)});
  const vf_native inf = number<vf_native>(__builtin_inf()), zero{},
                  nan = number<vf_native>(__builtin_nan(""));
  p = a == 0.0f ? (y > 0.0f ? zero : inf) : p;
  p = a == inf ? (y > 0.0f ? inf : zero) : p;
  const vi_native whole = trunc(y) == y, odd = whole & (trunc(y * 0.5f) != y * 0.5f);
  p = ((x < 0.0f) & (a < inf) & ~whole) ? nan : p;
  p = (vf_native)((vi_native)p | ((vi_native)x & odd & INT32_MIN));
  p = (x != x) | (y != y) ? nan : p;
  p = (a == 1.0f) & (abs(y) == inf) ? number<vf_native>(1) : p;
  p = twice ? x * x : p;
  return (y == 0.0f) | (x == 1.0f) ? number<vf_native>(1) : p;
}

// f64 by the C library.
#define WS_BY_LANES(name)                                                     \
  __attribute__((noinline, unused)) vd_native name(vd_native x) {             \
    for (int i = 0; i < kVectorBytes / 8; ++i) x[i] = __builtin_##name(x[i]); \
    return x;                                                                 \
  }
WS_BY_LANES(sqrt)
WS_BY_LANES(exp)
WS_BY_LANES(exp2)
WS_BY_LANES(expm1)
WS_BY_LANES(log)
WS_BY_LANES(log1p)
WS_BY_LANES(sin)
WS_BY_LANES(cos)
WS_BY_LANES(tanh)
WS_BY_LANES(erf)
#undef WS_BY_LANES
__attribute__((noinline, unused)) vd_native pow(vd_native x, vd_native y) {
  for (int i = 0; i < kVectorBytes / 8; ++i) x[i] = __builtin_pow(x[i], y[i]);
  return x;
}
// Integer powers wrap; a negative exponent gives the quotient's whole part (0 for a base beyond 1
// and -1).
__attribute__((noinline, unused)) vl_native pow(vl_native x, vl_native y) {
  for (int i = 0; i < kVectorBytes / 8; ++i) {
    uint64_t base = static_cast<uint64_t>(x[i]), result = 1;
    int64_t n = y[i];
    if (n < 0) result = x[i] == 1 ? 1 : x[i] == -1 ? (n & 1 ? -1 : 1) : 0, n = 0;
    for (; n; n >>= 1, base *= base)
      if (n & 1) result *= base;
    x[i] = static_cast<int64_t>(result);
  }
  return x;
}

WS_KERNELS_END
