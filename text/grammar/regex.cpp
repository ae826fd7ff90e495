// The parser of regular expressions.

#include "base/error.h"
#include "text/grammar/expression.h"
#include "text/unicode.h"

namespace wellspring::grammar {

namespace {

using Kind = Expression::Kind;

constexpr int kMaxNesting = 200;
constexpr uint32_t kMaxRepeat = 1000;

const CharSet kDigits{{'0', '9'}};
const CharSet kWords{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharSet kSpaces{{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}};
/// What ECMAScript and Python take for blanks, and the other readings of "line end".
const CharSet kAllSpaces{{'\t', '\r'},     {0x1C, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},
                         {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                         {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CharSet kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

struct PosixClass {
  const char* name;
  CharSet set;
};
const PosixClass kPosix[] = {
    {"alnum", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}}},
    {"alpha", {{'A', 'Z'}, {'a', 'z'}}},
    {"ascii", {{0, 0x7F}}},
    {"blank", {{'\t', '\t'}, {' ', ' '}}},
    {"cntrl", {{0, 0x1F}, {0x7F, 0x7F}}},
    {"digit", {{'0', '9'}}},
    {"graph", {{'!', '~'}}},
    {"lower", {{'a', 'z'}}},
    {"print", {{' ', '~'}}},
    {"punct", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
    {"space", {{'\t', '\r'}, {' ', ' '}}},
    {"upper", {{'A', 'Z'}}},
    {"word", {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}},
    {"xdigit", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}}},
};

class RegexParser {
 public:
  RegexParser(std::string_view text, Dialect dialect, const std::string& where)
      : text_(text), dialect_(dialect), where_(where) {}

  ExpressionPtr run() {
    ExpressionPtr e = choice();
    if (at_ < text_.size()) fail("')' without '('");
    return e;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { fail_at(what, at_); }
  [[noreturn]] void fail_at(const std::string& what, size_t at) const {
    throw Error(Fault::data, where_ + ": " + what + " (at byte " + std::to_string(at) + ")");
  }
  bool more() const { return at_ < text_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0; }
  bool take(std::string_view s) {
    if (!text_.substr(at_).starts_with(s)) return false;
    at_ += s.size();
    return true;
  }

  ExpressionPtr choice() {
    if (++depth_ > kMaxNesting) fail("nested deeper than " + std::to_string(kMaxNesting));
    std::vector<ExpressionPtr> parts{sequence()};
    while (take("|")) parts.push_back(sequence());
    --depth_;
    return parts.size() == 1 ? parts[0] : make_choice(std::move(parts));
  }

  ExpressionPtr sequence() {
    std::vector<ExpressionPtr> parts;
    while (more() && peek() != '|' && peek() != ')') {
      if (take("\\Q")) {  // up to \E all stands for itself
        while (more() && !take("\\E")) parts.push_back(make_chars({one(character())}));
        continue;
      }
      parts.push_back(repeated(atom()));
    }
    return parts.size() == 1 ? parts[0] : make_sequence(std::move(parts));
  }

  static CharSet::Range one(uint32_t c) { return {c, c}; }

  ExpressionPtr repeated(ExpressionPtr e) {
    uint32_t min = 0, max = 0;
    if (!repetition(min, max)) return e;
    take("?");  // lazy: the same language
    if (peek() == '+') fail("possessive repetition is not known: leave '+' out");
    const size_t again = at_;
    if (uint32_t x = 0, y = 0; repetition(x, y)) fail_at("a repetition of a repetition", again);
    return make_repeat(std::move(e), min, max);
  }
  bool repetition(uint32_t& min, uint32_t& max) {
    min = 0;
    max = kUnbounded;
    if (take("*")) return true;
    if (take("+")) {
      min = 1;
      return true;
    }
    if (take("?")) {
      max = 1;
      return true;
    }
    return counts(min, max);
  }

  /// {n} {n,} {n,m}; anything else is a brace that stands for itself.
  bool counts(uint32_t& min, uint32_t& max) {
    if (peek() != '{') return false;
    const size_t begin = at_;
    ++at_;
    const bool has = number(min);
    max = min;
    if (has && take(",") && !number(max)) max = kUnbounded;
    if (!has || !take("}")) {
      at_ = begin;
      return false;
    }
    if (min > kMaxRepeat || (max != kUnbounded && max > kMaxRepeat))
      fail_at("a repetition over 1000", begin);
    if (max < min) fail_at("a repetition whose maximum is below its minimum", begin);
    return true;
  }
  bool number(uint32_t& n) {
    if (peek() < '0' || peek() > '9') return false;
    n = 0;
    while (peek() >= '0' && peek() <= '9') n = std::min(n * 10 + (text_[at_++] - '0'), 100000u);
    return true;
  }

  uint32_t character() {
    const auto c = unicode::decode(text_.data() + at_, text_.data() + text_.size());
    if (!c.valid) fail("not valid UTF-8");
    at_ += static_cast<size_t>(c.length);
    return c.code;
  }

  ExpressionPtr simple(Kind kind) {
    auto e = std::make_shared<Expression>();
    e->kind = kind;
    return e;
  }

  ExpressionPtr atom() {
    const size_t begin = at_;
    if (peek() == '*' || peek() == '+' || peek() == '?') fail("nothing to repeat");
    uint32_t min = 0, max = 0;
    if (counts(min, max)) fail_at("nothing to repeat", begin);
    if (take("(")) return group(begin);
    if (take("[")) return make_chars(bracket(begin));
    if (take(".")) return make_chars(dot());
    if (take("^") || take("\\A")) return simple(Kind::text_begin);
    if (take("$") || take("\\z")) return simple(Kind::text_end);
    if (peek() == '\\') {
      CharSet set;
      uint32_t c = 0;
      if (escape(set, c)) return make_chars(std::move(set));
      return make_chars({one(c)});
    }
    return make_chars({one(character())});
  }

  CharSet dot() const {
    return dialect_ == Dialect::re2 ? CharSet{one('\n')}.inverted() : kLineEnds.inverted();
  }

  ExpressionPtr group(size_t begin) {
    if (take("?")) {
      if (take("P<") || (peek() == '<' && peek(1) != '=' && peek(1) != '!' && take("<"))) {
        const size_t end = text_.find('>', at_);
        if (end == std::string_view::npos || end == at_) fail("a group's name without '>'");
        for (size_t i = at_; i < end; ++i)
          if (!kWords.contains(static_cast<unsigned char>(text_[i])))
            fail_at("a group's name has letters, digits and '_' only", i);
        at_ = end + 1;
      } else if (!take(":")) {
        fail_at(
            "groups (?...) other than (?:...) and (?P<name>...), so flags and look-around, are "
            "not known",
            begin);
      }
    }
    ExpressionPtr e = choice();
    if (!take(")")) fail_at("'(' without ')'", begin);
    return e;
  }

  /// True: a class in `set`; false: one character in `c`.
  bool escape(CharSet& set, uint32_t& c) {
    const size_t begin = at_;
    ++at_;
    if (!more()) fail_at("'\\' at the end", begin);
    const char e = text_[at_];
    const CharSet blank = dialect_ == Dialect::re2 ? kSpaces : kAllSpaces;
    ++at_;
    switch (e) {
      case 'd':
        set = kDigits;
        return true;
      case 'D':
        set = kDigits.inverted();
        return true;
      case 'w':
        set = kWords;
        return true;
      case 'W':
        set = kWords.inverted();
        return true;
      case 's':
        set = kSpaces;
        return true;
      case 'S':
        set = blank.inverted();
        return true;
      case 'n':
        c = '\n';
        return false;
      case 't':
        c = '\t';
        return false;
      case 'r':
        c = '\r';
        return false;
      case 'f':
        c = '\f';
        return false;
      case 'v':
        c = '\v';
        return false;
      case 'a':
        if (dialect_ == Dialect::schema) break;
        c = '\a';
        return false;
      case 'x':
        c = take("{") ? hex(1, 6, true) : hex(2, 2, false);
        return false;
      case 'u':
        if (dialect_ == Dialect::re2) break;
        c = take("{") ? hex(1, 6, true) : hex(4, 4, false);
        return false;
      default:
        if (static_cast<unsigned char>(e) < 0x80 &&
            (e == '_' || !kWords.contains(static_cast<unsigned char>(e)))) {
          c = static_cast<unsigned char>(e);
          return false;
        }
    }
    fail_at("the escape '\\" + std::string(1, static_cast<unsigned char>(e) < 0x80 ? e : '?') +
                "' is not known (Unicode classes, word boundaries and references are not "
                "supported)",
            begin);
  }

  uint32_t hex(int at_least, int at_most, bool braced) {
    uint32_t c = 0;
    int n = 0;
    for (; n < at_most && std::isxdigit(static_cast<unsigned char>(peek())); ++n) {
      const char d = text_[at_++];
      c = c * 16 + static_cast<uint32_t>(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
    }
    if (n < at_least || (braced && !take("}"))) fail("hexadecimal digits expected");
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) fail("not a character's number");
    return c;
  }

  CharSet bracket(size_t begin) {
    CharSet set;
    const bool inverted = take("^");
    for (bool first = true; first || peek() != ']'; first = false) {
      if (!more()) fail_at("'[' without ']'", begin);
      if (posix(set)) continue;
      const size_t low_at = at_;
      CharSet part;
      uint32_t low = 0;
      if (in_bracket(part, low)) {
        set.add(part);
        continue;
      }
      uint32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && peek(1) != ']') {
        ++at_;
        if (in_bracket(part, high)) fail_at("a class as the end of a range", low_at);
        if (high < low) fail_at("a range that ends before it begins", low_at);
      }
      set.add(low, high);
    }
    ++at_;
    return inverted ? set.inverted() : set;
  }
  bool in_bracket(CharSet& set, uint32_t& c) {
    if (peek() == '\\') return escape(set, c);
    c = character();
    return false;
  }
  bool posix(CharSet& set) {
    if (peek() != '[' || peek(1) != ':' || dialect_ == Dialect::schema) return false;
    const size_t end = text_.find(":]", at_ + 2);
    if (end == std::string_view::npos) return false;
    std::string_view name = text_.substr(at_ + 2, end - at_ - 2);
    const bool inverted = name.starts_with('^');
    name.remove_prefix(inverted);
    for (const PosixClass& p : kPosix) {
      if (name != p.name) continue;
      set.add(inverted ? p.set.inverted() : p.set);
      at_ = end + 2;
      return true;
    }
    fail("the class '[:" + std::string(name) + ":]' is not known");
  }

  std::string_view text_;
  Dialect dialect_;
  const std::string& where_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

ExpressionPtr make_chars(CharSet set) {
  auto e = std::make_shared<Expression>();
  e->kind = Kind::chars;
  e->set = std::move(set);
  return e;
}
ExpressionPtr make_sequence(std::vector<ExpressionPtr> parts) {
  auto e = std::make_shared<Expression>();
  e->parts = std::move(parts);
  return e;
}
ExpressionPtr make_choice(std::vector<ExpressionPtr> parts) {
  auto e = std::make_shared<Expression>();
  e->kind = Kind::choice;
  e->parts = std::move(parts);
  return e;
}
ExpressionPtr make_repeat(ExpressionPtr part, uint32_t min, uint32_t max) {
  auto e = std::make_shared<Expression>();
  e->kind = Kind::repeat;
  e->min = min;
  e->max = max;
  e->parts.push_back(std::move(part));
  return e;
}
ExpressionPtr make_text(std::string_view utf8) {
  std::vector<ExpressionPtr> parts;
  const char* end = utf8.data() + utf8.size();
  for (const char* p = utf8.data(); p < end;) {
    const auto c = unicode::decode(p, end);
    parts.push_back(make_chars({{c.code, c.code}}));
    p += c.length;
  }
  return make_sequence(std::move(parts));
}

ExpressionPtr parse_regex(std::string_view pattern, Dialect dialect, const std::string& where) {
  return RegexParser(pattern, dialect, where).run();
}

ExpressionPtr anywhere(ExpressionPtr pattern) {
  auto any = make_repeat(make_chars(CharSet::all()), 0, kUnbounded);
  return make_sequence({any, std::move(pattern), any});
}

}  // namespace wellspring::grammar
