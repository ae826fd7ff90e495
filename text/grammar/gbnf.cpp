// GBNF, llama.cpp's grammar notation: the parser, and its rules as automata.

#include <algorithm>
#include <cctype>
#include <map>

#include "base/error.h"
#include "text/grammar/char_automaton.h"
#include "text/grammar/grammar.h"
#include "text/unicode.h"

namespace wellspring {

namespace grammar {

namespace {

using Kind = Expression::Kind;

constexpr int kMaxGbnfNesting = 200;
/// Copies of a repeated part are drawn up to this many nodes; beyond, it becomes a counted call.
constexpr uint64_t kCopiedNodes = 64;

struct GbnfRule {
  std::string name;
  ExpressionPtr body;
  size_t first_use = 0;  ///< byte offset
};

class GbnfParser {
 public:
  explicit GbnfParser(std::string_view text) : text_(text) {}

  std::vector<GbnfRule> run() {
    for (blanks(true); more(); blanks(true)) definition();
    for (const GbnfRule& r : rules_)
      if (!r.body) fail_at("the rule '" + r.name + "' is used but defined nowhere", r.first_use);
    return std::move(rules_);
  }
  /// Index of a rule, which it makes.
  int rule(const std::string& name) {
    auto [it, added] = ids_.try_emplace(name, static_cast<int>(rules_.size()));
    if (added) rules_.push_back({name, nullptr, at_});
    return it->second;
  }
  bool has(const std::string& name) const { return ids_.count(name); }

 private:
  [[noreturn]] void fail(const std::string& what) const { fail_at(what, at_); }
  [[noreturn]] void fail_at(const std::string& what, size_t at) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < text_.size(); ++i, ++column)
      if (text_[i] == '\n') ++line, column = 0;
    throw Error(Fault::data, "grammar, line " + std::to_string(line) + ", column " +
                                 std::to_string(column) + ": " + what);
  }
  bool more() const { return at_ < text_.size(); }
  char peek() const { return more() ? text_[at_] : 0; }
  bool take(std::string_view s) {
    if (!text_.substr(at_).starts_with(s)) return false;
    at_ += s.size();
    return true;
  }
  /// Blanks and comments; line ends only when `lines`.
  void blanks(bool lines) {
    for (; more(); ++at_) {
      const char c = peek();
      if (c == '#') {
        while (at_ + 1 < text_.size() && text_[at_ + 1] != '\n') ++at_;
      } else if (c != ' ' && c != '\t' && c != '\r' && !(lines && c == '\n')) {
        return;
      }
    }
  }
  static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  }
  std::string name() {
    const size_t begin = at_;
    while (is_name(peek())) ++at_;
    if (at_ == begin) fail("a rule's name is expected (letters, digits, '-')");
    return std::string(text_.substr(begin, at_ - begin));
  }

  void definition() {
    const size_t begin = at_;
    const int id = rule(name());
    blanks(false);
    if (!take("::=")) fail("'::=' is expected after a rule's name");
    blanks(true);
    if (rules_[id].body)
      fail_at("the rule '" + rules_[id].name + "' is defined a second time", begin);
    ExpressionPtr body = choice(false);
    rules_[id].body = std::move(body);
    if (more() && peek() != '\n') fail("unexpected character");
  }

  ExpressionPtr choice(bool nested) {
    if (++depth_ > kMaxGbnfNesting) fail("nested deeper than " + std::to_string(kMaxGbnfNesting));
    std::vector<ExpressionPtr> parts{sequence(nested)};
    while (another(nested)) {
      blanks(true);
      parts.push_back(sequence(nested));
    }
    --depth_;
    return parts.size() == 1 ? parts[0] : make_choice(std::move(parts));
  }
  /// A '|', which may stand at the beginning of the next line.
  bool another(bool nested) {
    const size_t begin = at_;
    blanks(true);
    if (take("|")) return true;
    if (!nested) at_ = begin;
    return false;
  }

  ExpressionPtr sequence(bool nested) {
    std::vector<ExpressionPtr> parts;
    for (;;) {
      blanks(nested);
      const char c = peek();
      if (!more() || c == '\n' || c == '|' || c == ')') break;
      parts.push_back(repeated(item(c)));
    }
    return parts.size() == 1 ? parts[0] : make_sequence(std::move(parts));
  }

  ExpressionPtr item(char c) {
    if (take("\"")) return literal();
    if (take("[")) return bracket();
    if (take(".")) return make_chars(CharSet::all());
    if (c == '(') {
      const size_t begin = at_++;
      ExpressionPtr e = choice(true);
      blanks(true);
      if (!take(")")) fail_at("'(' without ')'", begin);
      return e;
    }
    if (c == '<' || c == '!') fail("tokens (<...>) are not known in grammars: write their text");
    if (!is_name(c)) fail("a literal, a class, a rule's name or '(' is expected");
    auto e = std::make_shared<Expression>();
    e->kind = Kind::rule;
    const size_t begin = at_;
    const std::string called = name();
    const bool known = has(called);
    e->rule = rule(called);
    if (!known) rules_[e->rule].first_use = begin;
    return e;
  }

