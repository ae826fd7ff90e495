// Times masks of grammars over a vocabulary of about 150,000 made-up tokens (words, Chinese
// characters, punctuation, blanks, every byte): one line for each grammar, the first 20 random
// texts with nothing kept and 20 more with the masks of the first.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/random.h"
#include "text/grammar/grammar.h"

namespace wellspring {
namespace {

using Clock = std::chrono::steady_clock;
double milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::vector<std::string> made_up_tokens() {
  Random random(1);
  std::vector<std::string> tokens;
  for (int i = 0; i < 256; ++i) tokens.emplace_back(1, static_cast<char>(i));
  static constexpr const char* kSyllables[] = {"th", "er", "on", "an", "re", "he", "in", "ed",
                                               "nd", "ha", "at", "en", "es", "of", "or", "nt"};
  for (int i = 0; i < 110'000; ++i) {
    std::string word = random.below(2) ? " " : "";
    for (uint64_t n = 1 + random.below(6); n > 0; --n) word += kSyllables[random.below(16)];
    if (random.below(40) == 0) word += '.';
    tokens.push_back(word);
  }
  for (int i = 0; i < 25'000; ++i) {
    std::string word;
    for (uint64_t n = 1 + random.below(3); n > 0; --n) {
      const auto c = static_cast<unsigned>(0x4E00 + random.below(20000));
      word += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)),
               static_cast<char>(0x80 | (c & 63))};
    }
    tokens.push_back(word);
  }
  const std::string marks = "{}[]():;,.\"'\\/-_=+<>*&^%$#@! \n\t0123456789";
  for (int i = 0; i < 13'000; ++i) {
    std::string word;
    for (uint64_t n = 1 + random.below(5); n > 0; --n) word += marks[random.below(marks.size())];
    tokens.push_back(word);
  }
  for (size_t i = 1; i <= 128; ++i)
    for (char c : {' ', '-', '='}) tokens.emplace_back(i, c);
  tokens.emplace_back("<end>");
  return tokens;
}

struct Times {
  std::vector<double> all;
  double at(double share) {
    std::sort(all.begin(), all.end());
    return all[static_cast<size_t>(share * static_cast<double>(all.size() - 1))];
  }
};

void write_texts(const Grammar& g, const GrammarVocabulary& v, Times& masks, Times& accepts) {
  Random random(7);
  std::vector<uint64_t> bits;
  std::vector<int32_t> ids;
  for (int text = 0; text < 20; ++text) {
    GrammarMatcher m(g, v);
    for (int step = 0; step < 200 && !m.ended(); ++step) {
      auto begin = Clock::now();
      if (!m.mask(bits)) break;
      masks.all.push_back(milliseconds(begin));
      ids.clear();
      for (size_t w = 0; w < bits.size(); ++w)
        for (uint64_t x = bits[w]; x; x &= x - 1)
          ids.push_back(static_cast<int32_t>(w * 64) + __builtin_ctzll(x));
      // A byte now and then, or texts would never end.
      const size_t among = random.below(4) ? ids.size() : std::min<size_t>(ids.size(), 50);
      begin = Clock::now();
      m.accept(ids[random.below(among)]);
      accepts.all.push_back(milliseconds(begin));
    }
  }
}

const char* const kPerson = R"({"type": "object", "additionalProperties": false,
"required": ["name", "age", "address", "score"], "properties": {"name": {"type": "string"},
"age": {"type": "integer", "minimum": 0, "maximum": 150},
"email": {"type": "string", "format": "email"},
"tags": {"type": "array", "items": {"type": "string"}}, "score": {"type": "number"},
"address": {"type": "object", "required": ["street", "city"], "properties": {
"street": {"type": "string", "maxLength": 100}, "city": {"enum": ["Paris", "London", "Tokyo"]},
"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}}}})";

}  // namespace
}  // namespace wellspring

int main() {
  using namespace wellspring;
  const auto tokens = made_up_tokens();
  const std::vector<int32_t> end{static_cast<int32_t>(tokens.size()) - 1};
  auto begin = Clock::now();
  const GrammarVocabulary v(tokens, end);
  std::printf("%d tokens arranged in %.0f ms; milliseconds:\n", v.size(), milliseconds(begin));
  struct Case {
    const char* name;
    Grammar (*make)();
  };
  const Case cases[] = {
      {"any object", [] { return grammar_of_any_json_object(); }},
      {"person", [] { return grammar_from_json_schema(kPerson); }},
      {"regex .{10,400}", [] { return grammar_from_regex("[A-Z].{10,400}\\."); }},
      {"chess",
       [] {
         return grammar_from_gbnf(
             "root ::= (move \" \" move \"\\n\"){1,40}\nmove ::= [NBRQK]? "
             "[a-h]? [1-8]? \"x\"? [a-h] [1-8] [+#]?\n");
       }},
      {"lines",
       [] { return grammar_from_gbnf("root ::= line{1,200}\nline ::= [^\\n]{1,500} \"\\n\"\n"); }}};
  for (const Case& c : cases) {
    begin = Clock::now();
    const Grammar g = c.make();
    const double compile = milliseconds(begin);
    for (const char* when : {"first", "again"}) {
      Times masks, accepts;
      write_texts(g, v, masks, accepts);
      double sum = 0;
      for (double t : masks.all) sum += t;
      std::printf(
          "%-16s %s  compile %5.1f  mask mean %.4f p50 %.4f p90 %.4f p99 %.3f max %6.2f  "
          "accept p50 %.4f p99 %.4f\n",
          c.name, when, compile, sum / static_cast<double>(masks.all.size()), masks.at(0.5),
          masks.at(0.9), masks.at(0.99), masks.at(1), accepts.at(0.5), accepts.at(0.99));
    }
  }
}
