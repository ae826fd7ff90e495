// Random schemas, written by random tokens: what ended by itself is valid, what was cut can be
// completed to something valid.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <regex>

#include "base/error.h"
#include "base/json.h"
#include "text/grammar/test_grammar.h"
#include "text/unicode.h"

namespace wellspring {
namespace {

/// A plain reading of JSON Schema 2020-12, for what the tests write.
class SlowChecker {
 public:
  explicit SlowChecker(const Json& root) : root_(root) {}
  bool valid(const Json& v) const { return valid(v, root_); }

 private:
  static bool is_type(const Json& v, const std::string& t) {
    if (t == "integer") return v.is_number() && std::floor(v.get<double>()) == v.get<double>();
    if (t == "number") return v.is_number();
    if (t == "string") return v.is_string();
    if (t == "object") return v.is_object();
    if (t == "array") return v.is_array();
    if (t == "boolean") return v.is_boolean();
    return v.is_null();
  }
  /// Code points, so that `.` is one character.
  static std::wstring wide(const std::string& s) {
    std::wstring out;
    for (const char *p = s.data(), *end = p + s.size(); p < end;) {
      const auto c = unicode::decode(p, end);
      out += static_cast<wchar_t>(c.code);
      p += c.length;
    }
    return out;
  }
  static size_t length(const std::string& s) {
    size_t n = 0;
    for (unsigned char c : s) n += (c & 0xC0) != 0x80;
    return n;
  }
  bool valid(const Json& v, const Json& s) const {
    if (s.is_boolean()) return s.get<bool>();
    if (s.contains("$ref"))
      if (!valid(v, root_.at(Json::json_pointer(s["$ref"].get<std::string>().substr(1)))))
        return false;
    if (s.contains("type")) {
      bool ok = false;
      const Json types = s["type"].is_array() ? s["type"] : Json::array({s["type"]});
      for (const Json& t : types) ok |= is_type(v, t.get<std::string>());
      if (!ok) return false;
    }
    if (s.contains("const") && v != s["const"]) return false;
    if (s.contains("enum") && std::find(s["enum"].begin(), s["enum"].end(), v) == s["enum"].end())
      return false;
    return combined(v, s) && (!v.is_string() || text(v.get<std::string>(), s)) &&
           (!v.is_number() || number(v.get<double>(), s)) && (!v.is_array() || array(v, s)) &&
           (!v.is_object() || object(v, s));
  }
  bool combined(const Json& v, const Json& s) const {
    auto count = [&](const char* key) {
      return std::count_if(s[key].begin(), s[key].end(), [&](auto& p) { return valid(v, p); });
    };
    if (s.contains("allOf") && count("allOf") != static_cast<long>(s["allOf"].size())) return false;
    if (s.contains("anyOf") && count("anyOf") == 0) return false;
    return !s.contains("oneOf") || count("oneOf") == 1;
  }
  static bool text(const std::string& t, const Json& s) {
    if (s.contains("minLength") && length(t) < s["minLength"].get<size_t>()) return false;
    if (s.contains("maxLength") && length(t) > s["maxLength"].get<size_t>()) return false;
    if (s.contains("format") && s["format"] == "date" &&
        !std::regex_match(t, std::regex("\\d{4}-\\d\\d-\\d\\d")))
      return false;
    return !s.contains("pattern") ||
           std::regex_search(wide(t), std::wregex(wide(s["pattern"].get<std::string>())));
  }
  static bool number(double d, const Json& s) {
    auto bound = [&](const char* key, auto ok) {
      return !s.contains(key) || ok(s[key].get<double>());
    };
    return bound("minimum", [&](double b) { return d >= b; }) &&
           bound("maximum", [&](double b) { return d <= b; }) &&
           bound("exclusiveMinimum", [&](double b) { return d > b; }) &&
           bound("exclusiveMaximum", [&](double b) { return d < b; }) &&
           bound("multipleOf", [&](double b) { return std::fmod(d, b) == 0; });
  }
  bool array(const Json& v, const Json& s) const {
    if (s.contains("minItems") && v.size() < s["minItems"].get<size_t>()) return false;
    if (s.contains("maxItems") && v.size() > s["maxItems"].get<size_t>()) return false;
    const size_t prefix = s.contains("prefixItems") ? s["prefixItems"].size() : 0;
    for (size_t i = 0; i < v.size(); ++i) {
      if (i < prefix && !valid(v[i], s["prefixItems"][i])) return false;
      if (i >= prefix && s.contains("items") && !valid(v[i], s["items"])) return false;
    }
    return true;
  }
  bool object(const Json& v, const Json& s) const {
    if (s.contains("required"))
      for (const Json& name : s["required"])
        if (!v.contains(name.get<std::string>())) return false;
    if (s.contains("maxProperties") && v.size() > s["maxProperties"].get<size_t>()) return false;
    for (auto it = v.begin(); it != v.end(); ++it) {
      const bool known = s.contains("properties") && s["properties"].contains(it.key());
      if (known && !valid(*it, s["properties"][it.key()])) return false;
      if (!known && s.contains("additionalProperties") && !valid(*it, s["additionalProperties"]))
        return false;
      if (s.contains("propertyNames") && !valid(Json(it.key()), s["propertyNames"])) return false;
    }
    return true;
  }
  const Json& root_;
};

class SchemaMaker {
 public:
  explicit SchemaMaker(Random& random) : random_(random) {}

