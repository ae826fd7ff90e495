#pragma once
// More functions on vectors, beside vector_math.h and under the same rules: inverse trigonometric
// and hyperbolic functions, error and gamma functions, quotients, and what only integers have.
// The polynomials of atan and asin are Cephes' (Moshier), the inverse error function's are Giles'
// ("Approximating the erfinv function", 2010). Include inside kernel sources only.

#include "chips/cpu/vector_math.h"

extern "C" double lgamma_r(double, int*) noexcept;  // lgamma() without its global sign

WS_KERNELS_BEGIN

constexpr float kPi = 3.14159265358979f, kHalfPi = 1.57079632679490f;

WS_INLINE vf_native copysign(vf_native x, vf_native s) { return with_sign(x, s); }
WS_INLINE vd_native copysign(vd_native x, vd_native s) { return with_sign(x, s); }
WS_INLINE vl_native copysign(vl_native x, vl_native s) { return s < 0 ? -abs(x) : abs(x); }

// asin of z = x^2 <= 1/4, over x.
WS_INLINE vf_native asin_quotient(vf_native z) {
  return polynomial(z, {1.0, 1.6666752422e-1, 7.4953002686e-2, 4.5470025998e-2, 2.4181311049e-2,
                        4.2163199048e-2});
}
WS_INLINE vf_native asin(vf_native x) {
  const vf_native a = abs(x), z = 0.5f * (1.0f - a), s = sqrt(z);
  const vf_native low = a * asin_quotient(a * a), high = kHalfPi - 2.0f * s * asin_quotient(z);
  return with_sign(a > 0.5f ? high : low, x);  // beyond 1 the root is NaN
}
WS_INLINE vf_native acos(vf_native x) {
  const vf_native a = abs(x), z = 0.5f * (1.0f - a), s = sqrt(z);
  const vf_native twice = 2.0f * s * asin_quotient(z);
  const vf_native high = x < 0.0f ? kPi - twice : twice;
  return a > 0.5f ? high : kHalfPi - x * asin_quotient(x * x);
}

// atan of 0 <= x <= 1.
WS_INLINE vf_native atan_of_quotient(vf_native x) {
  const vi_native big = x > 0.4142135623730950f;
  const vf_native r = big ? (x - 1.0f) / (x + 1.0f) : x, z = r * r;
  const vf_native p =
      polynomial(z, {-3.33329491539e-1, 1.99777106478e-1, -1.38776856032e-1, 8.05374449538e-2});
  return (p * z * r + r) + (big ? number<vf_native>(0.785398163397448) : vf_native{});
}
WS_INLINE vf_native atan(vf_native x) {
  const vf_native a = abs(x);
  const vi_native steep = a > 1.0f;
  const vf_native t = atan_of_quotient(steep ? 1.0f / a : a);
  return with_sign(steep ? kHalfPi - t : t, x);
}
WS_INLINE vf_native atan2(vf_native y, vf_native x) {
  const vf_native a = abs(y), b = abs(x);
  const vi_native steep = a > b;
  vf_native low = steep ? b : a, high = steep ? a : b;
  // Both infinite or both zero: 45 degrees, or none.
  const vi_native same = (low == high) & ((low == 0.0f) | (low == __builtin_inff()));
  low = same ? (high == 0.0f ? vf_native{} : number<vf_native>(1)) : low;
  high = same ? number<vf_native>(1) : high;
  const vf_native t = atan_of_quotient(low / high), u = steep ? kHalfPi - t : t;
  const vi_native left = (vi_native)x < 0;  // minus zero, too
  const vf_native r = with_sign(left ? kPi - u : u, y);
  return (x != x) | (y != y) ? x + y : r;
}

WS_INLINE vf_native tan(vf_native x) {
  const vf_native t = sin(x) / cos(x);
  return x == 0.0f ? x : t;
}

