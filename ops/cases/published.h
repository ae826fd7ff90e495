#pragma once
// The shape, stride and scalar sets of the published operator tests (FlagGems): a quick shape of
// each kind, and the full ones.

#include <functional>
#include <span>
#include <string>

#include "ops/cases.h"

namespace wellspring::published {

struct Sized {
  Shape shape;
  bool full;
};
inline const Sized kPointwise[] = {{{2, 19, 7}, false},
                                   {{}, true},
                                   {{1}, true},
                                   {{1024, 1024}, true},
                                   {{20, 320, 15}, true},
                                   {{16, 128, 64, 60}, true},
                                   {{16, 7, 57, 32, 29}, true}};
inline const Sized kReductions[] = {
    {{2, 32}, false}, {{1, 2}, true}, {{4096, 256}, true}, {{200, 40999, 3}, true}};
inline constexpr double kScalars[] = {0.001, -0.999, 100.001, -111.999};
inline constexpr int64_t kExtents[] = {15, 160, 1024};  // of products
/// Contiguous, dilated, transposed.
inline constexpr Layout kStrides[] = {Layout::packed, Layout::gaps, Layout::transposed};
inline constexpr DType kFloats[] = {DType::f16, DType::f32, DType::bf16, DType::f64};
inline constexpr DType kTypes[] = {DType::f16, DType::f32, DType::bf16,
                                   DType::f64, DType::i16, DType::i32};

inline bool is_largest(const Shape& shape) { return shape.numel() > (1 << 20); }
/// The slow reference takes seconds for one of the largest shapes: f32 and bf16 alone meet them.
inline bool too_slow(const Shape& shape, DType t) {
  return is_largest(shape) && t != DType::f32 && t != DType::bf16;
}

inline std::string text(const Shape& shape, DType t) {
  return shape.text() + " " + std::string(name_of(t));
}

/// f(x, dimension) over the reductions' shapes; without a dimension (nullopt) over all elements,
/// where `whole` says that it can.
template <class F>
void reductions(CaseList& cases, std::span<const DType> types, Fill fill, bool whole, F f) {
  for (const auto& [shape, full] : kReductions)
    for (DType t : types)
      for (int d = whole ? -1 : 0; d < shape.size(); ++d) {
        if (too_slow(shape, t) || (is_largest(shape) && d != 1)) continue;
        cases.publish(
            text(shape, t) + (d < 0 ? " over all" : " over " + std::to_string(d)),
            {random_input(shape, t, fill)},
            [f, d](const Tensors& in) -> Tensors {
              return {f(in[0], d < 0 ? std::nullopt : std::optional<int>(d))};
            },
            d < 0 ? shape.numel() : shape[d], full);
      }
}

/// f(M, N, K, dtype, full) for all sizes of products.
template <class F>
void products(F f) {
  for (DType t : kFloats) {
    f(int64_t{1}, int64_t{1}, int64_t{32}, t, false);
    for (int64_t m : kExtents)
      for (int64_t n : kExtents)
        for (int64_t k : kExtents) f(m, n, k, t, true);
  }
}

}  // namespace wellspring::published
