// Shapes of a JSON schema as rules of an automaton. Each set of schemas that a value must satisfy
// becomes one rule, so recursive schemas become recursive rules.

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/json.h"
#include "text/grammar/char_automaton.h"
#include "text/grammar/grammar.h"
#include "text/grammar/schema_draft.h"

namespace wellspring {

namespace grammar {

namespace {

/// Objects with more optional properties call a rule for each, which keeps the automaton small.
constexpr size_t kManyOptional = 8;

class SchemaCompiler {
 public:
  SchemaCompiler(const Json& root, const JsonGrammarOptions& options)
      : reader_(root, options.parts, budget_),
        builder_(budget_),
        parts_(builder_, options.blanks),
        options_(options),
        root_(root) {}

  Grammar run() {
    const int root = surrounded(rule_for({&root_}));
    for (size_t i = 0; i < todo_.size(); ++i) {
      const auto [rule, shapes] = std::move(todo_[i]);  // defining adds to the list
      define(rule, shapes);
    }
    for (const auto& [place, what] : reader_.left_out()) builder_.note(place + ": left out: " + what);
    return Grammar(builder_.finish(root, "JSON schema, #"));
  }

 private:
  int surrounded(int value) {
    if (options_.before.empty() && options_.after.empty() && options_.between.empty()) return value;
    Draft draft;
    const int begin = draft.literal(Draft::kStart, options_.before), end = draft.node();
    draft.call(begin, value, end);
    if (!options_.between.empty()) draft.literal(end, options_.between, begin);
    draft.literal(end, options_.after, Draft::kEnd);
    const int rule = builder_.declare("(around)");
    builder_.define(rule, draft);
    return rule;
  }

  /// The rule of a value that satisfies all schemas.
  int rule_for(const Schemas& schemas) {
    Schemas key;
    for (const Json* s : schemas)
      if (!s->is_boolean() || !s->get<bool>()) key.push_back(s);
    const Schemas order = key;
    std::sort(key.begin(), key.end());
    key.erase(std::unique(key.begin(), key.end()), key.end());
    auto [it, added] = rules_.try_emplace(key, -1);
    if (!added) return it->second;
    const std::string name = order.empty() ? "(any value)" : reader_.place(order[0]);
    it->second = builder_.declare(name);
    const int rule = it->second;
    // Most schemas are one plain text or number: those share a rule, and so its masks.
    std::vector<Shape> shapes = reader_.shapes(order);
    if (shapes.size() == 1)
      if (const int plain = plain_rule(shapes[0]); plain >= 0) return rules_[key] = plain;
    todo_.emplace_back(rule, std::move(shapes));
    return rule;
  }

  int plain_rule(const Shape& s) {
    if (s.has_values) return -1;
    const unsigned types = s.usual_types();
    if (types == kString && s.patterns.empty() && s.formats.empty())
      return parts_.string_rule(s.min_length, s.max_length);
    if (types != kInteger && types != (kInteger | kFraction)) return -1;
    const NumberShape n = reader_.number_of(s, types & kFraction);
    return n.bounded() ? -1 : parts_.number_rule(n.fractions);
  }

  void define(int rule, const std::vector<Shape>& shapes) {
    Draft draft;
    for (const Shape& s : shapes) {
      for (const Constraint& f : s.formats) note_format(f);
      if (s.has_values) {
        for (const Json* v : s.values)
          if (reader_.fits(*v, s))
            draft.epsilon(parts_.value(draft, Draft::kStart, *v), Draft::kEnd);
        continue;
      }
      draw(draft, s);
    }
    builder_.define(rule, draft);
  }

  void note_format(const Constraint& f) {
    if (!format_pattern(f.text))
      builder_.note(f.place + ": the format '" + f.text + "' does not constrain");
  }

  void draw(Draft& d, const Shape& s) {
    const unsigned types = s.usual_types();
    if (types & kNull) d.literal(Draft::kStart, "null", Draft::kEnd);
    if (types & kBoolean) {
      d.literal(Draft::kStart, "true", Draft::kEnd);
      d.literal(Draft::kStart, "false", Draft::kEnd);
    }
    if (types & kString) draw_text(d, s);
    if (types & (kInteger | kFraction)) {
      const NumberShape n = reader_.number_of(s, types & kFraction);
      if (n.bounded())
        draw_number(d, Draft::kStart, Draft::kEnd, n);
      else
        d.call(Draft::kStart, parts_.number_rule(n.fractions), Draft::kEnd);
    }
    if (types & kArray) draw_array(d, s);
    if (types & kObject) draw_object(d, s);
  }

