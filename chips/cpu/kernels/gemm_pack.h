#pragma once
// Packing of an operand into panels: P lanes (rows of A, columns of B) side by side, word by word
// along K, with zeros for lanes past the matrix and for half a pair past K. Include inside kernel
// sources only.

#include "chips/cpu/kernels/gemm_micro.h"
#include "chips/cpu/kernels/transpose.h"

WS_KERNELS_BEGIN

WS_INLINE float word_of(Plain<float>, float v) { return v; }
WS_INLINE float word_of(Plain<float>, bf16_t v) { return to_float(v); }
WS_INLINE double word_of(Plain<double>, double v) { return v; }

// A strided operand seen by lanes: element (lane, k) at data[lane * lane_stride + k * k_stride].
template <class In>
struct Lanes {
  const In* data;
  int64_t lane_stride, k_stride;
  Lanes at(int64_t lane, int64_t k) const {
    return {data + lane * lane_stride + k * k_stride, lane_stride, k_stride};
  }
};

template <class Op, class In>
WS_INLINE typename Op::Sum word_at(const Lanes<In>& s, int64_t lane, int64_t k, int64_t count) {
  const In* p = s.data + lane * s.lane_stride + k * s.k_stride;
  if constexpr (Op::kStep == 2) {
    const uint32_t low = p[0].bits, high = k + 1 < count ? p[s.k_stride].bits : 0;
    return std::bit_cast<float>(low | high << 16);
  } else {
    return word_of(Op{}, *p);
  }
}

// Any strides, any number of lanes.
template <class Op, int P, class In>
void pack_slowly(const Lanes<In>& s, int64_t lanes, int64_t count, typename Op::Sum* out) {
  for (int64_t k = 0; k < count; k += Op::kStep, out += P)
    for (int64_t l = 0; l < P; ++l)
      out[l] = l < lanes ? word_at<Op>(s, l, k, count) : typename Op::Sum{};
}

// All P lanes, neighbours in memory.
template <class Op, int P, class In>
void pack_along_lanes(const Lanes<In>& s, int64_t count, typename Op::Sum* out) {
  for (int64_t k = 0; k < count; k += Op::kStep, out += P) {
    const In* p = s.data + k * s.k_stride;
    if constexpr (Op::kStep == 2) {
      const In* q = p + s.k_stride;
      const bool both = k + 1 < count;
      for (int l = 0; l < P; ++l) {
        const uint32_t high = both ? q[l].bits : 0;
        out[l] = std::bit_cast<float>(p[l].bits | high << 16);
      }
    } else if constexpr (P % kLanes == 0 && sizeof(typename Op::Sum) == 4) {
      for (int l = 0; l < P; l += kLanes) store(out + l, load(p + l));
    } else {
      for (int l = 0; l < P; ++l) out[l] = word_of(Op{}, p[l]);
    }
  }
}

#if defined(__AVX2__)
// Eight 32-bit words of memory; past `left` elements zeros (Whole: there are that many).
template <class In, bool Whole>
WS_INLINE __m256 raw_words(const In* p, int64_t left) {
  alignas(32) char padded[32];
  if (!Whole && left < static_cast<int64_t>(32 / sizeof(In))) {
    std::memset(padded, 0, sizeof padded);
    std::memcpy(padded, p, left * sizeof(In));
    return _mm256_load_ps(reinterpret_cast<const float*>(padded));
  }
  return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
}

// Eight words along K of one lane, from p on.
template <class Op, class In, bool Whole>
WS_INLINE __m256 eight_words(const In* p, int64_t left) {
  if constexpr (sizeof(In) == 4 || Op::kStep == 2) {
    return raw_words<In, Whole>(p, left);
  } else {
    alignas(16) In padded[8];
    if (!Whole) {
      std::memset(padded, 0, sizeof padded);
      std::memcpy(padded, p, (left < 8 ? left : 8) * sizeof(In));
      p = padded;
    }
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return (__m256)_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16);
  }
}

template <int N>
WS_INLINE void store_lanes(float* p, __m256 v) {
  if constexpr (N >= 8) {
    _mm256_storeu_ps(p, v);
  } else {
    _mm_storeu_ps(p, _mm256_castps256_ps128(v));
    if constexpr (N == 6)
      _mm_storel_pi(reinterpret_cast<__m64*>(p + 4), _mm256_extractf128_ps(v, 1));
    static_assert(N == 4 || N == 6);
  }
}

// Eight words along K of up to eight lanes into the panel.
template <class Op, int P, int N, bool Whole, class In>
WS_INLINE void pack_words(const In* const (&row)[8], int64_t k, int64_t left, float* out) {
  __m256 x[8];
#pragma GCC unroll 8
  for (int l = 0; l < 8; ++l)
    x[l] = l < N ? eight_words<Op, In, Whole>(row[l] + k, left) : _mm256_setzero_ps();
  transpose8(x);
  const int64_t words = (left + Op::kStep - 1) / Op::kStep;
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    if (Whole || i < words) store_lanes<N>(out + i * P, x[i]);
}

// Places L0 ... of the panel, up to eight, each lane with its elements side by side in memory.
// Lanes past the matrix repeat the first: nobody reads their results.
template <class Op, int P, int L0, class In>
WS_INLINE void pack_eight(const Lanes<In>& s, int64_t lanes, int64_t count, float* out) {
  constexpr int kHere = P - L0 < 8 ? P - L0 : 8;
  constexpr int64_t kElements = 8 * Op::kStep;
  const In* row[8];
#pragma GCC unroll 8
  for (int l = 0; l < 8; ++l) row[l] = s.data + (L0 + l < lanes ? L0 + l : 0) * s.lane_stride;
  out += L0;
  int64_t k = 0;
  for (; k + kElements <= count; k += kElements, out += 8 * P)
    pack_words<Op, P, kHere, true>(row, k, kElements, out);
  if (k < count) pack_words<Op, P, kHere, false>(row, k, count - k, out);
}

template <class Op, int P, int L0, class In>
WS_INLINE void pack_along_k(const Lanes<In>& s, int64_t lanes, int64_t count, float* out) {
  pack_eight<Op, P, L0>(s, lanes, count, out);
  if constexpr (L0 + 8 < P) pack_along_k<Op, P, L0 + 8>(s, lanes, count, out);
}
#endif

// One panel of `count` elements along K.
template <class Op, int P, class In>
__attribute__((noinline)) void pack_panel(const Lanes<In>& s, int64_t lanes, int64_t count,
                                          typename Op::Sum* out) {
  if (s.lane_stride == 1 && lanes == P) return pack_along_lanes<Op, P>(s, count, out);
#if defined(__AVX2__)
  if constexpr (sizeof(typename Op::Sum) == 4)
    if (s.k_stride == 1) return pack_along_k<Op, P, 0>(s, lanes, count, out);
#endif
  pack_slowly<Op, P>(s, lanes, count, out);
}

WS_KERNELS_END
