#pragma once
// vf, vi and vu of simd.h where registers are narrower than 16 floats: native vectors side by side,
// with the operators of GCC's vector extension. Include through simd.h only.

#include <cstring>
#include <type_traits>
#include <utility>

#include "chips/cpu/kernel.h"

WS_KERNELS_BEGIN

#if defined(__AVX2__)
constexpr int kNativeLanes = 8;
#else
constexpr int kNativeLanes = 4;
#endif
constexpr int kNativeParts = 16 / kNativeLanes;

template <class E>
struct Parts;
typedef Parts<float> vf;
typedef Parts<int32_t> vi;
typedef Parts<uint32_t> vu;

template <class E>
struct Parts {
  typedef E Native __attribute__((vector_size(kNativeLanes * 4)));
  typedef E Unaligned __attribute__((vector_size(kNativeLanes * 4), aligned(4), may_alias));
  typedef E Lane __attribute__((may_alias));
  typedef E Whole __attribute__((vector_size(64)));  // GCC's own vector of 16
  alignas(64) Native part[kNativeParts];

  Parts() = default;
  /// The sixteen lanes.
  template <class... L>
  requires(sizeof...(L) == 16) WS_INLINE Parts(L... lanes) {
    const E all[16] = {static_cast<E>(lanes)...};
    *this = load(all);
  }

  WS_INLINE Parts(const Whole& v) { *this = load(reinterpret_cast<const Lane*>(&v)); }
  WS_INLINE operator Whole() const {
    Whole v;
    std::memcpy(&v, part, sizeof v);
    return v;
  }

  /// f(part index) for every part, without a loop that could leave the parts in memory.
  template <class F>
  static WS_INLINE Parts make(const F& f) {
    Parts r;
    if constexpr (kNativeParts == 2)
      r.part[0] = f(0), r.part[1] = f(1);
    else
      r.part[0] = f(0), r.part[1] = f(1), r.part[2] = f(2), r.part[3] = f(3);
    return r;
  }
  static WS_INLINE Parts all(E v) {
    return make([&](int) __attribute__((always_inline)) { return Native{} + v; });
  }
  static WS_INLINE Parts load(const E* p) {
    return make([&](int i) __attribute__((always_inline)) {
      return (Native) * reinterpret_cast<const Unaligned*>(p + i * kNativeLanes);
    });
  }
  WS_INLINE void store(E* p) const {
    for (int i = 0; i < kNativeParts; ++i)
      *reinterpret_cast<Unaligned*>(p + i * kNativeLanes) = part[i];
  }
  WS_INLINE Lane& operator[](int64_t i) { return reinterpret_cast<Lane*>(part)[i]; }
  WS_INLINE E operator[](int64_t i) const { return reinterpret_cast<const Lane*>(part)[i]; }
  /// The same bits.
  template <class To>
  explicit WS_INLINE operator Parts<To>() const {
    return Parts<To>::make([&](int i) __attribute__((always_inline)) {
      return (typename Parts<To>::Native)part[i];
    });
  }
};

template <class S>
concept Scalar = std::is_arithmetic_v<S>;

#define WS_BINARY(op)                                                                             \
  template <class E>                                                                              \
  WS_INLINE Parts<E> operator op(const Parts<E>& a, const Parts<E>& b) {                          \
    return Parts<E>::make([&](int i)                                                              \
                              __attribute__((always_inline)) { return a.part[i] op b.part[i]; }); \
  }                                                                                               \
  template <class E, Scalar S>                                                                    \
  WS_INLINE Parts<E> operator op(const Parts<E>& a, S b) {                                        \
    return a op Parts<E>::all(static_cast<E>(b));                                                 \
  }                                                                                               \
  template <class E, Scalar S>                                                                    \
  WS_INLINE Parts<E> operator op(S a, const Parts<E>& b) {                                        \
    return Parts<E>::all(static_cast<E>(a)) op b;                                                 \
  }                                                                                               \
  template <class E, class B>                                                                     \
  WS_INLINE Parts<E>& operator op##=(Parts<E>& a, const B& b) {                                   \
    return a = a op b;                                                                            \
  }
WS_BINARY(+)
WS_BINARY(-)
WS_BINARY(*)
WS_BINARY(/)
WS_BINARY(&)
WS_BINARY(|)
WS_BINARY(^)
WS_BINARY(<<)
WS_BINARY(>>)
#undef WS_BINARY

#define WS_COMPARE(op)                                             \
  template <class E>                                               \
  WS_INLINE vi operator op(const Parts<E>& a, const Parts<E>& b) { \
    return vi::make([&](int i) __attribute__((always_inline)) {    \
      return (vi::Native)(a.part[i] op b.part[i]);                 \
    });                                                            \
  }                                                                \
  template <class E, Scalar S>                                     \
  WS_INLINE vi operator op(const Parts<E>& a, S b) {               \
    return a op Parts<E>::all(static_cast<E>(b));                  \
  }
WS_COMPARE(<)
WS_COMPARE(>)
WS_COMPARE(<=)
WS_COMPARE(>=)
WS_COMPARE(==)
WS_COMPARE(!=)
#undef WS_COMPARE

template <class E>
WS_INLINE Parts<E> operator-(const Parts<E>& a) {
  return Parts<E>::make([&](int i) __attribute__((always_inline)) { return -a.part[i]; });
}
template <class E>
WS_INLINE Parts<E> operator~(const Parts<E>& a) {
  return Parts<E>::make([&](int i) __attribute__((always_inline)) { return ~a.part[i]; });
}

WS_INLINE vi to_int(const vf& v) {
  return vi::make([&](int i) __attribute__((always_inline)) {
    return __builtin_convertvector(v.part[i], vi::Native);
  });
}

typedef uint16_t Halves __attribute__((vector_size(32)));  // vh
typedef uint16_t NativeHalves __attribute__((vector_size(kNativeLanes * 2), aligned(2), may_alias));
// bf16 at any address: widening is a shift.
WS_INLINE vf widen_at(const void* p) {
  return vf::make([&](int i) __attribute__((always_inline)) {
    const NativeHalves* h = static_cast<const NativeHalves*>(p) + i;
#if defined(__AVX2__)
    return (vf::Native)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)h)),
                                         16);
#else
    return (vf::Native)(__builtin_convertvector(*h, vu::Native) << 16);
#endif
  });
}
WS_INLINE vf widen(Halves h) { return widen_at(&h); }
/// The low half of every lane.
WS_INLINE Halves low_halves(const vu& v) {
#if defined(__AVX2__)
  const __m256i packed =
      _mm256_packus_epi32(_mm256_and_si256((__m256i)v.part[0], _mm256_set1_epi32(0xffff)),
                          _mm256_and_si256((__m256i)v.part[1], _mm256_set1_epi32(0xffff)));
  return (Halves)_mm256_permute4x64_epi64(packed, 0xd8);
#else
  Halves h;
  for (int i = 0; i < kNativeParts; ++i)
    reinterpret_cast<NativeHalves*>(&h)[i] = __builtin_convertvector(v.part[i], NativeHalves);
  return h;
#endif
}
#if defined(__AVX2__)
WS_INLINE vf vmax(const vf& a, const vf& b) {
  return vf::make([&](int i) __attribute__((always_inline)) {
    return (vf::Native)_mm256_max_ps((__m256)a.part[i], (__m256)b.part[i]);
  });
}
WS_INLINE vf vmin(const vf& a, const vf& b) {
  return vf::make([&](int i) __attribute__((always_inline)) {
    return (vf::Native)_mm256_min_ps((__m256)a.part[i], (__m256)b.part[i]);
  });
}
#endif

WS_KERNELS_END
