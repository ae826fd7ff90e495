#include "text/grammar/grammar.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/test_error.h"
#include "text/grammar/test_grammar.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

std::string schema_error(const char* text) {
  return error_of([&] { grammar_from_json_schema(text); }, Fault::data);
}
std::string regex_error(const std::string& text) {
  return error_of([&] { grammar_from_regex(text); }, Fault::data);
}
std::string gbnf_error(const std::string& text) {
  return error_of([&] { grammar_from_gbnf(text); }, Fault::data);
}
bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

TEST(GrammarRegex, AgreesWithRe2) {
  std::ifstream in("text/grammar/testdata/regex.jsonl");
  std::string line;
  int cases = 0;
  while (std::getline(in, line)) {
    const Json row = parse_json(line, "regex.jsonl");
    const auto pattern = row[0].get<std::string>();
    try {
      const Grammar g = grammar_from_regex(pattern);
      for (size_t i = 1; i < row.size(); ++i, ++cases)
        EXPECT_EQ(takes(g, row[i][0].get<std::string>()), row[i][1].get<bool>())
            << pattern << "  on  " << row[i][0];
    } catch (const Error& e) {  // RE2 takes empty languages
      EXPECT_TRUE(has(e.what(), "no text can satisfy")) << pattern << ": " << e.what();
      for (size_t i = 1; i < row.size(); ++i) EXPECT_FALSE(row[i][1].get<bool>()) << pattern;
    }
  }
  EXPECT_GT(cases, 4000);
}

TEST(GrammarRegex, SaysWhereItIsWrong) {
  EXPECT_EQ(regex_error("ab(c"), "regular expression: '(' without ')' (at byte 2)");
  EXPECT_TRUE(has(regex_error("a[b"), "(at byte 1)"));
  EXPECT_TRUE(has(regex_error("(?=a)"), "look-around"));
  EXPECT_TRUE(has(regex_error("(a)\\1"), "(at byte 3)"));
  EXPECT_TRUE(has(regex_error("\\bx"), "word boundaries"));
  EXPECT_TRUE(has(regex_error("a{2000}"), "over 1000"));
  EXPECT_TRUE(has(regex_error("a\xFF"), "UTF-8"));
  EXPECT_TRUE(has(regex_error("a$b"), "no text can satisfy"));
  EXPECT_TRUE(has(regex_error(std::string(300, '(')), "nested"));
}

