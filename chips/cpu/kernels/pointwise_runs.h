#pragma once
// Runs of elements between any dtype and a compute type. Include inside kernel sources only.

#include "chips/cpu/vector_math.h"

WS_KERNELS_BEGIN

// Numbers of a dtype as a C++ type that converts.
struct Bf16 {
  uint16_t bits;
  WS_INLINE operator float() const {
    return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16);
  }
};
struct F16 {
  _Float16 value;
  WS_INLINE operator float() const { return static_cast<float>(value); }
};
struct Bool {
  uint8_t value;
  WS_INLINE operator int64_t() const { return value != 0; }
};

template <class To, class From>
WS_INLINE void convert(To& to, From from) {
  if constexpr (std::is_same_v<To, Bf16>) {  // as to_bf16(), without a branch
    const uint32_t u = __builtin_bit_cast(uint32_t, static_cast<float>(from));
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, quiet = (u >> 16) | 0x40u;
    to.bits = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
  } else if constexpr (std::is_same_v<To, F16>) {
    to.value = static_cast<_Float16>(static_cast<float>(from));
  } else if constexpr (std::is_same_v<To, Bool>) {
    to.value = from != 0;
  } else if constexpr (std::is_same_v<From, Bf16> || std::is_same_v<From, F16>) {
    to = static_cast<To>(static_cast<float>(from));
  } else if constexpr (std::is_same_v<From, Bool>) {
    to = static_cast<To>(from.value != 0);
  } else {
    to = static_cast<To>(from);
  }
}

// to[i * to_stride] = from[i * from_stride].
template <class To, class From>
void convert_run(void* to_start, int64_t to_stride, const void* from_start, int64_t from_stride,
                 int64_t n) {
  To* __restrict to = static_cast<To*>(to_start);
  const From* __restrict from = static_cast<const From*>(from_start);
  if (from_stride == 1 && to_stride == 1) {
    for (int64_t i = 0; i < n; ++i) convert(to[i], from[i]);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    convert(to[i * to_stride], from[i * from_stride]);
    asm volatile("");  // Vectors gain nothing here, and cost compile time.
  }
}

// The 16-bit floats by vectors; what is left over at the end has the same bits by scalars.
WS_INLINE vf_native widened(const Bf16* from) {
  return load_native(reinterpret_cast<const bf16_t*>(from));
}
WS_INLINE vf_native widened(const F16* from) {
#if defined(__AVX512F__)
  return (vf_native)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__F16C__)
  return (vf_native)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  vf_native v;
  for (int i = 0; i < kVectorBytes / 4; ++i) v[i] = from[i];
  return v;
#endif
}
WS_INLINE vi_native rounded_upper_half(vf_native v) {
  const vi_native u = (vi_native)v;
  const vi_native rounded = u + 0x7fff + ((u >> 16) & 1);
  return (v != v ? u | 0x400000 : rounded) >> 16;
}
WS_INLINE void narrowed(Bf16* to, vf_native v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_cvtepi32_epi16((__m512i)rounded_upper_half(v)));
#elif defined(__AVX2__)
  const __m256i u = (__m256i)rounded_upper_half(v);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(u, u), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
#else
  for (int i = 0; i < kVectorBytes / 4; ++i) convert(to[i], v[i]);
#endif
}
WS_INLINE void narrowed(F16* to, vf_native v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph((__m512)v, 0));
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph((__m256)v, 0));
#else
  for (int i = 0; i < kVectorBytes / 4; ++i) convert(to[i], v[i]);