  ExpressionPtr repeated(ExpressionPtr e) {
    blanks(false);
    uint32_t min = 0, max = kUnbounded;
    if (take("*")) {
    } else if (take("+")) {
      min = 1;
    } else if (take("?")) {
      max = 1;
    } else if (peek() == '{') {
      const size_t begin = at_++;
      min = max = number();
      blanks(false);
      if (take(",")) {
        blanks(false);
        max = peek() == '}' ? kUnbounded : number();
      }
      blanks(false);
      if (!take("}")) fail_at("'{' without '}'", begin);
      if (max < min) fail_at("a repetition whose maximum is below its minimum", begin);
    } else {
      return e;
    }
    blanks(false);
    if (peek() == '*' || peek() == '+' || peek() == '?' || peek() == '{')
      fail("a repetition of a repetition: put it in parentheses");
    return make_repeat(std::move(e), min, max);
  }
  uint32_t number() {
    if (peek() < '0' || peek() > '9') fail("a number is expected");
    uint64_t n = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_)
      if ((n = n * 10 + static_cast<uint64_t>(peek() - '0')) > 1'000'000)
        fail("a repetition over 1000000");
    return static_cast<uint32_t>(n);
  }

  ExpressionPtr literal() {
    const size_t begin = at_ - 1;
    std::vector<ExpressionPtr> parts;
    while (!take("\"")) {
      if (!more() || peek() == '\n') fail_at("a literal without its closing quote", begin);
      const uint32_t c = character();
      parts.push_back(make_chars({{c, c}}));
    }
    return make_sequence(std::move(parts));
  }

  ExpressionPtr bracket() {
    const size_t begin = at_ - 1;
    CharSet set;
    const bool inverted = take("^");
    while (!take("]")) {
      if (!more() || peek() == '\n') fail_at("a class without ']'", begin);
      const uint32_t low = character();
      uint32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = character();
        if (high < low) fail("a range that ends before it begins");
      }
      set.add(low, high);
    }
    return make_chars(inverted ? set.inverted() : set);
  }

  uint32_t character() {
    if (!take("\\")) {
      const auto c = unicode::decode(text_.data() + at_, text_.data() + text_.size());
      if (!c.valid) fail("not valid UTF-8");
      at_ += static_cast<size_t>(c.length);
      return c.code;
    }
    if (!more()) fail("'\\' at the end");
    const char e = text_[at_++];
    switch (e) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return static_cast<unsigned char>(e);
      default:
        --at_;
        fail("an escape that is not known");
    }
  }
  uint32_t hex(int digits) {
    uint32_t c = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char d = peek();
      if (!std::isxdigit(static_cast<unsigned char>(d)))
        fail(std::to_string(digits) + " hexadecimal digits are expected");
      c = c << 4 | static_cast<uint32_t>(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) fail("not a character's number");
    return c;
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  std::vector<GbnfRule> rules_;
  std::map<std::string, int> ids_;
};

