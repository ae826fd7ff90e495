#pragma once
// For tests: a small vocabulary, texts made by random tokens, and a slow checker of JSON schemas
// that shares nothing with the compiler.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/random.h"
#include "text/grammar/grammar.h"
#include "text/unicode.h"

namespace wellspring {

/// Every byte, pieces of JSON, words, parts of characters; the last token ends the text.
inline std::vector<std::string> small_tokens() {
  std::vector<std::string> tokens;
  for (int i = 0; i < 256; ++i) tokens.emplace_back(1, static_cast<char>(i));
  for (const char* t : {"\"", "\",", "\":", "\": \"", "{\"", "\"}", "}}", "]}", "],", "[[", "[{",
                        "}]", "\", \"", "true", "false", "null", "alse", " ", "  ", "\n  ", "a",
                        "ab", "abc", "name", "\"name\"", "value", "kind", "12", "123", "0.", ".5",
                        "-1", "e+", "00", "\\u", "\\n", "\\\"", "00e9", "\xC3\xA9", "\xE6\xB3",
                        "\xB3\x89", "\xF0\x9F", "\x98\x80", "\xE6\xB3\x89\xE6", "xyz", "aab", "2024",
                        "-02", "T12", ":30", "@", ".com", "                  ", "aaaaaaaaaaaaaaaaaaaa",
                        "\"aaaaaaaaaaaaaaaaaaaaaaaaa\"", "[[[[[[[[[[[[[[[[[[[[["})
    tokens.emplace_back(t);
  tokens.emplace_back();  // a special token
  tokens.emplace_back("<end>");
  return tokens;
}

inline const GrammarVocabulary& small_vocabulary() {
  static const GrammarVocabulary kVocabulary = [] {
    const auto tokens = small_tokens();
    const std::vector<int32_t> end{static_cast<int32_t>(tokens.size()) - 1};
    return GrammarVocabulary(tokens, end);
  }();
  return kVocabulary;
}

inline bool has_bit(const std::vector<uint64_t>& bits, int32_t id) {
  return bits[static_cast<size_t>(id) >> 6] >> (id & 63) & 1;
}

/// Whether a grammar takes all of a text, byte by byte.
inline bool takes(const Grammar& g, std::string_view text) {
  GrammarMatcher m(g, small_vocabulary());
  return m.accept_bytes(text) && m.may_end();
}

struct Written {
  std::string text;
  bool ended = false;
};

/// Writes random tokens; after `usual` of them, only such that lead to an end soon. Sometimes takes
/// tokens back, and checks masks against accept() now and then.
inline Written write_random(const Grammar& grammar, Random& random, int usual) {
  static const std::vector<std::string> kTokens = small_tokens();
  const auto end = static_cast<int32_t>(kTokens.size()) - 1;
  GrammarMatcher m(grammar, small_vocabulary());
  std::vector<int32_t> ids;
  std::vector<uint64_t> bits;
  std::vector<int32_t> allowed;
  for (int step = 0; step < usual + 3000; ++step) {
    if (!m.mask(bits)) {
      ADD_FAILURE() << "no token may follow";
      break;
    }
    allowed.clear();
    for (int32_t id = 0; id <= end; ++id)
      if (has_bit(bits, id)) allowed.push_back(id);
    if (random.below(40) == 0) {
      for (int32_t id = 0; id <= end; ++id) {
        GrammarMatcher copy = m;
        EXPECT_EQ(copy.accept(id), has_bit(bits, id)) << "token " << id << " '" << kTokens[id] << "'";
      }
    }
    int32_t id = allowed[random.below(allowed.size())];
    const bool close = step >= usual || random.below(3) == 0;
    if (close && m.may_end() && (step >= usual || random.below(2))) {
      id = end;
    } else if (close) {
      for (int tries = 0; tries < 6; ++tries) {
        static constexpr std::string_view kClosing[] = {"\"", "}", "]", ",", ":", "1", "0"};
        const auto want = static_cast<int32_t>(
            static_cast<unsigned char>(kClosing[step >= usual && tries < 3 ? tries : random.below(7)][0]));
        if (!has_bit(bits, want)) continue;
        id = want;
        break;
      }
    }
    if (!m.accept(id)) {
      ADD_FAILURE() << "the mask allows " << id << ", accept() does not";
      break;
    }
    if (id == end) {
      EXPECT_TRUE(m.ended());
      EXPECT_FALSE(m.mask(bits));
      Written w{"", true};
      for (int32_t t : ids) w.text += kTokens[t];
      return w;
    }
    ids.push_back(id);
    if (random.below(10) == 0) {
      const auto n = static_cast<int>(random.below(std::min<size_t>(ids.size(), 20)));
      m.rollback(n);
      ids.resize(ids.size() - n);
    }
  }
  Written w;
  for (int32_t t : ids) w.text += kTokens[t];
  return w;
}

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
    auto bound = [&](const char* key, auto ok) { return !s.contains(key) || ok(s[key].get<double>()); };
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

/// Random cases of a test: 1000, or as many as WELLSPRING_GRAMMAR_CASES says.
inline int random_cases() {
  const char* n = std::getenv("WELLSPRING_GRAMMAR_CASES");
  return n ? std::atoi(n) : 1000;
}

}  // namespace wellspring
