#pragma once
// Philox4x32-10 for sixteen counters at once.

#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

struct Philox {
  vu words[4];
};

// The 64-bit products of 16 words with one multiplier: lower and upper halves.
WS_INLINE void multiply(vu x, uint32_t by, vu* low, vu* high) {
#if defined(__AVX512F__)
  const __m512i b = _mm512_set1_epi32(static_cast<int>(by));
  const __m512i even = _mm512_mul_epu32((__m512i)x, b);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)x, 32), b);
  *low = (vu)_mm512_mask_mov_epi32(even, 0xAAAA, _mm512_slli_epi64(odd, 32));
  *high = (vu)_mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xAAAA, odd);
#elif defined(__AVX2__)
  const __m256i b = _mm256_set1_epi32(static_cast<int>(by));
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const auto from = (__m256i)x.part[i];
    const __m256i even = _mm256_mul_epu32(from, b),
                  odd = _mm256_mul_epu32(_mm256_srli_epi64(from, 32), b);
    low->part[i] = (vu::Native)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    high->part[i] = (vu::Native)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  }
#else
  for (int i = 0; i < kLanes; ++i) {
    const uint64_t p = static_cast<uint64_t>(x[i]) * by;
    (*low)[i] = static_cast<uint32_t>(p), (*high)[i] = static_cast<uint32_t>(p >> 32);
  }
#endif
}

// Ten rounds under `key` at the counters first ... first + 15; first is a multiple of 16.
WS_INLINE Philox philox16(uint64_t key, uint64_t first) {
  const vu lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  vu c0 = lanes + static_cast<uint32_t>(first), c1 = vu{} + static_cast<uint32_t>(first >> 32),
     c2 = {}, c3 = {};
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    vu low0, high0, low1, high1;
    multiply(c0, 0xD2511F53u, &low0, &high0);
    multiply(c2, 0xCD9E8D57u, &low1, &high1);
    c0 = high1 ^ c1 ^ k0, c1 = low1;
    c2 = high0 ^ c3 ^ k1, c3 = low0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

WS_KERNELS_END
