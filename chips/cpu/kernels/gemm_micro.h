#pragma once
// The register tile of the matrix product: kMr rows by two native vectors of C, from packed panels,
// and what happens to it afterwards (partial sums, bias, conversion). Include inside kernel sources
// only.

#include "chips/cpu/native.h"

// Whether the processor multiplies bf16 as pairs; otherwise they are widened to f32 when packed.
#if WS_ISA_LEVEL >= 3
#define WS_PAIR_PRODUCTS 1
#else
#define WS_PAIR_PRODUCTS 0
#endif

WS_KERNELS_BEGIN

// 2 kMr sums, two vectors of B and one of A fill the 16 or 32 vector registers.
constexpr int kMr = kVectorBytes == 64 ? 12 : 6;

// One step of the sum. A packed word holds kStep elements that are neighbours along K.
template <class T>
struct Plain {
  using Sum = T;
  static constexpr int kStep = 1;
  static WS_INLINE native<T> add(native<T> sum, T a, native<T> b) { return sum + a * b; }
};

// bf16 pairs in 32-bit words (low half: the first). Native: one instruction a step; else two
// products in f32, for tests of everything around it.
template <bool Native>
struct Pairs {
  using Sum = float;
  static constexpr int kStep = 2;
  static WS_INLINE native<float> add(native<float> sum, float a, native<float> b) {
#if WS_PAIR_PRODUCTS
    if constexpr (Native)
      return (native<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(a),
                                             (__m512bh)(__m512)b);
#endif
    typedef uint32_t words __attribute__((vector_size(kVectorBytes)));
    const uint32_t w = std::bit_cast<uint32_t>(a);
    sum = sum + std::bit_cast<float>(w << 16) * (native<float>)((words)b << 16);
    return sum + std::bit_cast<float>(w & 0xffff0000u) * (native<float>)((words)b & 0xffff0000u);
  }
};

template <class Op>
constexpr int kNr = 2 * kWidth<typename Op::Sum>;

// Where a register tile goes: out = partial + tile + bias, for `rows` x `cols` of it.
template <class Sum, class Out>
struct Target {
  const Sum* partial;  // null: none
  int64_t partial_row, partial_col;
  Out* out;
  int64_t out_row, out_col;
  const Sum* bias;      // of the columns; null: none
  const Sum* row_bias;  // of the rows; null: none
  int rows, cols;
};

WS_INLINE float convert(float v, const float*) { return v; }
WS_INLINE double convert(double v, const double*) { return v; }
WS_INLINE bf16_t convert(float v, const bf16_t*) { return to_bf16(v); }

template <class T>
WS_INLINE void store_pair(T* p, native<T> v0, native<T> v1) {
  store_native(p, v0);
  store_native(p + kWidth<T>, v1);
}
WS_INLINE void store_pair(bf16_t* p, native<float> v0, native<float> v1) {
#if defined(__AVX512F__)
  store(p, (vf)v0);
  store(p + kLanes, (vf)v1);
#else
  alignas(64) float x[kLanes] = {};
  store_native(x, v0);
  store_native(x + kWidth<float>, v1);
  alignas(32) bf16_t y[kLanes];
  store(y, load(x));
  std::memcpy(p, y, 2 * kWidth<float> * sizeof(bf16_t));
#endif
}

template <class Op, class Out>
WS_INLINE void finish(const native<typename Op::Sum> (&acc)[kMr][2],
                      const Target<typename Op::Sum, Out>& t) {
  using Sum = typename Op::Sum;
  constexpr int kW = kWidth<Sum>;
  if (t.rows == kMr && t.cols == kNr<Op> && t.out_col == 1 && t.partial_col == 1) {
    native<Sum> b0{}, b1{};
    if (t.bias) b0 = load_native(t.bias), b1 = load_native(t.bias + kW);
#pragma GCC unroll 12
    for (int m = 0; m < kMr; ++m) {
      native<Sum> v0 = acc[m][0], v1 = acc[m][1];
      if (t.partial) {
        v0 = load_native(t.partial + m * t.partial_row) + v0;
        v1 = load_native(t.partial + m * t.partial_row + kW) + v1;
      }
      if (t.bias) v0 += b0, v1 += b1;
      if (t.row_bias) v0 += t.row_bias[m], v1 += t.row_bias[m];
      store_pair(t.out + m * t.out_row, v0, v1);
    }
    return;
  }
  alignas(64) Sum tile[kMr][kNr<Op>];
#pragma GCC unroll 12
  for (int m = 0; m < kMr; ++m) store_pair(tile[m], acc[m][0], acc[m][1]);
  for (int m = 0; m < t.rows; ++m)
    for (int n = 0; n < t.cols; ++n) {
      Sum v = tile[m][n];
      if (t.partial) v = t.partial[m * t.partial_row + n * t.partial_col] + v;
      if (t.bias) v += t.bias[n];
      if (t.row_bias) v += t.row_bias[m];
      t.out[m * t.out_row + n * t.out_col] = convert(v, t.out);
    }
}

// One register tile: a is [words][kMr], b [words][kNr], both packed. `next` is fetched meanwhile,
// as many words as b has: the panel of B that comes after this one.
template <class Op, class Out>
__attribute__((noinline)) void micro(const typename Op::Sum* a, const typename Op::Sum* b,
                                     const typename Op::Sum* next, int64_t words,
                                     const Target<typename Op::Sum, Out>& t) {
  using Sum = typename Op::Sum;
  native<Sum> acc[kMr][2];
#pragma GCC unroll 12
  for (int m = 0; m < kMr; ++m) acc[m][0] = acc[m][1] = native<Sum>{};
  for (int m = 0; m < t.rows; ++m)
    __builtin_prefetch(t.out + m * t.out_row + (t.cols - 1) * t.out_col, 1);
#pragma GCC unroll 4
  for (int64_t k = 0; k < words; ++k) {
    const native<Sum> b0 = *reinterpret_cast<const native<Sum>*>(b);
    const native<Sum> b1 = *reinterpret_cast<const native<Sum>*>(b + kWidth<Sum>);
    __builtin_prefetch(a + 8 * 64 / sizeof(Sum));
    __builtin_prefetch(next + k * kNr<Op>, 0, 2);
#pragma GCC unroll 12
    for (int m = 0; m < kMr; ++m) {
      acc[m][0] = Op::add(acc[m][0], a[m], b0);
      acc[m][1] = Op::add(acc[m][1], a[m], b1);
    }
    a += kMr;
    b += kNr<Op>;
  }
  finish<Op>(acc, t);
}

WS_KERNELS_END
