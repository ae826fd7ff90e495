// What shapes mean: their conjunction, whether two exclude each other, and whether a value fits.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/json.h"
#include "text/grammar/char_automaton.h"
#include "text/grammar/schema_shape.h"
#include "text/unicode.h"

namespace wellspring::grammar {

namespace {

constexpr int kDeepComparison = 12;

void add_schemas(Schemas& to, const Schemas& from) {
  for (const Json* s : from)
    if (std::find(to.begin(), to.end(), s) == to.end()) to.push_back(s);
}

template <class T>
void add_new(std::vector<T>& to, const std::vector<T>& from) {
  for (const T& x : from)
    if (std::find(to.begin(), to.end(), x) == to.end()) to.push_back(x);
}

void tighten(std::optional<Bound>& to, const std::optional<Bound>& from, int sign) {
  if (!from) return;
  const int c = to ? compare(from->value, to->value) * sign : 1;
  if (c > 0 || (c == 0 && from->exclusive)) to = from;
}

unsigned type_of(const Json& v) {
  if (v.is_null()) return kNull;
  if (v.is_boolean()) return kBoolean;
  if (v.is_object()) return kObject;
  if (v.is_array()) return kArray;
  if (v.is_string()) return kString;
  return to_decimal(v).fraction.empty() ? kInteger : kFraction;
}

uint32_t characters(const std::string& text) {
  uint32_t n = 0;
  for (unsigned char c : text) n += (c & 0xC0) != 0x80;
  return n;
}

void merge_arrays(Shape& a, const Shape& b) {
  const size_t n = std::max(a.prefix.size(), b.prefix.size());
  std::vector<Schemas> prefix;
  for (size_t i = 0; i < n; ++i) {
    prefix.push_back(a.element(i));
    add_schemas(prefix.back(), b.element(i));
  }
  a.prefix = std::move(prefix);
  add_schemas(a.rest, b.rest);
  a.has_rest |= b.has_rest;
  a.min_items = std::max(a.min_items, b.min_items);
  a.max_items = std::min(a.max_items, b.max_items);
}

void merge_objects(Shape& a, const Shape& b) {
  if (!b.properties.empty() || b.has_additional) {
    for (auto& [name, schemas] : a.properties) {
      const Schemas* other = b.property(name);
      add_schemas(schemas, other ? *other : b.additional);
    }
    const size_t mine = a.properties.size();
    for (const auto& [name, schemas] : b.properties) {
      const bool known = std::any_of(a.properties.begin(), a.properties.begin() + mine,
                                     [&](auto& p) { return p.first == name; });
      if (known) continue;
      Schemas both = a.additional;
      add_schemas(both, schemas);
      a.properties.emplace_back(name, std::move(both));
    }
  }
  add_schemas(a.additional, b.additional);
  a.has_additional |= b.has_additional;
  add_new(a.required, b.required);
  add_schemas(a.names, b.names);
  if (b.min_properties > a.min_properties)
    a.min_properties = b.min_properties, a.min_properties_by = b.min_properties_by;
  if (b.max_properties < a.max_properties)
    a.max_properties = b.max_properties, a.max_properties_by = b.max_properties_by;
}

}  // namespace

bool SchemaReader::merge(Shape& a, const Shape& b) {
  budget_.spend((a.properties.size() + a.required.size()) * (b.properties.size() + b.required.size()));
  a.types &= b.types;
  a.typed |= b.typed;
  a.hinted |= b.hinted;
  if (b.has_values) {
    if (a.has_values)
      std::erase_if(a.values, [&](const Json* v) {
        budget_.spend(b.values.size());
        return std::none_of(b.values.begin(), b.values.end(), [&](auto* w) { return *v == *w; });
      });
    else
      a.values = b.values;
    a.has_values = true;
  }
  add_new(a.patterns, b.patterns);
  add_new(a.formats, b.formats);
  a.min_length = std::max(a.min_length, b.min_length);
  a.max_length = std::min(a.max_length, b.max_length);
  tighten(a.low, b.low, 1);
  tighten(a.high, b.high, -1);
  add_new(a.multiples, b.multiples);
  merge_arrays(a, b);
  merge_objects(a, b);
  return a.types && !(a.has_values && a.values.empty());
}

std::vector<ExpressionPtr> SchemaReader::texts_of(const Shape& shape) {
  std::vector<ExpressionPtr> all;
  for (const Constraint& p : shape.patterns)
    all.push_back(anywhere(parse_regex(p.text, Dialect::schema, "JSON schema, " + p.place)));
  for (const Constraint& f : shape.formats)
    if (const char* pattern = format_pattern(f.text))
      all.push_back(parse_regex(pattern, Dialect::re2, "format " + f.text));
  return all;
}

NumberShape SchemaReader::number_of(const Shape& shape, bool fractions) {
  NumberShape n;
  n.fractions = fractions;
  n.low = shape.low;
  n.high = shape.high;
  for (const Json* m : shape.multiples) {
    const uint32_t before = n.multiple;
    const double value = m->get<double>(), inverse = std::round(1 / value);
    if (value == std::floor(value) && value <= NumberShape::kMaxMultiple) {
      const auto step = static_cast<uint32_t>(value);
      n.multiple = std::lcm(n.multiple, step);
      n.fractions = false;
    } else if (to_decimal(*m).whole.empty() && 1 / inverse == value &&
               std::pow(10, std::round(std::log10(inverse))) == inverse) {
      n.max_fraction =
          std::min(n.max_fraction, static_cast<uint32_t>(std::lround(std::log10(inverse))));
    } else if (!n.fractions && 1 / inverse == value) {
      // every whole number is a multiple
    } else {
      leave_out(m, place(m), "only whole numbers up to 1000 and 0.1, 0.01, ... are supported");
    }
    if (n.multiple > NumberShape::kMaxMultiple) {
      leave_out(m, place(m), "the least common multiple is over 1000");
      n.multiple = before;
    }
  }
  return n;
}

bool SchemaReader::valid_text(const std::string& text, const Shape& shape) {
  const uint32_t n = characters(text);
  if (n < shape.min_length || n > shape.max_length) return false;
  const auto all = texts_of(shape);
  return all.empty() || CharAutomaton(all, 0, kUnbounded, budget_).matches(text);
}

bool SchemaReader::valid(const Json& v, const Schemas& schemas) {
  for (const Shape& s : shapes(schemas))
    if (valid(v, s)) return true;
  return false;
}

bool SchemaReader::valid(const Json& v, const Shape& s) {
  budget_.spend(s.values.size());
  if (s.has_values &&
      std::none_of(s.values.begin(), s.values.end(), [&](auto* w) { return *w == v; }))
    return false;
  return fits(v, s);
}

bool SchemaReader::fits(const Json& v, const Shape& s) {
  budget_.spend(20);
  const unsigned type = type_of(v);
  if (!(s.types & type)) return false;
  if (type == kString) return valid_text(v.get_ref<const std::string&>(), s);
  if (type & (kInteger | kFraction)) {
    const Decimal d = to_decimal(v);
    auto beyond = [&](const std::optional<Bound>& b, int sign) {
      if (!b) return false;
      const int c = compare(d, b->value) * sign;
      return c < 0 || (c == 0 && b->exclusive);
    };
    if (beyond(s.low, 1) || beyond(s.high, -1)) return false;
    return std::all_of(s.multiples.begin(), s.multiples.end(), [&](const Json* m) {
      const double q = v.get<double>() / m->get<double>();
      return q == std::round(q);
    });
  }
  if (type == kArray) {
    if (v.size() < s.min_items || v.size() > s.max_items) return false;
    for (size_t i = 0; i < v.size(); ++i)
      if (!valid(v[i], s.element(i))) return false;
  }
  if (type == kObject) {
    if (v.size() < s.min_properties || v.size() > s.max_properties) return false;
    for (const std::string& name : s.required)
      if (!v.contains(name)) return false;
    for (auto it = v.begin(); it != v.end(); ++it) {
      const Schemas* known = s.property(it.key());
      if (!valid(*it, known ? *known : s.additional)) return false;
      if (!s.names.empty() && !valid(Json(it.key()), s.names)) return false;
    }
  }
  return true;
}

bool SchemaReader::disjoint(const Shape& a, const Shape& b, int depth) {
  const unsigned common = a.types & b.types;
  if (!common) return true;
  if (depth > kDeepComparison) return false;
  if (a.has_values || b.has_values) {
    const Shape &x = a.has_values ? a : b, &y = a.has_values ? b : a;
    return std::none_of(x.values.begin(), x.values.end(),
                        [&](const Json* v) { return fits(*v, x) && valid(*v, y); });
  }
  if (common & (kNull | kBoolean)) return false;
  if (common & (kInteger | kFraction)) {
    auto apart = [&](const std::optional<Bound>& low, const std::optional<Bound>& high) {
      if (!low || !high) return false;
      const int c = compare(low->value, high->value);
      return c > 0 || (c == 0 && (low->exclusive || high->exclusive));
    };
    if (!apart(a.low, b.high) && !apart(b.low, a.high)) return false;
  }
  if (common & kArray && a.min_items <= b.max_items && b.min_items <= a.max_items) {
    bool apart = false;
    const size_t certain = std::max(a.min_items, b.min_items);
    for (size_t i = 0; i < std::min<size_t>(certain, 8) && !apart; ++i) {
      const auto xs = shapes(a.element(i)), ys = shapes(b.element(i));
      apart = std::all_of(xs.begin(), xs.end(), [&](auto& x) {
        return std::all_of(ys.begin(), ys.end(),
                           [&](auto& y) { return disjoint(x, y, depth + 1); });
      });
    }
    if (!apart) return false;
  }
  if (common & kObject && !disjoint_objects(a, b, depth)) return false;
  return !(common & kString) || disjoint_texts(a, b);
}

bool SchemaReader::disjoint_texts(const Shape& a, const Shape& b) {
  if (a.min_length > b.max_length || b.min_length > a.max_length) return true;
  auto all = texts_of(a);
  for (auto& e : texts_of(b)) all.push_back(std::move(e));
  if (all.empty()) return false;
  return CharAutomaton(all, std::max(a.min_length, b.min_length),
                       std::min(a.max_length, b.max_length), budget_)
      .empty();
}

/// A property that one requires decides: what it may hold in one it may not hold in the other.
bool SchemaReader::disjoint_objects(const Shape& a, const Shape& b, int depth) {
  std::set<std::string> names(a.required.begin(), a.required.end());
  names.insert(b.required.begin(), b.required.end());
  for (const std::string& name : names) {
    const Schemas *x = a.property(name), *y = b.property(name);
    const auto xs = shapes(x ? *x : a.additional), ys = shapes(y ? *y : b.additional);
    const bool apart = std::all_of(xs.begin(), xs.end(), [&](auto& p) {
      return std::all_of(ys.begin(), ys.end(), [&](auto& q) { return disjoint(p, q, depth + 1); });
    });
    if (apart) return true;
  }
  return false;
}

}  // namespace wellspring::grammar
