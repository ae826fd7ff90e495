#pragma once
// For tests: a small vocabulary, and texts made by random tokens.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "text/grammar/grammar.h"

namespace wellspring {

/// Every byte, pieces of JSON, words, parts of characters, a special token; the last one ends the
/// text.
const GrammarVocabulary& small_vocabulary();

inline bool has_bit(const std::vector<uint64_t>& bits, int32_t id) {
  return bits[static_cast<size_t>(id) >> 6] >> (id & 63) & 1;
}

/// Whether a grammar takes all of a text, byte by byte.
bool takes(const Grammar& g, std::string_view text);

struct Written {
  std::string text;
  bool ended = false;
};

/// Writes random tokens; after `usual` of them, only such that lead to an end soon. Sometimes takes
/// tokens back, and checks masks against accept() now and then.
Written write_random(const Grammar& grammar, Random& random, int usual);

/// Random cases of a test: 1000, or as many as WELLSPRING_GRAMMAR_CASES says.
int random_cases();

}  // namespace wellspring
