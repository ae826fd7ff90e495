#include "text/grammar/schema_draft.h"

#include <algorithm>

#include "base/json.h"
#include "text/unicode.h"

namespace wellspring::grammar {

namespace {

constexpr int kMaxIndent = 32;

CharSet plain_characters() { return CharSet{{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}.inverted(); }

void hex_digit(Draft& d, int from, int to) {
  d.bytes(from, '0', '9', to);
  d.bytes(from, 'a', 'f', to);
  d.bytes(from, 'A', 'F', to);
}

/// Two bytes that are one letter in both cases.
void letter(Draft& d, int from, int to, char low, char high) {
  d.bytes(from, low, high, to);
  d.bytes(from, low - 32, high - 32, to);
}

/// \u.... after its backslash; surrogates only in pairs.
void unicode_escape(Draft& d, int from, int to) {
  const int u = d.literal(from, "u");
  int any[4];  // so many hexadecimal digits are left
  any[0] = to;
  for (int i = 1; i < 4; ++i) {
    any[i] = d.node();
    hex_digit(d, any[i], any[i - 1]);
  }
  d.bytes(u, '0', '9', any[3]);
  letter(d, u, any[3], 'a', 'c');
  letter(d, u, any[3], 'e', 'f');
  const int after_d = d.node(), high = d.node(), high2 = d.node(), low = d.node();
  letter(d, u, after_d, 'd', 'd');
  d.bytes(after_d, '0', '7', any[2]);
  d.bytes(after_d, '8', '9', high);
  letter(d, after_d, high, 'a', 'b');
  hex_digit(d, high, high2);
  const int second = d.node();
  hex_digit(d, high2, second);
  const int u2 = d.literal(second, "\\u");
  letter(d, u2, low, 'd', 'd');
  letter(d, low, any[2], 'c', 'f');
}

}  // namespace

int JsonParts::line_rule() {
  if (line_ >= 0) return line_;
  line_ = builder_.declare("(new line)");
  Draft d;
  int at = d.literal(Draft::kStart, "\n");
  for (int i = 0; i < kMaxIndent; ++i) {
    d.epsilon(at, Draft::kEnd);
    const int next = d.node();
    d.bytes(at, ' ', ' ', next);
    d.bytes(at, '\t', '\t', next);
    at = next;
  }
  d.epsilon(at, Draft::kEnd);
  builder_.define(line_, d);
  return line_;
}

void JsonParts::gap(Draft& d, int from, int to) {
  d.epsilon(from, to);
  if (blanks_ != JsonBlanks::free) return;
  d.bytes(from, ' ', ' ', to);
  d.call(from, line_rule(), to);
}

void JsonParts::comma(Draft& d, int from, int to) {
  const int after = d.literal(from, ",");
  if (blanks_ == JsonBlanks::spaced)
    d.bytes(after, ' ', ' ', to);
  else
    gap(d, after, to);
}

int JsonParts::colon(Draft& d, int from) {
  const int after = d.literal(from, ":");
  if (blanks_ == JsonBlanks::none) return after;
  const int to = d.node();
  d.bytes(after, ' ', ' ', to);
  if (blanks_ == JsonBlanks::free) d.epsilon(after, to);
  return to;
}

int JsonParts::separated(Draft& d, int from, bool first) {
  const int to = d.node();
  if (first)
    gap(d, from, to);
  else
    comma(d, from, to);
  return to;
}

void JsonParts::more(Draft& d, int from, int close, uint32_t min, uint32_t max,
                     const std::function<void(Draft&, int, int)>& element) {
  if (max == kUnbounded && min == 0) {
    element(d, separated(d, from, false), from);
    return gap(d, from, close);
  }
  if (max > 0) {
    const int rule = builder_.declare("(element)");
    Draft own;
    element(own, separated(own, Draft::kStart, false), Draft::kEnd);
    builder_.define(rule, own);
    const int next = d.node();
    d.call(from, rule, next, min, max);
    from = next;
  }
  gap(d, from, close);
}

int JsonParts::value(Draft& d, int from, const Json& v) {
  builder_.budget().spend(10);
  if (v.is_string())
    return d.literal(from, '"' + json_spelling(v.get_ref<const std::string&>()) + '"');
  if (!v.is_structured()) return d.literal(from, to_text(v));
  int at = d.literal(from, v.is_object() ? "{" : "[");
  bool first = true;
  for (auto it = v.begin(); it != v.end(); ++it) {
    at = separated(d, at, first);
    first = false;
    if (v.is_object()) at = colon(d, d.literal(at, '"' + json_spelling(it.key()) + '"'));
    at = value(d, at, *it);
  }
  const int close = d.node();
  gap(d, at, close);
  return d.literal(close, v.is_object() ? "}" : "]");
}

int JsonParts::string_rule(uint32_t min, uint32_t max) {
  auto [it, added] = strings_.try_emplace({min, max}, -1);
  if (!added) return it->second;
  const int rule = it->second = builder_.declare("(text)");
  const bool counted = min > 0 || max != kUnbounded;
  const uint8_t count = counted ? kCount : 0, guard = counted ? kGuard : 0;
  Draft d;
  if (min <= max) {
    const int body = d.literal(Draft::kStart, "\""), slash = d.node();
    add_chars(d, body, body, plain_characters(), Spelling::utf8, count);
    d.bytes(body, '\\', '\\', slash, count);
    for (char c : std::string_view("\"\\/bfnrt")) d.bytes(slash, c, c, body);
    unicode_escape(d, slash, body);
    d.bytes(body, '"', '"', Draft::kEnd, guard);
  }
  builder_.define(rule, d, counted ? min : 0, counted ? max : 0);
  return rule;
}

int JsonParts::number_rule(bool fractions) {
  int& rule = numbers_[fractions];
  if (rule >= 0) return rule;
  rule = builder_.declare("(number)");
  Draft d;
  NumberShape shape;
  shape.fractions = fractions;
  draw_number(d, Draft::kStart, Draft::kEnd, shape);
  builder_.define(rule, d);
  return rule;
}

int JsonParts::key_rule(const std::vector<std::string>& except) {
  auto [it, added] = keys_.try_emplace(except, -1);
  if (!added) return it->second;
  const int rule = it->second = builder_.declare("(property name)");
  Draft d;
  const int open = d.literal(Draft::kStart, "\""), other = d.node();
  add_chars(d, other, other, CharSet::all(), Spelling::json);
  d.bytes(other, '"', '"', Draft::kEnd);
  // A tree of the names: whoever leaves it writes another name.
  struct Branch {
    int node;
    bool name = false;
    std::map<uint32_t, size_t> children;
  };
  std::vector<Branch> tree{{open, false, {}}};
  for (const std::string& name : except) {
    size_t at = 0;
    const char* end = name.data() + name.size();
    for (const char* p = name.data(); p < end;) {
      const auto c = unicode::decode(p, end);
      p += c.length;
      const auto known = tree[at].children.find(c.code);
      if (known != tree[at].children.end()) {
        at = known->second;
        continue;
      }
      tree[at].children[c.code] = tree.size();
      at = tree.size();
      tree.push_back({d.node(), false, {}});
    }
    tree[at].name = true;
  }
  for (const Branch& b : tree) {
    CharSet known;
    for (const auto& [c, child] : b.children) {
      known.add(c, c);
      add_chars(d, b.node, tree[child].node, {{c, c}}, Spelling::json);
    }
    builder_.budget().spend(50);
    add_chars(d, b.node, other, known.inverted(), Spelling::json);
    if (!b.name) d.bytes(b.node, '"', '"', Draft::kEnd);
  }
  builder_.define(rule, d);
  return rule;
}

}  // namespace wellspring::grammar
