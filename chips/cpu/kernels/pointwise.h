#pragma once
// Elementwise kernels: what the generated ones (ops/gen_pointwise.py) are made of. A row function
// computes one result of an operator on a row of numbers of its compute type; run_pointwise()
// brings any layout and dtype to rows. Include inside kernel sources only.

#include "chips/cpu/vector_special.h"

WS_SHARED_BEGIN

// Slots of a kernel: its inputs, then its parameters.
constexpr int kPointwiseSlots = 6;

// One row: whole vectors, n elements. A slot's pointer moves by step[slot] elements (1, or 0 for
// one repeated vector).
struct PointwiseRow {
  int64_t n;
  const void* in[kPointwiseSlots];
  int64_t step[kPointwiseSlots];
  void* out;
};

struct PointwiseResultLoop {
  uint32_t slots = 0;                        // bits of the slots that it reads
  void (*row[3])(const PointwiseRow&) = {};  // computing in f32, f64, i64; null: not offered
};

// Call: outs as `loops` (undefined ones are not wanted); ins of any shape that broadcasts to the
// outs' and any dtype, undefined where the operand is a number; attrs: compute dtype, parameters,
// then one value for each input (as f64 or i64, by the compute dtype).
struct Pointwise {
  const char* name;
  int ins, params, outs;
  bool truth;  // rows give bytes 0 and 1
  PointwiseResultLoop loops[3];
};
void run_pointwise(const Call& call, const Pointwise& kernel);

WS_SHARED_END

WS_KERNELS_BEGIN

template <class V>
struct VectorOf {
  using Element = std::remove_reference_t<decltype(V{}[0])>;
  typedef Element Unaligned
      __attribute__((vector_size(kVectorBytes), aligned(sizeof(Element)), may_alias));
  static constexpr int kLanes = sizeof(V) / sizeof(Element);
};

template <class V>
WS_INLINE V load_row(const void* base, int64_t element) {
  using E = typename VectorOf<V>::Element;
  return *reinterpret_cast<const typename VectorOf<V>::Unaligned*>(static_cast<const E*>(base) +
                                                                   element);
}
// Numbers go out as they are, conditions as bytes.
template <bool Truth, class V, class R>
WS_INLINE void store_row(void* base, int64_t element, R value) {
  using E = typename VectorOf<V>::Element;
  if constexpr (!Truth) {
    *reinterpret_cast<typename VectorOf<V>::Unaligned*>(static_cast<E*>(base) + element) = value;
  } else {
    constexpr int n = VectorOf<V>::kLanes;
    typedef uint8_t Bytes __attribute__((vector_size(n)));
    const Bytes bytes = __builtin_convertvector(value, Bytes) & 1;
    std::memcpy(static_cast<uint8_t*>(base) + element, &bytes, n);
  }
}

template <class Op, class V, int... Slot>
void row(const PointwiseRow& given) {
  const PointwiseRow r = given;  // a copy that no store can change
  for (int64_t i = 0; i < r.n; i += VectorOf<V>::kLanes)
    store_row<Op::kTruth, V>(r.out, i, Op::apply(load_row<V>(r.in[Slot], i * r.step[Slot])...));
}

WS_KERNELS_END
