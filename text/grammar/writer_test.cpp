// What test_grammar.h declares.
#include "text/grammar/test_grammar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

namespace wellspring {

namespace {

std::vector<std::string> small_tokens() {
  std::vector<std::string> tokens;
  for (int i = 0; i < 256; ++i) tokens.emplace_back(1, static_cast<char>(i));
  for (const char* t : {"\"",
                        "\",",
                        "\":",
                        "\": \"",
                        "{\"",
                        "\"}",
                        "}}",
                        "]}",
                        "],",
                        "[[",
                        "[{",
                        "}]",
                        "\", \"",
                        "true",
                        "false",
                        "null",
                        "alse",
                        " ",
                        "  ",
                        "\n  ",
                        "a",
                        "ab",
                        "abc",
                        "name",
                        "\"name\"",
                        "value",
                        "kind",
                        "12",
                        "123",
                        "0.",
                        ".5",
                        "-1",
                        "e+",
                        "00",
                        "\\u",
                        "\\n",
                        "\\\"",
                        "00e9",
                        "\xC3\xA9",
                        "\xE6\xB3",
                        "\xB3\x89",
                        "\xF0\x9F",
                        "\x98\x80",
                        "\xE6\xB3\x89\xE6",
                        "xyz",
                        "aab",
                        "2024",
                        "-02",
                        "T12",
                        ":30",
                        "@",
                        ".com",
                        "                  ",
                        "aaaaaaaaaaaaaaaaaaaa",
                        "\"aaaaaaaaaaaaaaaaaaaaaaaaa\"",
                        "[[[[[[[[[[[[[[[[[[[[["})
    tokens.emplace_back(t);
  tokens.emplace_back();  // a special token
  tokens.emplace_back("<end>");
  return tokens;
}

}  // namespace

const GrammarVocabulary& small_vocabulary() {
  static const GrammarVocabulary kVocabulary = [] {
    const auto tokens = small_tokens();
    const std::vector<int32_t> end{static_cast<int32_t>(tokens.size()) - 1};
    return GrammarVocabulary(tokens, end);
  }();
  return kVocabulary;
}

bool takes(const Grammar& g, std::string_view text) {
  GrammarMatcher m(g, small_vocabulary());
  return m.accept_bytes(text) && m.may_end();
}

Written write_random(const Grammar& grammar, Random& random, int usual) {
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
        EXPECT_EQ(copy.accept(id), has_bit(bits, id))
            << "token " << id << " '" << kTokens[id] << "'";
      }
    }
    int32_t id = allowed[random.below(allowed.size())];
    const bool close = step >= usual || random.below(3) == 0;
    if (close && m.may_end() && (step >= usual || random.below(2))) {
      id = end;
    } else if (close) {
      for (int tries = 0; tries < 6; ++tries) {
        static constexpr std::string_view kClosing[] = {"\"", "}", "]", ",", ":", "1", "0"};
        const auto want = static_cast<int32_t>(static_cast<unsigned char>(
            kClosing[step >= usual && tries < 3 ? tries : random.below(7)][0]));
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

int random_cases() {
  const char* n = std::getenv("WELLSPRING_GRAMMAR_CASES");
  return n ? std::atoi(n) : 1000;
}

}  // namespace wellspring