  Json document() {
    Json defs = Json::object();
    for (const char* name : {"a", "b"}) defs[name] = object(2);
    Json s = schema(3);
    if (!s.is_object()) s = Json::object();
    s["$defs"] = defs;
    return s;
  }

 private:
  uint64_t below(uint64_t n) { return random_.below(n); }
  bool chance(uint64_t n) { return below(n) == 0; }

  Json schema(int depth) {
    switch (below(depth > 0 ? 14 : 8)) {
      case 0:
        return {{"type", "boolean"}};
      case 1:
        return text();
      case 2:
        return number("integer");
      case 3:
        return number("number");
      case 4:
        return chance(2) ? Json{{"enum", values()}} : Json{{"const", values()[0]}};
      case 5:
        return {{"type", Json::array({"string", "null"})}, {"maxLength", below(6)}};
      case 6:
        return chance(6) ? Json(true) : Json{{"$ref", chance(2) ? "#/$defs/a" : "#/$defs/b"}};
      case 7:
        return {{"type", "string"}, {"format", chance(2) ? "date" : "uuid"}};
      case 8:
      case 9:
        return object(depth - 1);
      case 10:
        return array(depth - 1);
      case 11:
        return {{"anyOf", Json::array({schema(depth - 1), schema(depth - 1)})}};
      case 12:
        return one_of(depth - 1);
      default:
        return {{"allOf", Json::array({object(depth - 1), object(depth - 1)})}};
    }
  }
  Json values() {
    static const Json kValues =
        Json::parse(R"(["x", "yé\n", 1, -2.5, null, true, {"k": [1, "z"]}, [], "\"q\\", "泉"])");
    Json list = Json::array();
    for (uint64_t i = 0, n = 1 + below(4); i < n; ++i)
      list.push_back(kValues[below(kValues.size())]);
    return list;
  }
  Json text() {
    Json s{{"type", "string"}};
    if (chance(2)) s["minLength"] = below(5);
    if (chance(2)) s["maxLength"] = 2 + below(12);
    static const char* kPatterns[] = {"^a+b?$",      "[0-9]{2,4}", "^(ab|cd)*x", "^[^a-c]*$",
                                      "^\\w+@\\w+$", "a.c",        "^\"\\\\?.$"};
    if (chance(3)) s["pattern"] = kPatterns[below(7)];
    return s;
  }
  Json number(const char* type) {
    Json s{{"type", type}};
    auto any = [&]() -> Json {
      const auto n = static_cast<int64_t>(below(4000)) - 2000;
      if (chance(2)) return n;
      return static_cast<double>(n) / (chance(2) ? 8.0 : 100.0);
    };
    if (chance(2)) s[chance(3) ? "exclusiveMinimum" : "minimum"] = any();
    if (chance(2)) s[chance(3) ? "exclusiveMaximum" : "maximum"] = any();
    if (chance(4)) s["multipleOf"] = 1 + below(20);
    return s;
  }
  Json object(int depth) {
    Json s{{"type", "object"}};
    static const char* kNames[] = {"a", "ab", "name", "kind", "k\"q", "é"};
    Json required = Json::array();
    for (uint64_t i = 0, n = below(4); i < n; ++i) {
      const char* name = kNames[below(6)];
      s["properties"][name] = schema(depth);
      if (chance(2) && depth > 0) required.push_back(name);
    }
    if (!required.empty()) s["required"] = required;
    if (chance(3)) s["additionalProperties"] = chance(2) ? Json(false) : schema(depth);
    if (!s.contains("properties") && chance(4)) s["maxProperties"] = below(3);
    if (!s.contains("properties") && chance(4)) s["propertyNames"] = {{"pattern", "^[a-f]+$"}};
    return s;
  }
  Json array(int depth) {
    Json s{{"type", "array"}, {"items", schema(depth)}};
    if (chance(3)) s["minItems"] = below(3);
    if (chance(3)) s["maxItems"] = 2 + below(30);
    if (chance(3)) s["prefixItems"] = Json::array({schema(depth), schema(depth)});
    return s;
  }
  Json one_of(int depth) {
    Json list = Json::array();
    for (const char* kind : {"x", "y"}) {
      Json o{{"type", "object"}};
      o["properties"]["kind"] = {{"const", kind}};
      o["properties"]["value"] = schema(depth);
      o["required"] = {"kind"};
      list.push_back(o);
    }
    return {{"oneOf", list}};
  }
  Random& random_;
};

/// Adds keywords that no grammar holds to a schema and its subschemas. What only holds with them goes from `plain`, the
/// same schema.
class Noise {
 public:
  explicit Noise(Random& random) : random_(random) {}
  void add(Json& noisy, Json& plain) {
    if (!noisy.is_object()) return;
    for (const char* key : {"properties", "$defs"})
      if (noisy.contains(key))
        for (auto& [name, schema] : noisy[key].items()) add(schema, plain[key][name]);
    for (const char* key : {"anyOf", "oneOf", "allOf", "prefixItems"})
      if (noisy.contains(key))
        for (size_t i = 0; i < noisy[key].size(); ++i) add(noisy[key][i], plain[key][i]);
    for (const char* key : {"items", "additionalProperties"})
      if (noisy.contains(key)) add(noisy[key], plain[key]);
    plain.erase("maxProperties");  // it is left out beside optional properties, which another schema may bring
    if (random_.below(3) == 0) keyword(noisy, plain);
  }

