// Keywords of JSON schemas into shapes.

#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "text/grammar/schema_shape.h"

namespace wellspring::grammar {

namespace {

constexpr size_t kMaxAlternatives = 2000, kMaxReferences = 200;
constexpr uint32_t kMaxCount = 1'000'000;

/// Keywords that constrain and that cannot be held exactly here. `opens`: they may speak of properties that are listed
/// nowhere else, so where they are left out such are free.
struct Unsupported {
  const char* name;
  bool opens = false;
};
constexpr Unsupported kUnsupported[] = {{"not"},
                                        {"if", true},
                                        {"patternProperties", true},
                                        {"dependentRequired", true},
                                        {"dependentSchemas", true},
                                        {"dependencies", true},
                                        {"contains"},
                                        {"minContains"},
                                        {"maxContains"},
                                        {"uniqueItems"},
                                        {"unevaluatedItems"},
                                        {"$dynamicRef", true},
                                        {"$recursiveRef", true},
                                        {"unevaluatedProperties"}};

/// Whether a keyword is written but asks nothing.
bool asks_nothing(std::string_view key, const Json& value) {
  if (key == "uniqueItems") return value == false;
  return key == "patternProperties" && value.is_object() && value.empty();
}

struct TypeName {
  const char* name;
  unsigned types;
};
constexpr TypeName kTypes[] = {{"null", kNull},
                               {"boolean", kBoolean},
                               {"object", kObject},
                               {"array", kArray},
                               {"string", kString},
                               {"integer", kInteger},
                               {"number", kInteger | kFraction}};

std::string escaped(const std::string& key) {
  std::string out;
  for (char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

}  // namespace

const Schemas* Shape::property(std::string_view name) const {
  for (const auto& [n, s] : properties)
    if (n == name) return &s;
  return nullptr;
}

unsigned Shape::usual_types() const { return typed || !hinted ? types : types & hinted; }

SchemaReader::SchemaReader(const Json& root, const std::vector<SchemaPart>& parts, Budget& budget)
    : root_(root), budget_(budget) {
  for (const SchemaPart& p : parts) parts_[&root.at(Json::json_pointer(p.pointer))] = &p;
  std::vector<const Json*> todo{&root};
  while (!todo.empty()) {
    const Json* from = todo.back();
    todo.pop_back();
    if (!from->is_structured()) continue;
    size_t i = 0;
    for (auto it = from->begin(); it != from->end(); ++it, ++i) {
      budget_.spend(5);
      parents_[&*it] = {from, from->is_object() ? escaped(it.key()) : std::to_string(i)};
      todo.push_back(&*it);
    }
  }
}

std::pair<const Json*, std::string> SchemaReader::find_part(const Json* value) const {
  std::string path = "#";
  while (!parts_.count(value)) {
    const auto it = parents_.find(value);
    if (it == parents_.end()) break;
    path.insert(1, '/' + it->second.second);
    value = it->second.first;
  }
  return {value, path};
}

std::string SchemaReader::place(const Json* value) const {
  const auto [root, path] = find_part(value);
  const auto part = parts_.find(root);
  return part == parts_.end() || part->second->name.empty() ? path : part->second->name + ' ' + path;
}

void SchemaReader::fail(const std::string& place, const std::string& what) const {
  throw Error(Fault::data, "JSON schema, " + place + ": " + what);
}

void SchemaReader::leave_out(const Json* value, const std::string& place, const std::string& what) {
  const auto part = parts_.find(find_part(value).first);
  if (part == parts_.end() || !part->second->lenient) fail(place, what);
  left_out_[place] = what;
}

std::vector<Shape> SchemaReader::shapes(const Schemas& schemas) {
  std::vector<Shape> all{Shape{}};
  for (const Json* s : schemas) all = cross(all, read(s));
  return all;
}

std::vector<Shape> SchemaReader::cross(const std::vector<Shape>& a, const std::vector<Shape>& b) {
  std::vector<Shape> out;
  for (const Shape& x : a)
    for (const Shape& y : b) {
      budget_.spend(50 + 2 * (x.properties.size() + y.properties.size()));
      Shape both = x;
      if (merge(both, y)) out.push_back(std::move(both));
      if (out.size() > kMaxAlternatives)
        fail(place(active_.empty() ? &root_ : active_.back()),
             "the combinations of anyOf, oneOf and allOf are more than " +
                 std::to_string(kMaxAlternatives));
    }
  return out;
}

std::vector<Shape> SchemaReader::read(const Json* schema) {
  const Json& s = *schema;
  if (s.is_boolean()) return s.get<bool>() ? std::vector<Shape>{Shape{}} : std::vector<Shape>{};
  const std::string at = place(schema);
  if (!s.is_object()) fail(at, "a schema is an object, true or false");
  if (std::find(active_.begin(), active_.end(), schema) != active_.end())
    fail(at, "this schema is defined by itself: put an object or array between");
  if (active_.size() >= kMaxReferences) fail(at, "references are nested too deeply");
  budget_.spend(100 + 10 * s.size());
  active_.push_back(schema);
  std::vector<Shape> all{own(s, at)};
  if (s.contains("$ref"))
    if (const Json* to = resolve(s["$ref"], at + "/$ref")) all = cross(all, read(to));
  auto list = [&](const char* key) -> const Json& {
    const Json& l = s[key];
    if (!l.is_array() || l.empty())
      fail(at + '/' + key, "a list of schemas with at least one is expected");
    return l;
  };
  if (s.contains("allOf"))
    for (const Json& part : list("allOf")) all = cross(all, read(&part));
  if (s.contains("anyOf")) {
    std::vector<Shape> any;
    for (const Json& part : list("anyOf"))
      for (Shape& shape : read(&part)) any.push_back(std::move(shape));
    all = cross(all, any);
  }
  if (s.contains("oneOf")) all = one_of(all, list("oneOf"), at + "/oneOf");
  active_.pop_back();
  return all;
}

std::vector<Shape> SchemaReader::one_of(const std::vector<Shape>& base, const Json& branches,
                                        const std::string& at) {
  std::vector<Shape> all;
  size_t branch = 0;
  for (const Json& part : branches) {
    const std::vector<Shape> mine = cross(base, read(&part));
    for (const Shape& a : all)
      for (const Shape& b : mine) {
        budget_.spend(50);
        if (!disjoint(a, b, 0))
          leave_out(&part, at + '/' + std::to_string(branch),
                    "a value might match this and an earlier alternative, too, which oneOf forbids: use "
                    "anyOf, or tell them apart by a required property with a const");
      }
    all.insert(all.end(), mine.begin(), mine.end());
    ++branch;
  }
  return all;
}

Shape SchemaReader::own(const Json& s, const std::string& at) {
  Shape shape;
  if (s.contains("type")) read_types(s["type"], at + "/type", shape);
  if (s.contains("enum")) {
    if (!s["enum"].is_array()) fail(at + "/enum", "a list of values is expected");
    shape.has_values = true;
    for (const Json& v : s["enum"]) shape.values.push_back(&v);
  }
  if (s.contains("const")) {
    const Json& value = s["const"];
    const bool kept = !shape.has_values || std::any_of(shape.values.begin(), shape.values.end(),
                                                       [&](auto* v) { return *v == value; });
    shape.has_values = true;
    shape.values.clear();
    if (kept) shape.values.push_back(&value);
  }
  auto text = [&](const char* key, std::vector<Constraint>& into) {
    if (!s.contains(key)) return;
    if (!s[key].is_string()) fail(at + '/' + key, "a text is expected");
    into.push_back({s[key].get<std::string>(), at + '/' + key});
  };
  text("pattern", shape.patterns);
  leave_out_pattern(s, shape);
  text("format", shape.formats);
  shape.min_length = count(s, "minLength", at, 0);
  shape.max_length = count(s, "maxLength", at, kUnbounded);
  if (s.contains("pattern") || s.contains("minLength") || s.contains("maxLength"))
    shape.hinted |= kString;
  if (!shape.formats.empty() && format_pattern(shape.formats[0].text)) shape.hinted |= kString;
  read_number(s, at, shape);
  read_array(s, at, shape);
  read_object(s, at, shape);
  leave_out_unsupported(s, at, shape);
  return shape;
}

void SchemaReader::leave_out_unsupported(const Json& s, const std::string& at, Shape& shape) {
  for (const Unsupported& u : kUnsupported) {
    const std::string key = u.name;
    if (!s.contains(key) || asks_nothing(key, s[key])) continue;
    leave_out(&s, at + '/' + key, "the keyword '" + key + "' is not supported: leave it out");
    if (key == "patternProperties") shape.additional.clear();  // which speaks of the names that match none of them
    shape.has_additional |= u.opens;
  }
}

void SchemaReader::leave_out_pattern(const Json& s, Shape& shape) {
  try {
    for (const Constraint& p : shape.patterns) parse_regex(p.text, Dialect::schema, "");
  } catch (const Error& e) {
    leave_out(&s, shape.patterns[0].place, std::string(e.what()).substr(2));
    shape.patterns.clear();
  }
}

uint32_t SchemaReader::count(const Json& s, const char* key, const std::string& at,
                             uint32_t otherwise) {
  if (!s.contains(key)) return otherwise;
  const Json& n = s[key];
  const double value = n.is_number() ? n.get<double>() : -1;
  if (value < 0 || value != std::floor(value))
    fail(at + '/' + key, "a whole number of 0 or more is expected");
  if (value > kMaxCount) {
    if (otherwise != kUnbounded)  // else a limit that no text reaches
      leave_out(&n, at + '/' + key, "more than " + std::to_string(kMaxCount) + " is not supported");
    return otherwise;
  }
  return static_cast<uint32_t>(value);
}

void SchemaReader::read_types(const Json& type, const std::string& at, Shape& shape) {
  shape.typed = true;
  shape.types = 0;
  auto add = [&](const Json& name) {
    for (const TypeName& t : kTypes)
      if (name == t.name) {
        shape.types |= t.types;
        return;
      }
    fail(at, "a type is one of null, boolean, object, array, string, integer, number");
  };
  if (!type.is_array()) return add(type);
  for (const Json& name : type) add(name);
}

void SchemaReader::read_number(const Json& s, const std::string& at, Shape& shape) {
  auto bound = [&](const char* key, const char* exclusive, int sign, std::optional<Bound>& to) {
    auto tighten = [&](const Json& n, const char* k, bool exclusive_bound) {
      if (!n.is_number()) fail(at + '/' + k, "a number is expected");
      shape.hinted |= kInteger | kFraction;
      const Bound b{to_decimal(n), exclusive_bound};
      const int c = to ? compare(b.value, to->value) * sign : 1;
      if (c > 0 || (c == 0 && exclusive_bound)) to = b;
    };
    const bool old = s.contains(exclusive) && s[exclusive].is_boolean();  // draft 4
    if (s.contains(key)) tighten(s[key], key, old && s[exclusive].get<bool>());
    if (s.contains(exclusive) && !old) tighten(s[exclusive], exclusive, true);
  };
  bound("minimum", "exclusiveMinimum", 1, shape.low);
  bound("maximum", "exclusiveMaximum", -1, shape.high);
  if (s.contains("multipleOf")) {
    const Json& m = s["multipleOf"];
    if (!m.is_number() || m.get<double>() <= 0)
      fail(at + "/multipleOf", "a number above 0 is expected");
    shape.multiples.push_back(&m);
    shape.hinted |= kInteger | kFraction;
  }
}

void SchemaReader::read_array(const Json& s, const std::string& at, Shape& shape) {
  shape.min_items = count(s, "minItems", at, 0);
  shape.max_items = count(s, "maxItems", at, kUnbounded);
  const bool old = s.contains("items") && s["items"].is_array();  // draft 7
  const char* prefix = old ? "items" : "prefixItems";
  const char* rest = old ? "additionalItems" : "items";
  if (s.contains(prefix)) {
    if (!s[prefix].is_array()) fail(at + '/' + prefix, "a list of schemas is expected");
    for (const Json& part : s[prefix]) shape.prefix.push_back({&part});
  }
  if (s.contains(rest)) {
    shape.has_rest = true;
    shape.rest = {&s[rest]};
  }
  if (s.contains(prefix) || s.contains(rest) || s.contains("minItems") || s.contains("maxItems"))
    shape.hinted |= kArray;
}

void SchemaReader::read_object(const Json& s, const std::string& at, Shape& shape) {
  shape.min_properties = count(s, "minProperties", at, 0);
  shape.max_properties = count(s, "maxProperties", at, kUnbounded);
  if (s.contains("minProperties")) shape.min_properties_by = &s["minProperties"];
  if (s.contains("maxProperties")) shape.max_properties_by = &s["maxProperties"];
  if (s.contains("properties")) {
    if (!s["properties"].is_object()) fail(at + "/properties", "an object is expected");
    for (auto it = s["properties"].begin(); it != s["properties"].end(); ++it)
      shape.properties.push_back({it.key(), {&*it}});
  }
  if (s.contains("required")) {
    const Json& list = s["required"];
    if (!list.is_array()) fail(at + "/required", "a list of names is expected");
    budget_.spend(list.size() * (list.size() + shape.properties.size()));  // names are compared
    for (const Json& name : list) {
      if (!name.is_string()) fail(at + "/required", "a list of names is expected");
      const auto& text = name.get_ref<const std::string&>();
      if (std::find(shape.required.begin(), shape.required.end(), text) == shape.required.end())
        shape.required.push_back(text);
    }
  }
  if (s.contains("additionalProperties")) {
    shape.has_additional = true;
    shape.additional = {&s["additionalProperties"]};
  }
  if (s.contains("propertyNames")) shape.names = {&s["propertyNames"]};
  for (const char* key : {"properties", "required", "additionalProperties", "propertyNames",
                          "minProperties", "maxProperties"})
    if (s.contains(key)) shape.hinted |= kObject;
}

const Json* SchemaReader::resolve(const Json& ref, const std::string& at) {
  if (!ref.is_string()) fail(at, "a text is expected");
  const auto& text = ref.get_ref<const std::string&>();
  if (!text.starts_with('#') || (text.size() > 1 && text[1] != '/')) {
    leave_out(&ref, at, "only references inside the schema, '#/...', are known");
    return nullptr;
  }
  const Json* to = find_part(&ref).first;
  for (size_t i = 1; i < text.size();) {
    const size_t end = std::min(text.find('/', i + 1), text.size());
    std::string key;
    for (size_t k = i + 1; k < end; ++k) {
      auto hex = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
      if (text[k] == '%' && k + 2 < end && std::isxdigit(static_cast<unsigned char>(text[k + 1])) &&
          std::isxdigit(static_cast<unsigned char>(text[k + 2]))) {
        key += static_cast<char>(hex(text[k + 1]) * 16 + hex(text[k + 2]));
        k += 2;
      } else if (text[k] == '~' && k + 1 < end) {
        key += text[++k] == '1' ? '/' : '~';
      } else {
        key += text[k];
      }
    }
    const Json* next = nullptr;
    if (to->is_object() && to->contains(key)) {
      next = &(*to)[key];
    } else if (to->is_array() && !key.empty() && key.size() < 7 &&
               key.find_first_not_of("0123456789") == std::string::npos) {
      const auto index = static_cast<size_t>(std::stoul(key));
      if (index < to->size()) next = &(*to)[index];
    }
    if (!next) {
      leave_out(&ref, at, "'" + text + "' leads nowhere");
      return nullptr;
    }
    to = next;
    i = end;
  }
  return to;
}

}  // namespace wellspring::grammar