  void draw_text(Draft& d, const Shape& s) {
    const auto expressions = reader_.texts_of(s);
    if (expressions.empty())
      return d.call(Draft::kStart, parts_.string_rule(s.min_length, s.max_length), Draft::kEnd);
    draw_pattern(d, Draft::kStart, Draft::kEnd, expressions, s);
  }
  void draw_pattern(Draft& d, int from, int to, const std::vector<ExpressionPtr>& expressions,
                    const Shape& s) {
    const CharAutomaton a(expressions, s.min_length, s.max_length, budget_);
    const int open = d.literal(from, "\""), close = d.node();
    a.draw(d, open, close, Spelling::json, budget_);
    d.literal(close, "\"", to);
  }

  void draw_array(Draft& d, const Shape& s) {
    if (s.min_items > s.max_items) return;
    // A tuple without `items` ends after its prefix, unless more elements are required.
    const bool closed = !s.prefix.empty() && !s.has_rest && s.min_items <= s.prefix.size();
    const uint32_t n = std::min<uint32_t>(s.prefix.size(), s.max_items);
    const uint32_t most = closed ? n : s.max_items;
    const int close = d.node();
    d.literal(close, "]", Draft::kEnd);
    int at = d.literal(Draft::kStart, "[");
    for (uint32_t i = 0; i < n; ++i) {
      if (i >= s.min_items) parts_.gap(d, at, close);
      at = parts_.separated(d, at, i == 0);
      const int next = d.node();
      d.call(at, rule_for(s.prefix[i]), next);
      at = next;
    }
    const uint32_t least = s.min_items > n ? s.min_items - n : 0;
    if (least == 0) parts_.gap(d, at, close);
    if (most <= n) return;
    uint32_t left_min = least, left_max = most == kUnbounded ? most : most - n;
    const int item = rule_for(s.rest);
    if (n == 0) {  // the first without a comma
      const int first = d.node();
      d.call(parts_.separated(d, at, true), item, first);
      at = first;
      if (left_min) --left_min;
      if (left_max != kUnbounded) --left_max;
    }
    parts_.more(d, at, close, left_min, left_max,
                [&](Draft& x, int from, int to) { x.call(from, item, to); });
  }

  struct Member {
    std::string name;
    Schemas schemas;
    bool required;
  };

  std::vector<Member> members_of(const Shape& s) {
    std::vector<Member> members;
    auto required = [&](const std::string& name) {
      return std::find(s.required.begin(), s.required.end(), name) != s.required.end();
    };
    for (const auto& [name, schemas] : s.properties)
      members.push_back({name, schemas, required(name)});
    for (const std::string& name : s.required)
      if (!s.property(name)) members.push_back({name, s.additional, true});
    if (!s.names.empty())
      for (Member& m : members)
        if (!reader_.valid(Json(m.name), s.names)) m.schemas = {&kNothing};
    return members;
  }

  void draw_object(Draft& d, const Shape& s) {
    const std::vector<Member> members = members_of(s);
    const auto required = static_cast<uint32_t>(
        std::count_if(members.begin(), members.end(), [](auto& m) { return m.required; }));
    const size_t optional = members.size() - required;
    // Where properties are listed and nothing is said of others, there are no others.
    const bool open = s.has_additional || s.properties.empty();
    if (s.min_properties > required)
      reader_.leave_out(s.min_properties_by, reader_.place(s.min_properties_by),
                        "minProperties over the number of required properties is not "
                        "supported: list them in 'required'");
    if (s.max_properties < required) return;
    bool counted = s.max_properties < (open ? kUnbounded : members.size());
    if (counted && optional) {
      reader_.leave_out(s.max_properties_by, reader_.place(s.max_properties_by),
                        "maxProperties together with optional properties is not "
                        "supported: leave it out");
      counted = false;
    }
    int fresh = d.literal(Draft::kStart, "{"), some = d.node();
    const int close = d.node();
    d.literal(close, "}", Draft::kEnd);
    for (const Member& m : members) {
      const int key = d.node(), next = d.node();
      if (fresh >= 0) parts_.gap(d, fresh, key);
      parts_.comma(d, some, key);
      member(d, key, next, m, optional > kManyOptional);
      if (!m.required) d.epsilon(some, next);
      const int still = m.required || fresh < 0 ? -1 : d.node();
      if (still >= 0) d.epsilon(fresh, still);
      fresh = still;
      some = next;
    }
    if (fresh >= 0) parts_.gap(d, fresh, close);
    if (!open || (counted && s.max_properties == required)) return parts_.gap(d, some, close);
    draw_additional(d, s, members, fresh, some, close,
                    counted ? s.max_properties - required : kUnbounded);
  }