 private:
  void keyword(Json& s, Json& plain) {
    static const Json kKeywords = Json::parse(R"([{"uniqueItems": true}, {"not": {"type": "null"}}, {"contains": {"const": 1}},
        {"if": {"type": "object"}, "then": {"required": ["zz"]}}, {"dependentRequired": {"a": ["zz"]}}, {"minProperties": 9},
        {"dependencies": {"a": ["zz"]}}, {"unevaluatedProperties": false}, {"pattern": "\\bx\\b"}, {"pattern": "^(?=a)b"},
        {"multipleOf": 0.3}, {"maxProperties": 1}, {"$ref": "https://example.org/s"}, {"$ref": "#/none"},
        {"patternProperties": {"^a": false}}, {"oneOf": [{}, {"type": "string"}]}])");
    for (const auto& [key, value] : kKeywords[random_.below(kKeywords.size())].items())
      if (!s.contains(key)) s[key] = value;
    if (s.contains("patternProperties")) plain.erase("additionalProperties");
    if (s.contains("anyOf") && !s.contains("oneOf")) {  // overlapping or not
      s["oneOf"] = s["anyOf"];
      s.erase("anyOf");
    }
  }
  Random& random_;
};

void check_random_schemas(uint64_t stream, bool lenient, std::ostream& samples) {
  const int cases = lenient ? random_cases() / 2 : random_cases();
  int refused = 0, ended = 0, written = 0, noisy = 0;
  for (int i = 0; i < cases; ++i) {
    Random random(stream, static_cast<uint64_t>(i));
    Json schema = SchemaMaker(random).document(), given = schema;
    if (lenient) Noise(random).add(given, schema);
    const std::string text = to_text(given);
    try {
      JsonGrammarOptions options;
      options.blanks = static_cast<JsonBlanks>(random.below(3));
      if (lenient) options.parts = {{"", "", true}};
      const Grammar g = grammar_from_json_schema(text, options);
      noisy += !g.notes().empty();
      const SlowChecker checker(schema);
      for (int k = 0; k < 3; ++k) {
        const Written w = write_random(g, random, static_cast<int>(random.below(60)));
        ++written;
        if (!w.ended) continue;
        ++ended;
        samples << text << '\t' << to_text(Json(w.text)) << '\n';
        try {
          ASSERT_TRUE(checker.valid(parse_json(w.text, "text"))) << text << '\n' << w.text;
        } catch (const Error& e) {
          FAIL() << e.what() << '\n' << text << '\n' << w.text;
        }
      }
    } catch (const Error& e) {
      const std::string what = e.what();
      ASSERT_TRUE(what.find("no text can satisfy") != std::string::npos ||
                  (!lenient && what.find("an earlier alternative") != std::string::npos) ||
                  (!lenient && what.find("is not supported") != std::string::npos) ||
                  what.find("defined by itself") != std::string::npos)
          << what << '\n'
          << text;
      ++refused;
    }
    if (testing::Test::HasFailure()) {
      FAIL() << text;
    }
  }
  EXPECT_LT(refused * 4, cases);
  EXPECT_GT(ended * 100, written * 97) << ended << " of " << written;
  EXPECT_TRUE(!lenient || noisy * 3 > cases) << noisy;
}

TEST(GrammarSchema, RandomSchemasByRandomTokens) {
  const char* path = std::getenv("WELLSPRING_GRAMMAR_SAMPLES");
  std::ofstream samples(path ? path : "/dev/null");
  check_random_schemas(7, false, samples);
}

// All that is supported holds, whatever stands beside it.
TEST(GrammarSchema, LenientlyRandomSchemasByRandomTokens) {
  std::ofstream samples("/dev/null");
  check_random_schemas(8, true, samples);
}

}  // namespace
}  // namespace wellspring