// From exp(|x| / 2) where exp(|x|) may overflow.
WS_INLINE vf_native sinh(vf_native x) {
  const vf_native a = abs(x), e = expm1(a), t = exp(0.5f * a);
  const vf_native y = a > 80.0f ? 0.5f * t * t : 0.5f * (e + e / (e + 1.0f));
  return with_sign(y, x);
}
WS_INLINE vf_native cosh(vf_native x) {
  const vf_native a = abs(x), t = exp(0.5f * a), e = t * t;
  return a > 80.0f ? 0.5f * t * t : 0.5f * e + 0.5f / e;
}
WS_INLINE vf_native asinh(vf_native x) {
  const vf_native a = abs(x), z = a * a;
  const vf_native small = log1p(a + z / (1.0f + sqrt(z + 1.0f)));
  return with_sign(a > 1e9f ? log(a) + 0.693147180559945f : small, x);
}
WS_INLINE vf_native acosh(vf_native x) {
  const vf_native t = x - 1.0f;
  const vf_native small = log1p(t + sqrt(t * (t + 2.0f)));
  const vf_native y = x > 1e9f ? log(x) + 0.693147180559945f : small;
  return x < 1.0f ? number<vf_native>(__builtin_nan("")) : y;
}
WS_INLINE vf_native atanh(vf_native x) {
  const vf_native a = abs(x);
  return with_sign(0.5f * log1p(2.0f * a / (1.0f - a)), x);
}

// exp(-x^2) times a Chebyshev sum in 1 / (1 + x/2) (Numerical Recipes), with x^2 in two parts, so
// that the tail keeps its relative accuracy.
WS_INLINE vf_native erfc(vf_native x) {
  const vf_native a = abs(x), t = 1.0f / (1.0f + 0.5f * a);
  const vf_native p = polynomial(t, {-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806,
                                     0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277});
  const vf_native top = (vf_native)((vi_native)a & ~0xfff), main = -top * top;
  const vf_native more = (top - a) * (top + a) + p, sum = main + more;
  const vf_native lost = (main - sum) + more, e = exp(sum);  // of the sum's rounding, as main wins
  const vf_native tail = t * (e + e * lost);
  const vf_native far = a > 11.0f ? vf_native{} : tail;
  const vf_native y = x < 0.0f ? 2.0f - far : far;
  // Near 0 the power series of erf.
  const vf_native series = polynomial(
      x * x, {1.1283791670955126, -0.37612638903183754, 0.11283791670955126, -0.026866170645131252,
              5.2239776254421878e-3, -8.5483270234508528e-4, 1.2055332981789664e-4});
  return x != x ? x : a < 0.5f ? 1.0f - x * series : y;
}
template <class V>
WS_INLINE V erfinv_start(V x) {
  const V one = number<V>(1), w = -log((one - x) * (one + x));
  const V c = w - number<V>(2.5);
  V y = polynomial(c, {1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087,
                       -4.39150654e-06, -3.5233877e-06, 3.43273939e-07, 2.81022636e-08});
  const auto far = w >= number<V>(5);
  if (any_lane((vi_native)far)) {
    const V t = sqrt(w) - number<V>(3);
    const V tail =
        polynomial(t, {2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773,
                       -0.00367342844, 0.00134934322, 0.000100950558, -0.000200214257});
    y = far ? tail : y;
  }
  return y * x;
}
WS_INLINE vf_native erfinv(vf_native x) {
  const vf_native y = erfinv_start(x);
  return abs(x) == 1.0f ? with_sign(number<vf_native>(__builtin_inf()), x) : y;
}
// Two steps of Newton's method after the single-precision start.
__attribute__((noinline, unused)) vd_native erfinv(vd_native x) {
  vd_native y = erfinv_start(x);
  for (int i = 0; i < 2; ++i) y -= (erf(y) - x) / (1.1283791670955126 * exp(-y * y));
  return abs(x) == 1.0 ? with_sign(number<vd_native>(__builtin_inf()), x) : y;
}

