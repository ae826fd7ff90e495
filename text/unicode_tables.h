#pragma once
// Tables of text/unicode_tables.gen.cpp, made by tools/make_unicode_tables.py.

#include <cstdint>

namespace wellspring::unicode {

struct Decomposition {
  char32_t code;
  uint16_t begin;
  uint8_t size;
};
struct Composition {
  char32_t first, second, result;
};
struct CombiningRange {
  char32_t first, last;
  uint8_t combining_class;
};

extern const uint16_t kBlockIndex[8704];
extern const uint8_t kBlocks[][128];
extern const Decomposition kDecompositions[];  ///< full canonical, sorted by code; without Hangul
extern const int kDecompositionCount;
extern const char32_t kDecompositionPool[];
extern const Composition kCompositions[];  ///< sorted by (first, second); without Hangul
extern const int kCompositionCount;
extern const CombiningRange kCombining[];  ///< classes above 0, sorted
extern const int kCombiningCount;

}  // namespace wellspring::unicode
