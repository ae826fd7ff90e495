#pragma once
// Regular expressions and right-hand sides of GBNF as trees. Internal to this folder.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/char_set.h"

namespace wellspring::grammar {

struct Expression;
using ExpressionPtr = std::shared_ptr<const Expression>;

struct Expression {
  enum class Kind {
    chars,       ///< one character of `set`
    sequence,    ///< parts one after another; without parts: the empty text
    choice,      ///< one of the parts
    repeat,      ///< parts[0], min to max times
    rule,        ///< another rule (GBNF)
    text_begin,  ///< ^
    text_end,    ///< $
  };
  Kind kind = Kind::sequence;
  CharSet set;
  std::vector<ExpressionPtr> parts;
  uint32_t min = 0, max = 0;
  int rule = -1;
};

ExpressionPtr make_chars(CharSet set);
ExpressionPtr make_sequence(std::vector<ExpressionPtr> parts);
ExpressionPtr make_choice(std::vector<ExpressionPtr> parts);
ExpressionPtr make_repeat(ExpressionPtr part, uint32_t min, uint32_t max);
ExpressionPtr make_text(std::string_view utf8);

/// Which dialect's classes: RE2's, or those characters that all dialects of JSON schemas agree on
/// (`.` takes no line separator, `\S` no blank of Unicode).
enum class Dialect { re2, schema };

/// Error(Fault::data) "WHERE: what (at byte N)"; nesting over 200 and repetitions over 1000 are
/// refused as in RE2.
ExpressionPtr parse_regex(std::string_view pattern, Dialect dialect, const std::string& where);
/// The same anchored at neither end: a text somewhere in which the pattern matches.
ExpressionPtr anywhere(ExpressionPtr pattern);

}  // namespace wellspring::grammar
