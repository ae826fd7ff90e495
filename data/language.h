#pragma once
// Kinds of characters and a guess at a document's language.

#include <string_view>

#include "data/shard.h"

namespace wellspring {

/// Han, kana, hangul and full-width forms: written without spaces, so that a line break between two
/// of them is no space.
bool is_wide(char32_t c);
/// Chinese ideographs alone.
bool is_han(char32_t c);

/// zh when Han are at least 15% of the letters (a Han counts as three letters, about what it says)
/// and kana are few; en when at least 60% of the letters are Latin; other otherwise. Looks at the
/// first 64 KiB.
Language guess_language(std::string_view text);

}  // namespace wellspring