  void draw_additional(Draft& d, const Shape& s, const std::vector<Member>& members, int fresh,
                       int some, int close, uint32_t most) {
    const int key = key_rule(s, members), value = rule_for(s.additional);
    auto pair = [&](Draft& x, int from, int to) {
      const int after = x.node();
      x.call(from, key, after);
      x.call(parts_.colon(x, after), value, to);
    };
    if (fresh >= 0) {
      const int first = d.node();
      pair(d, parts_.separated(d, fresh, true), first);
      parts_.more(d, first, close, 0, most == kUnbounded ? most : most - 1, pair);
    }
    parts_.more(d, some, close, 0, most, pair);
  }

  void member(Draft& d, int from, int to, const Member& m, bool by_rule) {
    const int value = rule_for(m.schemas);
    const std::string key = '"' + json_spelling(m.name) + '"';
    if (!by_rule) return d.call(parts_.colon(d, d.literal(from, key)), value, to);
    auto [it, added] = member_rules_.try_emplace({key, value}, -1);
    if (added) {
      it->second = builder_.declare(m.name);
      Draft own;
      own.call(parts_.colon(own, own.literal(Draft::kStart, key)), value, Draft::kEnd);
      builder_.define(it->second, own);
    }
    d.call(from, it->second, to);
  }

  /// The rule of a name that is none of the members'.
  int key_rule(const Shape& s, const std::vector<Member>& members) {
    std::vector<std::string> names;
    for (const Member& m : members) names.push_back(m.name);
    if (s.names.empty()) return parts_.key_rule(names);
    const int rule = builder_.declare("(property name)");
    Draft draft;
    for (const Shape& n : reader_.shapes(s.names)) {
      if (!(n.usual_types() & kString)) continue;
      if (n.has_values) {
        for (const Json* v : n.values)
          if (v->is_string() && reader_.fits(*v, n) &&
              std::find(names.begin(), names.end(), v->get<std::string>()) == names.end())
            draft.epsilon(parts_.value(draft, Draft::kStart, *v), Draft::kEnd);
        continue;
      }
      if (!names.empty()) {
        reader_.leave_out(s.names[0], reader_.place(s.names[0]),
                          "propertyNames without enum, together with properties and "
                          "additionalProperties, is not supported");
        continue;  // then there are no others
      }
      draw_pattern(draft, Draft::kStart, Draft::kEnd, reader_.texts_of(n), n);
    }
    builder_.define(rule, draft);
    return rule;
  }

  inline static const Json kNothing = false;
  Budget budget_;
  SchemaReader reader_;
  Builder builder_;
  JsonParts parts_;
  const JsonGrammarOptions& options_;
  const Json& root_;
  std::map<Schemas, int> rules_;
  std::map<std::pair<std::string, int>, int> member_rules_;
  std::vector<std::pair<int, std::vector<Shape>>> todo_;
};

}  // namespace

}  // namespace grammar

Grammar grammar_from_json_schema(std::string_view schema, const JsonGrammarOptions& options) {
  const Json root = parse_json(schema, "JSON schema");
  return grammar::SchemaCompiler(root, options).run();
}

Grammar grammar_of_any_json_object(const JsonGrammarOptions& options) {
  return grammar_from_json_schema(R"({"type": "object"})", options);
}

}  // namespace wellspring
