#pragma once
// Runs of elements between any dtype and a compute type, and stores past the caches. Include inside
// kernel sources only.

#include "chips/cpu/vector_math.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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

using RunConverter = void (*)(void*, int64_t, const void*, int64_t, int64_t);
// By dtype, in the order of DType (c64 has none); null where the operators never convert so.
template <class C>
constexpr RunConverter kReaders[] = {convert_run<C, double>,  convert_run<C, float>,
                                     convert_run<C, Bf16>,    convert_run<C, F16>,
                                     convert_run<C, int64_t>, convert_run<C, int32_t>,
                                     convert_run<C, int16_t>, convert_run<C, int8_t>,
                                     convert_run<C, uint8_t>, convert_run<C, Bool>};
template <>
constexpr RunConverter kReaders<int64_t>[] = {nullptr,
                                              nullptr,
                                              nullptr,
                                              nullptr,
                                              convert_run<int64_t, int64_t>,
                                              convert_run<int64_t, int32_t>,
                                              convert_run<int64_t, int16_t>,
                                              convert_run<int64_t, int8_t>,
                                              convert_run<int64_t, uint8_t>,
                                              convert_run<int64_t, Bool>};
template <class C>
constexpr RunConverter kWriters[] = {convert_run<double, C>,
                                     convert_run<float, C>,
                                     convert_run<Bf16, C>,
                                     convert_run<F16, C>,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr};
template <class C>
constexpr RunConverter kWholeWriters[] = {convert_run<double, C>,  convert_run<float, C>,
                                          convert_run<Bf16, C>,    convert_run<F16, C>,
                                          convert_run<int64_t, C>, convert_run<int32_t, C>,
                                          convert_run<int16_t, C>, convert_run<int8_t, C>,
                                          convert_run<uint8_t, C>, convert_run<Bool, C>};

// Reads n elements of a dtype, `stride` apart, as numbers of compute type 0 (f32), 1 (f64) or 2
// (i64).
WS_INLINE void read_run(int type, void* to, const void* from, DType dtype, int64_t stride,
                        int64_t n) {
  const int d = static_cast<int>(dtype);
  (type == 0   ? kReaders<float>[d]
   : type == 1 ? kReaders<double>[d]
               : kReaders<int64_t>[d])(to, 1, from, stride, n);
}
// Writes them; type 3 is bytes 0 and 1.
WS_INLINE void write_run(int type, const void* from, void* to, DType dtype, int64_t stride,
                         int64_t n) {
  const int d = static_cast<int>(dtype);
  (type == 0   ? kWriters<float>[d]
   : type == 1 ? kWriters<double>[d]
   : type == 2 ? kWholeWriters<int64_t>[d]
               : kWholeWriters<uint8_t>[d])(to, stride, from, 1, n);
}

// Copies bytes past the caches; stream_fence() makes them visible to other threads.
WS_INLINE void stream_bytes(char* to, const char* from, int64_t bytes) {
#if defined(__SSE2__)
  int64_t head = -reinterpret_cast<intptr_t>(to) & 15;
  if (head > bytes) head = bytes;
  std::memcpy(to, from, head);
  int64_t at = head;
  for (; at + 16 <= bytes; at += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at)));
  std::memcpy(to + at, from + at, bytes - at);
#else
  std::memcpy(to, from, bytes);
#endif
}
WS_INLINE void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

WS_KERNELS_END
