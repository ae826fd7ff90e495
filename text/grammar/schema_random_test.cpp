// Random schemas, written by random tokens: what ended by itself is valid, what was cut can be
// completed to something valid.
#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "text/grammar/test_grammar.h"

namespace wellspring {
namespace {

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
    static const Json kValues = Json::parse(
        R"(["x", "yé\n", 1, -2.5, null, true, {"k": [1, "z"]}, [], "\"q\\", "泉"])");
    Json list = Json::array();
    for (uint64_t i = 0, n = 1 + below(4); i < n; ++i) list.push_back(kValues[below(kValues.size())]);
    return list;
  }
  Json text() {
    Json s{{"type", "string"}};
    if (chance(2)) s["minLength"] = below(5);
    if (chance(2)) s["maxLength"] = 2 + below(12);
    static const char* kPatterns[] = {"^a+b?$",   "[0-9]{2,4}",     "^(ab|cd)*x",
                                      "^[^a-c]*$", "^\\w+@\\w+$", "a.c",
                                      "^\"\\\\?.$"};
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

TEST(GrammarSchema, RandomSchemasByRandomTokens) {
  const char* path = std::getenv("WELLSPRING_GRAMMAR_SAMPLES");
  std::ofstream samples(path ? path : "/dev/null");
  const int cases = random_cases();
  int refused = 0, ended = 0, written = 0;
  for (int i = 0; i < cases; ++i) {
    Random random(7, static_cast<uint64_t>(i));
    const Json schema = SchemaMaker(random).document();
    const std::string text = to_text(schema);
    try {
      const auto blanks = static_cast<JsonBlanks>(random.below(3));
      const Grammar g = grammar_from_json_schema(text, {blanks});
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
                  what.find("an earlier alternative") != std::string::npos ||
                  what.find("is not supported") != std::string::npos ||
                  what.find("defined by itself") != std::string::npos)
          << what << '\n'
          << text;
      ++refused;
    }
    if (HasFailure()) {
      FAIL() << text;
    }
  }
  EXPECT_LT(refused * 4, cases);
  EXPECT_GT(ended * 100, written * 97) << ended << " of " << written;
}

}  // namespace
}  // namespace wellspring