/// Draws the rules. Rule i of the grammar is rule i of the automaton.
class GbnfDrawer {
 public:
  GbnfDrawer(const std::vector<GbnfRule>& rules, Builder& builder)
      : rules_(rules), builder_(builder), nullable_(rules.size()) {
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t i = 0; i < rules.size(); ++i)
        if (!nullable_[i] && nullable(*rules[i].body)) nullable_[i] = changed = true;
    }
    for (const GbnfRule& r : rules) builder_.declare(r.name);
    for (size_t i = 0; i < rules.size(); ++i) define(static_cast<int>(i), *rules[i].body);
  }

 private:
  void define(int id, const Expression& e, uint32_t min = 0, uint32_t max = 0) {
    Draft draft;
    draw(draft, e, Draft::kStart, Draft::kEnd);
    builder_.define(id, draft, min, max);
  }
  bool nullable(const Expression& e) {
    builder_.budget().spend(1);
    auto part = [&](const ExpressionPtr& p) { return nullable(*p); };
    switch (e.kind) {
      case Kind::sequence:
        return std::all_of(e.parts.begin(), e.parts.end(), part);
      case Kind::choice:
        return std::any_of(e.parts.begin(), e.parts.end(), part);
      case Kind::repeat:
        return e.min == 0 || nullable(*e.parts[0]);
      case Kind::rule:
        return nullable_[e.rule];
      default:
        return false;
    }
  }
  static uint64_t size_of(const Expression& e) {
    uint64_t n = 1;
    for (const auto& p : e.parts) n += size_of(*p);
    if (e.kind == Kind::repeat) n *= e.max == kUnbounded ? e.min + 1 : std::max(e.max, 1u);
    return n;
  }

  void draw(Draft& draft, const Expression& e, int from, int to) {
    builder_.budget().spend(2 + 8 * e.set.ranges().size());
    switch (e.kind) {
      case Kind::chars:
        return add_chars(draft, from, to, e.set, Spelling::utf8);
      case Kind::sequence:
        for (const auto& p : e.parts) {
          const int next = draft.node();
          draw(draft, *p, from, next);
          from = next;
        }
        return draft.epsilon(from, to);
      case Kind::choice:
        for (const auto& p : e.parts) draw(draft, *p, from, to);
        return;
      case Kind::rule:
        return draft.call(from, e.rule, to);
      default:
        return draw_repeat(draft, e, from, to);
    }
  }

  /// (x{0,n}){k,m} is x{0,nm}, (x{1,n}){k,m} is x{k,nm}: one counter instead of two that may split
  /// a text in many ways. Null for other expressions.
  static ExpressionPtr flattened(const Expression& e) {
    const Expression& inner = *e.parts[0];
    if (inner.kind != Kind::repeat || inner.min > 1) return nullptr;
    const bool none = e.max == 0 || inner.max == 0;
    const bool endless = !none && (e.max == kUnbounded || inner.max == kUnbounded);
    const uint64_t max = endless ? kUnbounded : uint64_t{e.max} * inner.max;
    if (!endless && max >= kUnbounded) return nullptr;
    return make_repeat(inner.parts[0], inner.min ? e.min : 0, static_cast<uint32_t>(max));
  }

  void draw_repeat(Draft& draft, const Expression& e, int from, int to) {
    const Expression& part = *e.parts[0];
    if (const ExpressionPtr flat = flattened(e)) return draw_repeat(draft, *flat, from, to);
    const bool empty = nullable(part);
    const uint32_t min = empty ? 0 : e.min;  // what may be empty need not be there
    if (e.max == kUnbounded && min <= 1) {
      const int loop = draft.node();
      if (min)
        draw(draft, part, from, loop);
      else
        draft.epsilon(from, loop);
      draw(draft, part, loop, loop);
      return draft.epsilon(loop, to);
    }
    const uint64_t copies = e.max == kUnbounded ? min : e.max;
    if (copies * size_of(part) <= kCopiedNodes || (empty && copies <= 100))
      return draw_copies(draft, e, min, from, to);
    if (empty)
      throw Error(Fault::data,
                  "grammar: a repetition over 100 of a part that may be empty: make the part not "
                  "empty, or leave the limit out");
    if (part.kind == Kind::chars) return draft.call(from, counted_chars(part.set, min, e.max), to);
    int rule = part.rule;
    if (part.kind != Kind::rule) {
      rule = builder_.declare("(repeated)");
      define(rule, part);
    }
    draft.call(from, rule, to, min, e.max);
  }
  void draw_copies(Draft& draft, const Expression& e, uint32_t min, int from, int to) {
    const uint32_t n = e.max == kUnbounded ? min : e.max;
    for (uint32_t i = 0; i < n; ++i) {
      const int next = draft.node();
      if (i >= min) draft.epsilon(from, to);
      draw(draft, *e.parts[0], from, next);
      from = next;
    }
    if (e.max == kUnbounded) draw(draft, *e.parts[0], from, from);
    draft.epsilon(from, to);
  }
  int counted_chars(const CharSet& set, uint32_t min, uint32_t max) {
    const int rule = builder_.declare("(characters)");
    Draft draft;
    add_chars(draft, Draft::kStart, Draft::kStart, set, Spelling::utf8, kCount);
    draft.epsilon(Draft::kStart, Draft::kEnd);
    builder_.define(rule, draft, min, max);
    return rule;
  }

  const std::vector<GbnfRule>& rules_;
  Builder& builder_;
  std::vector<bool> nullable_;
};

}  // namespace

}  // namespace grammar

Grammar grammar_from_gbnf(std::string_view text) {
  grammar::GbnfParser parser(text);
  const int root = parser.rule("root");
  const std::vector<grammar::GbnfRule> rules = parser.run();
  grammar::Budget budget;
  grammar::Builder builder(budget);
  grammar::GbnfDrawer(rules, builder);
  return Grammar(builder.finish(root, "grammar"));
}

Grammar grammar_from_regex(std::string_view pattern) {
  using grammar::Draft;
  const std::string where = "regular expression";
  grammar::Budget budget;
  const auto e = grammar::parse_regex(pattern, grammar::Dialect::re2, where);
  const grammar::CharAutomaton automaton(std::span(&e, 1), 0, grammar::kUnbounded, budget);
  grammar::Builder builder(budget);
  const int rule = builder.declare(where);
  Draft draft;
  automaton.draw(draft, Draft::kStart, Draft::kEnd, grammar::Spelling::utf8, budget);
  builder.define(rule, draft);
  return Grammar(builder.finish(rule, where));
}

}  // namespace wellspring