TEST(GrammarLimits, NothingHangs) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(has(regex_error("(.*a.{20}){3}"), "too large"));
  EXPECT_TRUE(has(regex_error("((((a{1000}){1000}){1000}){1000})"), "too large"));
  EXPECT_TRUE(has(regex_error("(?:(?:.?){1000}){1000}"), "too large"));
  EXPECT_TRUE(takes(grammar_from_regex("(a*)*b"), std::string(5000, 'a') + 'b'));
  EXPECT_TRUE(takes(grammar_from_regex("(a|aa)+"), std::string(5000, 'a')));
  std::string doubled = R"({"$ref":"#/$defs/x0","$defs":{)";
  for (int i = 0; i < 90; ++i) {
    const std::string next = "{\"$ref\":\"#/$defs/x" + std::to_string(i + 1) + "\"}";
    doubled += "\"x" + std::to_string(i) + "\":{\"allOf\":[" + next + "," + next + "]},";
  }
  EXPECT_TRUE(has(schema_error((doubled + "\"x90\":{}}}").c_str()), "too large"));
  // An ambiguous grammar: 2^n stacks, were they not merged.
  const Grammar g = grammar_from_gbnf(
      "root ::= \"a\" (x \"b\" | y \"c\") | \"d\"\nx ::= root\ny ::= root | \"e\"\n");
  GrammarMatcher m(g, small_vocabulary());
  EXPECT_TRUE(m.accept_bytes(std::string(100, 'a') + "d"));
  EXPECT_TRUE(m.accept_bytes("bcbcbc"));
  EXPECT_TRUE(has(gbnf_error("root ::= (\"\" | root) \"x\"\n"), "left recursion"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

TEST(GrammarLimits, DepthIsBoundedAndNeverADeadEnd) {
  const Grammar g = grammar_from_json_schema("{}", {JsonBlanks::none});
  GrammarMatcher m(g, small_vocabulary());
  std::vector<uint64_t> bits;
  int depth = 0;
  while (m.accept_bytes("[")) {
    ASSERT_LT(++depth, 1000);
    ASSERT_TRUE(m.mask(bits));
    EXPECT_EQ(has_bit(bits, '['), GrammarMatcher(m).accept_bytes("["));
  }
  EXPECT_GT(depth, 200);
  ASSERT_TRUE(m.mask(bits));
  for (int32_t id = 0; id < small_vocabulary().size(); ++id)
    EXPECT_EQ(GrammarMatcher(m).accept(id), has_bit(bits, id)) << id;
  for (int i = 0; i < depth; ++i) ASSERT_TRUE(m.accept_bytes("]")) << i;
  EXPECT_TRUE(m.may_end());
}

TEST(GrammarGbnf, TakesLlamaCppsNotation) {
  const Grammar g = grammar_from_gbnf(R"gbnf(# a comment
root ::= (expr "=" ws term "\n")+
expr ::= term ([-+*/] term)*   # and more
term ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num ::= [0-9]+ ws
ws ::= [ \t\n]{0,3}
)gbnf");
  EXPECT_TRUE(takes(g, "a+1=b\n(x1*2)-3 =4\n"));
  EXPECT_FALSE(takes(g, "a+=b\n"));
  EXPECT_FALSE(takes(g, "a=    b\n"));
  const Grammar chars =
      grammar_from_gbnf("root ::= [^\"\\\\\\x00-\\x1F]{3} \"\\u6cc9\" . [\\]\\-^a]?");
  EXPECT_TRUE(takes(chars, "aé泉泉😀-"));
  EXPECT_FALSE(takes(chars, "a\"b泉x"));
  EXPECT_TRUE(takes(grammar_from_gbnf("root ::= x{1000,2000}\nx ::= \"ab\" | \"c\""),
                    std::string(1500, 'c')));
  EXPECT_FALSE(takes(grammar_from_gbnf("root ::= [a-c]{1000,2000}"), std::string(999, 'c')));
  EXPECT_TRUE(takes(grammar_from_gbnf("root ::= [a-c]{1000,2000} \"d\"?"), std::string(2000, 'c')));
  EXPECT_FALSE(takes(grammar_from_gbnf("root ::= [a-c]{1000,2000}"), std::string(2001, 'c')));
}

TEST(GrammarGbnf, SaysWhereItIsWrong) {
  EXPECT_TRUE(has(gbnf_error("root ::= \"a\n"), "line 1, column 10"));
  EXPECT_TRUE(has(gbnf_error("root ::= a\nb ::= \"c\"\n"), "line 1, column 10: the rule 'a'"));
  EXPECT_TRUE(has(gbnf_error("x ::= \"a\""), "'root'"));
  EXPECT_TRUE(has(gbnf_error("root ::= \"a\"\nroot ::= \"b\""), "line 2, column 1"));
  EXPECT_TRUE(has(gbnf_error("root ::= ( \"a\" "), "'(' without ')'"));
  EXPECT_TRUE(has(gbnf_error("root ::= root \"a\" | \"b\""), "left recursion"));
  EXPECT_TRUE(has(gbnf_error("root ::= \"a\" root"), "no text can satisfy"));
}

TEST(GrammarMatcher, RollsBackAndCopies) {
  const Grammar g = grammar_of_any_json_object();
  const auto& v = small_vocabulary();
  GrammarMatcher m(g, v);
  const int32_t end = v.size() - 1;
  for (char c : std::string("{\"a\":[1,{}")) ASSERT_TRUE(m.accept(c));
  std::vector<uint64_t> before, after;
  ASSERT_TRUE(m.mask(before));
  GrammarMatcher copy = m;
  for (char c : std::string("],\"b\":\"x\"}")) ASSERT_TRUE(m.accept(c));
  EXPECT_FALSE(m.accept('x'));
  EXPECT_FALSE(m.accept(-1));
  EXPECT_FALSE(m.accept(v.size()));
  EXPECT_FALSE(m.accept(end - 1)) << "a special token";
  EXPECT_TRUE(m.may_end());
  ASSERT_TRUE(m.accept(end));
  EXPECT_TRUE(m.ended());
  EXPECT_FALSE(m.accept('}'));
  m.rollback(1);
  EXPECT_TRUE(m.may_end());
  m.rollback(10);
  ASSERT_TRUE(m.mask(after));
  EXPECT_EQ(before, after);
  ASSERT_TRUE(copy.mask(after));
  EXPECT_EQ(before, after);
  EXPECT_TRUE(has(error_of([&] { m.rollback(11); }), "at most 10"));
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(m.accept(',') && m.accept('1'));
  m.rollback(GrammarMatcher::kMaxRollback);
  EXPECT_TRUE(m.accept(']') && m.accept('}') && m.may_end());
  error_of([&] { m.rollback(GrammarMatcher::kMaxRollback + 1); });
}

TEST(GrammarMatcher, CharactersMayBeSplitOverTokens) {
  const Grammar g = grammar_from_regex("[à-ü]泉😀");
  const std::vector<std::string> tokens{"\xC3", "\xA9", "\xE6\xB3", "\x89\xF0", "\x9F\x98\x80",
                                        "\xC4", "\xBD", "\x80",     "<end>"};
  const std::vector<int32_t> end{8};
  const GrammarVocabulary v(tokens, end);
  GrammarMatcher m(g, v);
  std::vector<uint64_t> bits;
  for (int32_t id : {0, 1, 2, 3, 4, 8}) {
    ASSERT_TRUE(m.mask(bits));
    EXPECT_EQ(bits[0], uint64_t{1} << id) << id;  // \xC3\xBD is beyond the range
    ASSERT_TRUE(m.accept(id));
  }
  EXPECT_TRUE(m.ended());
}

TEST(GrammarMatcher, SaysWhatMustCome) {
  const Grammar g = grammar_from_json_schema(
      R"({"type":"object","properties":{"name":{"type":"string"}},"required":["name"]})",
      {JsonBlanks::spaced});
  GrammarMatcher m(g, small_vocabulary());
  EXPECT_EQ(m.forced(), "{\"name\": \"");
  EXPECT_EQ(m.forced(3), "{\"n");
  EXPECT_TRUE(m.accept_bytes("{\"name\": \"x\""));
  EXPECT_EQ(m.forced(), "}");
}

TEST(GrammarMatcher, MasksOfPiecesAreMasksOfAWalk) {
  for (const char* schema :
       {"{}", R"({"type":"array","items":{"type":"string","minLength":3,"maxLength":40}})",
        R"({"type":"object","additionalProperties":{"type":"array","maxItems":20,"items":{}}})"}) {
    const Grammar g = grammar_from_json_schema(schema);
    for (uint64_t i = 0; i < 30; ++i) {
      Random random(3, i);
      write_random(g, random, 100);
    }
  }
}

TEST(GrammarVocabulary, ReadsATokenizer) {
  for (const char* name : {"gpt2", "llama2", "llama2_metaspace", "qwen2"}) {
    const Tokenizer t = Tokenizer::load(std::string("text/testdata/") + name + ".json");
    const GrammarVocabulary v = GrammarVocabulary::of(t, {});
    EXPECT_EQ(v.size(), t.vocab_size());
    const Grammar g = grammar_from_regex("a the theme.*");
    GrammarMatcher m(g, v);
    for (int32_t id : t.encode("a the theme of them", {.add_special = false})) {
      std::vector<uint64_t> bits;
      ASSERT_TRUE(m.mask(bits));
      if (!m.accept(id)) {  // a tokenizer that puts a space before the text
        EXPECT_TRUE(std::string(name).starts_with("llama2")) << name << ' ' << t.id_to_token(id);
        break;
      }
    }
  }
  const std::vector<std::string> tokens{"a"};
  const std::vector<int32_t> end{1};
  EXPECT_TRUE(has(error_of([&] { GrammarVocabulary(tokens, end); }), "end token 1"));
}

TEST(GrammarErrors, NameThePointer) {
  EXPECT_TRUE(
      has(schema_error(R"({"properties":{"a/b":{"type":"text"}}})"), "#/properties/a~1b/type"));
  EXPECT_TRUE(has(schema_error(R"({"items":{"not":{}}})"), "#/items/not"));
  EXPECT_TRUE(has(schema_error(R"({"$ref":"#/$defs/x"})"), "leads nowhere"));
  EXPECT_TRUE(has(schema_error(R"({"$ref":"http://x/y"})"), "#/$ref"));
  EXPECT_TRUE(has(schema_error(R"({"allOf":[{"$ref":"#"}]})"), "defined by itself"));
  EXPECT_TRUE(has(schema_error(R"({"pattern":"(a"})"), "#/pattern: '(' without ')'"));
  EXPECT_TRUE(has(schema_error(R"({"minLength":-1})"), "#/minLength"));
  EXPECT_TRUE(has(schema_error(R"({"type":"integer","minimum":2,"maximum":1})"), "no text"));
  EXPECT_TRUE(has(schema_error("{"), "JSON schema"));
  EXPECT_TRUE(has(schema_error("3"), "a schema is an object"));
  EXPECT_TRUE(has(schema_error(R"({"oneOf":[{"type":"integer"},{"minimum":3}]})"), "#/oneOf/1"));
  const std::string deep = schema_error(R"({"type":"object","properties":{"a":{"type":"array","items":
      {"type":"object","properties":{"b":{}},"minProperties":1}}}})");
  EXPECT_TRUE(has(deep, "JSON schema, #/properties/a/items/minProperties: ")) << deep;
  const std::string two = schema_error(R"({"allOf":[{"properties":{"b":{}}},{"maxProperties":0}]})");
  EXPECT_TRUE(has(two, "#/allOf/1/maxProperties: ")) << two;
  EXPECT_EQ(grammar_from_json_schema(R"({"format":"colour"})").notes(),
            std::vector<std::string>{"#/format: the format 'colour' does not constrain"});
}

// A part has places, references and leniency of its own.
TEST(GrammarParts, StandForThemselves) {
  const char* schema = R"({"anyOf":[{"type":"object","properties":{"x":{"$ref":"#/$defs/d"}},"required":["x"],
      "$defs":{"d":{"type":"array","items":{"type":"integer"},"uniqueItems":true}}},{"type":"null"}]})";
  JsonGrammarOptions options;
  options.blanks = JsonBlanks::none;
  options.parts = {{"/anyOf/0", "parameters of 'f'", false}};
  EXPECT_EQ(error_of([&] { grammar_from_json_schema(schema, options); }, Fault::data),
            "JSON schema, parameters of 'f' #/$defs/d/uniqueItems: the keyword 'uniqueItems' is not supported: leave it out");
  options.parts[0].lenient = true;
  const Grammar g = grammar_from_json_schema(schema, options);
  EXPECT_TRUE(takes(g, "{\"x\":[1,1]}"));
  EXPECT_FALSE(takes(g, "{\"x\":[1,\"1\"]}"));
  ASSERT_EQ(g.notes().size(), 1u);
  EXPECT_TRUE(has(g.notes()[0], "parameters of 'f' #/$defs/d/uniqueItems: left out: ")) << g.notes()[0];
}

TEST(GrammarParts, LeaveOutOneKeywordAndKeepTheRest) {
  JsonGrammarOptions lenient;
  lenient.blanks = JsonBlanks::none;
  lenient.parts = {{"", "", true}};
  struct Row {
    const char *schema, *good, *bad;
  };
  for (const Row& row : {
           Row{R"({"type":"array","items":{"type":"integer"},"uniqueItems":true,"maxItems":2})", "[1,1]", "[1,1,1]"},
           {R"({"type":"object","patternProperties":{"^a":{"type":"integer"}},"additionalProperties":false})", "{\"a\":1}", "[]"},
           {R"({"type":"integer","not":{"const":3},"minimum":2})", "3", "1"},
           {R"({"type":"object","properties":{"a":{"type":"integer"}},"if":{"required":["a"]},"then":{"required":["b"]}})",
            "{\"a\":1,\"b\":2}", "{\"a\":\"x\"}"},
           {R"({"type":"array","contains":{"const":1},"minContains":2,"minItems":1})", "[5]", "[]"},
           {R"({"type":"object","properties":{"a":{"type":"null"}},"dependentRequired":{"a":["b"]}})", "{\"a\":null}", "{\"a\":1}"},
           {R"({"allOf":[{"properties":{"a":{"type":"null"}}}],"type":"object","unevaluatedProperties":false})", "{\"a\":null}",
            "{\"b\":1}"},
           {R"({"type":"object","properties":{"a":{"type":"null"}},"minProperties":1})", "{}", "{\"a\":1}"},
           {R"({"type":"object","properties":{"a":{"type":"null"},"b":{}},"maxProperties":1})", "{\"a\":null,\"b\":1}", "{\"a\":1}"},
           {R"({"oneOf":[{"type":"integer"},{"type":"number","minimum":3}]})", "4", "2.5"},
           {R"({"type":"string","pattern":"\\bword\\b","maxLength":3})", "\"abc\"", "\"abcd\""},
           {R"({"type":"string","pattern":"^(?=.*a)b"})", "\"x\"", "1"},
           {R"({"type":"number","multipleOf":0.3,"maximum":5})", "4.7", "5.5"},
           {R"({"$ref":"https://example.org/x","type":"integer"})", "1", "\"a\""},
           {R"({"type":"array","items":{"$ref":"#/$defs/none"},"maxItems":1})", "[{}]", "[1,2]"},
           {R"({"type":"object","properties":{"a":{"type":"null"}},"additionalProperties":{"type":"integer"},
                "propertyNames":{"pattern":"^[a-z]$"}})", "{\"a\":null}", "{\"Zz\":1}"},
       }) {
    EXPECT_NE(schema_error(row.schema), "") << row.schema;
    const Grammar g = grammar_from_json_schema(row.schema, lenient);
    EXPECT_TRUE(takes(g, row.good)) << row.schema;
    EXPECT_FALSE(takes(g, row.bad)) << row.schema;
    EXPECT_FALSE(g.notes().empty()) << row.schema;
  }
  EXPECT_TRUE(has(error_of([&] { grammar_from_json_schema(R"({"type":"objekt"})", lenient); }, Fault::data), "#/type"));
}

}  // namespace
}  // namespace wellspring