#endif
}
template <class From>
void widen_run(void* to_start, int64_t, const void* from_start, int64_t from_stride, int64_t n) {
  if (from_stride != 1) return convert_run<float, From>(to_start, 1, from_start, from_stride, n);
  float* to = static_cast<float*>(to_start);
  const From* from = static_cast<const From*>(from_start);
  constexpr int kLanes = kVectorBytes / 4;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const vf_native v = widened(from + i);
    std::memcpy(to + i, &v, sizeof v);
  }
  convert_run<float, From>(to + i, 1, from + i, 1, n - i);
}
template <class To>
void narrow_run(void* to_start, int64_t to_stride, const void* from_start, int64_t, int64_t n) {
  if (to_stride != 1) return convert_run<To, float>(to_start, to_stride, from_start, 1, n);
  To* to = static_cast<To*>(to_start);
  const float* from = static_cast<const float*>(from_start);
  constexpr int kLanes = kVectorBytes / 4;
  int64_t i = 0;
#if defined(__AVX2__) && !defined(__AVX512F__)
  if constexpr (std::is_same_v<To, Bf16>)  // two vectors at once, and NaN apart: a third less work
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      const __m256 a = _mm256_loadu_ps(from + i), b = _mm256_loadu_ps(from + i + kLanes);
      const __m256 nan =
          _mm256_or_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q), _mm256_cmp_ps(b, b, _CMP_UNORD_Q));
      if (__builtin_expect(_mm256_movemask_ps(nan) != 0, 0)) {
        narrowed(to + i, (vf_native)a);
        narrowed(to + i + kLanes, (vf_native)b);
        continue;
      }
      const auto upper = [](__m256 v) {
        const __m256i u = _mm256_castps_si256(v);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
        return _mm256_srli_epi32(
            _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
      };
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                          _mm256_permute4x64_epi64(_mm256_packus_epi32(upper(a), upper(b)), 0xd8));
    }
#endif
  for (; i + kLanes <= n; i += kLanes) {
    vf_native v;
    std::memcpy(&v, from + i, sizeof v);
    narrowed(to + i, v);
  }
  convert_run<To, float>(to + i, 1, from + i, 1, n - i);
}

using RunConverter = void (*)(void*, int64_t, const void*, int64_t, int64_t);
// By dtype, in the order of DType (c64 has none); null where the operators never convert so.
constexpr RunConverter kReadF32[] = {convert_run<float, double>,
                                     convert_run<float, float>,
                                     widen_run<Bf16>,
                                     widen_run<F16>,
                                     convert_run<float, int64_t>,
                                     convert_run<float, int32_t>,
                                     convert_run<float, int16_t>,
                                     convert_run<float, int8_t>,
                                     convert_run<float, uint8_t>,
                                     convert_run<float, Bool>};
constexpr RunConverter kReadF64[] = {convert_run<double, double>,  convert_run<double, float>,
                                     convert_run<double, Bf16>,    convert_run<double, F16>,
                                     convert_run<double, int64_t>, convert_run<double, int32_t>,
                                     convert_run<double, int16_t>, convert_run<double, int8_t>,
                                     convert_run<double, uint8_t>, convert_run<double, Bool>};
constexpr RunConverter kReadI64[] = {nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     convert_run<int64_t, int64_t>,
                                     convert_run<int64_t, int32_t>,
                                     convert_run<int64_t, int16_t>,
                                     convert_run<int64_t, int8_t>,
                                     convert_run<int64_t, uint8_t>,
                                     convert_run<int64_t, Bool>};
constexpr RunConverter kWriteF32[10] = {convert_run<double, float>, convert_run<float, float>,
                                        narrow_run<Bf16>, narrow_run<F16>};
constexpr RunConverter kWriteF64[10] = {convert_run<double, double>, convert_run<float, double>,
                                        convert_run<Bf16, double>, convert_run<F16, double>};
template <class From>
constexpr RunConverter kWriteWhole[] = {convert_run<double, From>,  convert_run<float, From>,
                                        convert_run<Bf16, From>,    convert_run<F16, From>,
                                        convert_run<int64_t, From>, convert_run<int32_t, From>,
                                        convert_run<int16_t, From>, convert_run<int8_t, From>,
                                        convert_run<uint8_t, From>, convert_run<Bool, From>};

// Reads n elements of a dtype, `stride` apart, as numbers of compute type 0 (f32), 1 (f64) or 2
// (i64).
WS_INLINE void read_run(int type, void* to, const void* from, DType dtype, int64_t stride,
                        int64_t n) {
  const RunConverter* const by_type[] = {kReadF32, kReadF64, kReadI64};
  by_type[type][static_cast<int>(dtype)](to, 1, from, stride, n);
}
// Writes them; type 3 is bytes 0 and 1.
WS_INLINE void write_run(int type, const void* from, void* to, DType dtype, int64_t stride,
                         int64_t n) {
  const RunConverter* const by_type[] = {kWriteF32, kWriteF64, kWriteWhole<int64_t>,
                                         kWriteWhole<uint8_t>};
  by_type[type][static_cast<int>(dtype)](to, stride, from, 1, n);
}

WS_KERNELS_END
