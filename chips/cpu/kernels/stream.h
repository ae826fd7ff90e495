#pragma once
// Stores past the caches, for results that do not fit in them: no line is read before it is
// written.

#include <cstring>

#include "chips/cpu/simd.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

WS_KERNELS_BEGIN

/// From how many bytes of output on: less stays in the last cache for whoever reads it next.
constexpr int64_t kStreamBytes = 16 << 20;

// Makes streamed stores visible to other threads: call at the end of a tile.
WS_INLINE void stream_done() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

WS_INLINE bool is_line(const void* p) { return (reinterpret_cast<uintptr_t>(p) & 63) == 0; }

// 64 bytes from an aligned buffer.
WS_INLINE void put_line(void* out, const void* line, bool streaming) {
#if defined(__AVX2__)
  const __m256i a = _mm256_load_si256(static_cast<const __m256i*>(line));
  const __m256i b = _mm256_load_si256(static_cast<const __m256i*>(line) + 1);
  if (streaming) {
    _mm256_stream_si256(static_cast<__m256i*>(out), a);
    _mm256_stream_si256(static_cast<__m256i*>(out) + 1, b);
  } else {
    _mm256_storeu_si256(static_cast<__m256i*>(out), a);
    _mm256_storeu_si256(static_cast<__m256i*>(out) + 1, b);
  }
#elif defined(__SSE2__)
  for (int k = 0; k < 4; ++k) {
    const __m128i v = _mm_load_si128(static_cast<const __m128i*>(line) + k);
    if (streaming)
      _mm_stream_si128(static_cast<__m128i*>(out) + k, v);
    else
      _mm_storeu_si128(static_cast<__m128i*>(out) + k, v);
  }
#else
  std::memcpy(out, line, 64);
#endif
}

// `bytes` from anywhere to anywhere: whole lines of the target are streamed.
WS_INLINE void stream_copy(char* out, const char* in, int64_t bytes) {
  int64_t head = -reinterpret_cast<intptr_t>(out) & 63;
  if (head > bytes) head = bytes;
  std::memcpy(out, in, static_cast<size_t>(head));
  int64_t k = head;
#if defined(__AVX2__)
  for (; k + 64 <= bytes; k += 64) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + k));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + k + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(out + k), a);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(out + k + 32), b);
  }
#elif defined(__SSE2__)
  for (; k + 16 <= bytes; k += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(out + k),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + k)));
#endif
  std::memcpy(out + k, in + k, static_cast<size_t>(bytes - k));
}

WS_KERNELS_END