// log of a positive normal number.
WS_INLINE vd_native log_of_normal(vd_native x) {
  const vul_native one = vul_native{} + 0x3ff0000000000000u,
                   root = vul_native{} + 0x3fe6a09e667f3bcdu;
  const vul_native bits = (vul_native)x, e = (bits - root + one) >> 52;
  const vd_native k = (vd_native)(e | 0x4330000000000000u) - (4503599627370496.0 + 1023.0);
  const vd_native m = (vd_native)(bits - (e << 52) + one);
  const vd_native s = (m - 1.0) / (m + 1.0), z = s * s;
  const vd_native p = polynomial(z, {2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13,
                                     2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21});
  return k * 0.69314718055994531 + (p * z * s + 2.0 * s);
}
// Of finite numbers of an f32's range, other than 0 and the negative whole ones: Stirling's series
// from 8 on, and below what the product of eight steps of 1 takes away; the reflection for x < 0.
WS_INLINE vd_native lgamma_of_f32(vd_native x) {
  const auto negative = x < 0.0;
  const vd_native z = negative ? 1.0 - x : x;
  const auto small = z < 8.0;
  // z (z + 1) ... (z + 7) in pairs from both ends
  const vd_native q = z * (z + 7.0);
  const vd_native product = q * (q + 6.0) * (q + 10.0) * (q + 12.0);
  vd_native p = small ? product : number<vd_native>(1);
  const vd_native y = small ? z + 8.0 : z, i = 1.0 / y, w = i * i;
  const vd_native series =
      polynomial(w, {0.083333333333333333, -0.0027777777777777778, 7.9365079365079365e-4,
                     -5.9523809523809524e-4, 8.4175084175084175e-4, -1.9175269175269175e-3,
                     6.4102564102564103e-3}) *
      i;
  const vd_native stirling = (y - 0.5) * log_of_normal(y) - y + (0.91893853320467274 + series);
  // pi / |sin(pi x)|
  const vd_native f = x - round(x), g = f * f;
  const vd_native sine =
      abs(f) * polynomial(g, {3.1415926535897932, -5.1677127800499700, 2.5501640398773454,
                              -0.59926452932079208, 0.082145886611128228, -0.0073704309457143504,
                              4.6630280576761257e-4, -2.1915353447830216e-5, 7.9520540014755128e-7,
                              -2.2948428997269873e-8});
  p = negative ? p * 3.1415926535897932 / sine : p;
  const vd_native rest = log_of_normal(p) - stirling;
  return negative ? rest : -rest;
}
WS_INLINE vf_native lgamma(vf_native x) {
  const vf_native a = abs(x), infinite = number<vf_native>(__builtin_inf());
  // Beyond 2^23 negative numbers are whole; there as at 0 and at both infinities: infinite.
  const vi_native pole = (x == 0.0f) | (a == infinite) | ((x < 0.0f) & (trunc(x) == x));
  const Doubles d = doubled(pole ? number<vf_native>(1) : x);
  vf_native y = halved({lgamma_of_f32(d.low), lgamma_of_f32(d.high)});
  y = (x == 1.0f) | (x == 2.0f) ? vf_native{} : y;
  return x != x ? x : (pole ? infinite : y);
}
__attribute__((noinline, unused)) vd_native lgamma(vd_native x) {
  int sign;
  for (int i = 0; i < kVectorBytes / 8; ++i) x[i] = lgamma_r(x[i], &sign);
  return x;
}

// In doubles nothing overflows and the sum of the squares of floats is exact but for one rounding.
WS_INLINE vf_native hypot(vf_native x, vf_native y) {
  const Doubles a = doubled(x), b = doubled(y);
  const vf_native r =
      halved({sqrt(a.low * a.low + b.low * b.low), sqrt(a.high * a.high + b.high * b.high)});
  const vi_native infinite = isinf(x) | isinf(y);
  return infinite ? number<vf_native>(__builtin_inf()) : r;
}

// x - trunc(x / y) y: exact in doubles for quotients below 2^28, else by the C library.
WS_INLINE vd_native less_multiples(vd_native x, vd_native y) {
  const vd_native r = x - trunc(x / y) * y;
  // A quotient that was rounded up to a whole number leaves a rest of the other sign.
  return (r != 0.0) & ((r < 0.0) != (x < 0.0)) ? r + with_sign(y, x) : r;
}
__attribute__((noinline, unused)) vf_native fmod_by_lanes(vf_native x, vf_native y) {
  for (int i = 0; i < kVectorBytes / 4; ++i) x[i] = __builtin_fmodf(x[i], y[i]);
  return x;
}
WS_INLINE vf_native fmod(vf_native x, vf_native y) {
  // Not for infinities, NaN, zero.
  const vi_native usual = (abs(x) < abs(y) * 268435456.0f) & isfinite(y);
  if (any_lane(~usual)) return fmod_by_lanes(x, y);
  const Doubles a = doubled(x), b = doubled(y);
  const vf_native r = halved({less_multiples(a.low, b.low), less_multiples(a.high, b.high)});
  return with_sign(r, x);
}

