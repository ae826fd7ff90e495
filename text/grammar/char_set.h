#pragma once
// Sets of Unicode characters (surrogates never among them), and how they are spelled in bytes.
// Internal to this folder.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/builder.h"

namespace wellspring::grammar {

class CharSet {
 public:
  struct Range {
    uint32_t low, high;
    bool operator==(const Range&) const = default;
  };
  CharSet() = default;
  CharSet(std::initializer_list<Range> ranges);
  static CharSet all() { return {{0, 0x10FFFF}}; }
  void add(uint32_t low, uint32_t high);
  void add(const CharSet& other);
  void add_all(const std::vector<Range>& ranges);
  CharSet inverted() const;
  /// Ascending, disjoint, not adjacent.
  const std::vector<Range>& ranges() const { return ranges_; }
  bool contains(uint32_t c) const;
  bool empty() const { return ranges_.empty(); }
  bool operator==(const CharSet&) const = default;

 private:
  void tidy();
  std::vector<Range> ranges_;
};

enum class Spelling {
  utf8,
  json,  ///< inside a JSON string, each character in one way: escaped only where it must be
};

/// Edges from `from` to `to` for every character of the set.
void add_chars(Draft& draft, int from, int to, const CharSet& set, Spelling spelling,
               uint8_t action = 0);
/// A text as it stands between the quotes of a JSON string, by the same rule.
std::string json_spelling(std::string_view utf8);

}  // namespace wellspring::grammar
