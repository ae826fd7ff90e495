#pragma once
// Elementwise kernels: what the generated ones (ops/gen_pointwise.py) are made of. A row function
// computes one result of an operator on a row of numbers of its compute type; run_pointwise()
// brings any layout and dtype to rows. Include inside kernel sources only.

#include "chips/cpu/vector_special.h"

WS_SHARED_BEGIN

// Slots of a kernel: its inputs, then its parameters.
constexpr int kPointwiseSlots = 6;

// What a row function is of. bf16 is computed in f32, both halves of a word at once; the narrow
// integers are computed as they lie.
enum RowType { kRowF32, kRowF64, kRowI64, kRowBf16, kRowI32, kRowI16, kRowI8, kRowTypes };

// One row: whole vectors, n elements. A slot's pointer moves by step[slot] elements (1, or 0 for
// one repeated vector, of f32 for bf16).
struct PointwiseRow {
  int64_t n;
  const void* in[kPointwiseSlots];
  int64_t step[kPointwiseSlots];
  void* out;
};

struct PointwiseResultLoop {
  uint32_t slots = 0;                                // bits of the slots that it reads
  void (*row[kRowTypes])(const PointwiseRow&) = {};  // null: not offered
};

// Call: outs as `loops` (undefined ones are not wanted); ins of any shape that broadcasts to the
// outs' and any dtype, undefined where the operand is a number; attrs: compute dtype, parameters,
// then one value for each input (as f64 or i64, by the compute dtype).
struct Pointwise {
  const char* name;
  int ins, params, outs;
  bool truth;  // rows give bytes 0 and 1
  PointwiseResultLoop loops[3];
  double number = 0;                 // where the last input is this number, the one result
  PointwiseResultLoop special = {};  // by this loop, when there is one
};
void run_pointwise(const Call& call, const Pointwise& kernel);

WS_SHARED_END

WS_KERNELS_BEGIN

template <class V>
using ElementOf = std::remove_reference_t<decltype(V{}[0])>;

template <class V>
WS_INLINE V load_row(const void* base, int64_t element) {
  return load_native(static_cast<const ElementOf<V>*>(base) + element);
}
// Numbers go out as they are, conditions as bytes.
template <bool Truth, class V, class R>
WS_INLINE void store_row(void* base, int64_t element, R value) {
  if constexpr (!Truth) {
    store_native(static_cast<ElementOf<V>*>(base) + element, value);
  } else {
    constexpr int n = kWidth<ElementOf<V>>;
    typedef uint8_t Bytes __attribute__((vector_size(n)));
    const Bytes bytes = __builtin_convertvector(value, Bytes) & 1;
    std::memcpy(static_cast<uint8_t*>(base) + element, &bytes, n);
  }
}

// A repeated vector is read once: read anew each time it would wait for those of the pending stores
// whose address has the same lower 12 bits.
template <class Op, class V, int... Slot>
void row(const PointwiseRow& given) {
  const PointwiseRow r = given;  // a copy that no store can change
  V fixed[kPointwiseSlots];
  bool moves[kPointwiseSlots];
  ((moves[Slot] = r.step[Slot] != 0, fixed[Slot] = load_row<V>(r.in[Slot], 0)), ...);
  const auto at = [&](int slot, int64_t i) __attribute__((always_inline)) {
    return moves[slot] ? load_row<V>(r.in[slot], i) : fixed[slot];
  };
#pragma GCC unroll 2
  for (int64_t i = 0; i < r.n; i += kWidth<ElementOf<V>>)
    store_row<Op::kTruth, V>(r.out, i, Op::apply(at(Slot, i)...));
}

#if defined(__AVX2__)
WS_INLINE bool any_nan(vf_native a, vf_native b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_UNORD_Q) != 0;
#else
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_UNORD_Q)) != 0;
#endif
}

WS_INLINE vi_native rounded_halves(vf_native v, bool nan) {
  const vui_native u = (vui_native)v, rounded = u + 0x7fff + ((u >> 16) & 1);
  return (vi_native)(nan ? (v != v ? u | 0x400000 : rounded) : rounded);
}
// Words of two bf16: `even` in the lower halves, `odd` in the upper ones.
template <bool Exact>
WS_INLINE vi_native paired_halves(vf_native even, vf_native odd) {
  vi_native a = (vi_native)even, b = (vi_native)odd;
  if constexpr (!Exact) {
    const bool nan = __builtin_expect(any_nan(even, odd), 0);
    if (nan)
      a = rounded_halves(even, true), b = rounded_halves(odd, true);
    else
      a = rounded_halves(even, false), b = rounded_halves(odd, false);
  }
  return (vi_native)((vui_native)a >> 16) | (b & static_cast<int32_t>(0xffff0000u));
}

template <class Op, int... Slot>
void row_of_halves(const PointwiseRow& given) {
  const PointwiseRow r = given;
  vi_native fixed[kPointwiseSlots];
  bool moves[kPointwiseSlots];
  ((moves[Slot] = r.step[Slot] != 0, fixed[Slot] = load_row<vi_native>(r.in[Slot], 0)), ...);
  // Of a word the lower half is moved up, the upper one masked; a repeated f32 is both.
  const auto words = [&](int slot, int64_t i) __attribute__((always_inline)) {
    return load_row<vi_native>(static_cast<const char*>(r.in[slot]) + i * 2, 0);
  };
  const auto lower = [&](int slot, int64_t i) __attribute__((always_inline)) {
    return (vf_native)(moves[slot] ? words(slot, i) << 16 : fixed[slot]);
  };
  const auto upper = [&](int slot, int64_t i) __attribute__((always_inline)) {
    return (vf_native)(moves[slot] ? words(slot, i) & static_cast<int32_t>(0xffff0000u)
                                   : fixed[slot]);
  };
  const auto run = [&]<bool Exact>(std::bool_constant<Exact>) __attribute__((always_inline)) {
    for (int64_t i = 0; i < r.n; i += kVectorBytes / 2) {
      const auto even = Op::apply(lower(Slot, i)...);
      const auto odd = Op::apply(upper(Slot, i)...);
      if constexpr (Op::kTruth) {
        const vi_native both = ((vi_native)even & 0xffff) | ((vi_native)odd << 16);
        store_row<true, vs_native>(r.out, i, (vs_native)both);
      } else {
        store_row<false, vi_native>(static_cast<char*>(r.out) + i * 2, 0,
                                    paired_halves<Exact>(even, odd));
      }
    }
  };
  if constexpr (Op::kExact && sizeof...(Slot) > 1)
    if (((r.step[Slot] == 0) || ...)) return run(std::false_type());  // a number is any f32
  run(std::bool_constant<Op::kExact>());
}
#endif

// Null where shifting lane by lane is no instruction.
template <class Op, int... Slot>
constexpr auto halves_row() {
  using Row = void (*)(const PointwiseRow&);
#if defined(__AVX2__)
  return Row{row_of_halves<Op, Slot...>};
#else
  return Row{nullptr};
#endif
}

WS_KERNELS_END