// Functions of two doubles by the C library.
#define WS_BY_LANES_OF_TWO(name)                                                    \
  __attribute__((noinline, unused)) vd_native name(vd_native x, vd_native y) {      \
    for (int i = 0; i < kVectorBytes / 8; ++i) x[i] = __builtin_##name(x[i], y[i]); \
    return x;                                                                       \
  }
WS_BY_LANES_OF_TWO(atan2)
WS_BY_LANES_OF_TWO(hypot)
WS_BY_LANES_OF_TWO(fmod)
#undef WS_BY_LANES_OF_TWO
#define WS_BY_LANES_OF_ONE(name)                                              \
  __attribute__((noinline, unused)) vd_native name(vd_native x) {             \
    for (int i = 0; i < kVectorBytes / 8; ++i) x[i] = __builtin_##name(x[i]); \
    return x;                                                                 \
  }
WS_BY_LANES_OF_ONE(asin)
WS_BY_LANES_OF_ONE(acos)
WS_BY_LANES_OF_ONE(atan)
WS_BY_LANES_OF_ONE(tan)
WS_BY_LANES_OF_ONE(sinh)
WS_BY_LANES_OF_ONE(cosh)
WS_BY_LANES_OF_ONE(asinh)
WS_BY_LANES_OF_ONE(acosh)
WS_BY_LANES_OF_ONE(atanh)
WS_BY_LANES_OF_ONE(erfc)
#undef WS_BY_LANES_OF_ONE

// Integers. Lanes past the end of a row hold 1, so that only a real zero is refused.
#define WS_WHOLE(name, expression)                                               \
  __attribute__((noinline, unused)) vl_native name(vl_native xs, vl_native ys) { \
    for (int i = 0; i < kVectorBytes / 8; ++i) {                                 \
      const int64_t x = xs[i], y = ys[i];                                        \
      xs[i] = expression;                                                        \
    }                                                                            \
    return xs;                                                                   \
  }
inline int64_t checked_rest(int64_t x, int64_t y) {
  if (y == 0) cpu::divides_by_zero();
  return y == -1 ? 0 : x % y;
}
inline int64_t checked_floor(int64_t x, int64_t y) {
  if (y == 0) cpu::divides_by_zero();
  if (y == -1) return static_cast<int64_t>(0 - static_cast<uint64_t>(x));
  return x / y - (x % y != 0 && (x < 0) != (y < 0));
}
inline int64_t greatest_divisor(int64_t x, int64_t y) {
  while (y) {
    const int64_t r = y == -1 ? 0 : x % y;
    x = y, y = r;
  }
  return x < 0 ? static_cast<int64_t>(0 - static_cast<uint64_t>(x)) : x;
}
inline int64_t least_multiple(int64_t x, int64_t y) {
  const int64_t d = greatest_divisor(x, y);
  if (d == 0) return 0;
  const int64_t m = static_cast<int64_t>(static_cast<uint64_t>(x / d) * static_cast<uint64_t>(y));
  return m < 0 ? static_cast<int64_t>(0 - static_cast<uint64_t>(m)) : m;
}
WS_WHOLE(fmod, checked_rest(x, y))
WS_WHOLE(floor_quotient, checked_floor(x, y))
WS_WHOLE(floor_rest, checked_rest(x, y) + (checked_rest(x, y) != 0 && (x < 0) != (y < 0) ? y : 0))
WS_WHOLE(gcd, greatest_divisor(x, y))
WS_WHOLE(lcm, least_multiple(x, y))
#undef WS_WHOLE

// By a distance outside [0, 63] everything is shifted out.
WS_INLINE vl_native shift_left(vl_native x, vl_native y) {
  return (y < 0) | (y > 63) ? vl_native{} : x << (y & 63);
}
WS_INLINE vl_native shift_right(vl_native x, vl_native y) {
  return x >> ((y < 0) | (y > 63) ? vl_native{} + 63 : y);
}

WS_KERNELS_END
