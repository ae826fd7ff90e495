// Beginning with whole characters gives what beginning with bytes gives, for vocabularies made to
// hurt.
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_data.h"

namespace wellspring {
namespace {

struct Random {
  uint64_t x;
  size_t below(size_t n) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return (x >> 16) % n;
  }
};

const std::vector<std::string> kLetters = {"的", "一", "丁", "七", "é",  "è",
                                           "ж",  "a",  "b",  " ",  "水", "\U0001F600"};

std::string random_text(Random& random, size_t letters) {
  std::string s;
  for (size_t i = 0; i < letters; ++i) s += kLetters[random.below(kLetters.size())];
  return s;
}

// Any merges whatever: of bytes inside characters, across them, in any order.
std::string random_tokenizer(Random& random,
                             std::map<std::pair<std::string, std::string>, int>& ranks) {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  const std::string text = random_text(random, 400);
  std::vector<std::pair<std::string, std::string>> merges;
  for (int i = 0; i < 5000 && merges.size() < 120; ++i) {
    const size_t at = random.below(text.size()), n = 1 + random.below(4), m = 1 + random.below(4);
    const std::string l = text.substr(at, n),
                      r = at + n < text.size() ? text.substr(at + n, m) : "";
    const bool known = std::find(tokens.begin(), tokens.end(), l) != tokens.end() &&
                       std::find(tokens.begin(), tokens.end(), r) != tokens.end();
    if (r.empty() || !known || std::count(merges.begin(), merges.end(), std::pair(l, r))) continue;
    merges.emplace_back(l, r);
    if (std::find(tokens.begin(), tokens.end(), l + r) == tokens.end()) tokens.push_back(l + r);
  }
  for (size_t i = merges.size(); i > 1; --i)
    if (random.below(3) == 0) std::swap(merges[i - 1], merges[random.below(i)]);
  std::string json = byte_level_shell(SplitPattern::llama3, {}, false);
  json.resize(json.size() - 2);
  auto quoted = [](const std::string& s) { return to_text(Json(to_byte_alphabet(s))); };
  json += ",\"vocab\":{";
  for (size_t i = 0; i < tokens.size(); ++i) json += str(i ? "," : "", quoted(tokens[i]), ":", i);
  json += "},\"merges\":[";
  for (size_t i = 0; i < merges.size(); ++i) {
    json += str(i ? "," : "", "[", quoted(merges[i].first), ",", quoted(merges[i].second), "]");
    ranks[merges[i]] = static_cast<int>(i);
  }
  return json + "]}}";
}

// The definition: the pair of lowest rank, leftmost first, until there is none.
std::vector<std::string> merged(const std::string& piece,
                                const std::map<std::pair<std::string, std::string>, int>& ranks) {
  std::vector<std::string> parts;
  for (char c : piece) parts.emplace_back(1, c);
  while (true) {
    int best = -1;
    size_t where = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      auto at = ranks.find({parts[i], parts[i + 1]});
      if (at != ranks.end() && (best < 0 || at->second < best)) best = at->second, where = i;
    }
    if (best < 0) return parts;
    parts[where] += parts[where + 1];
    parts.erase(parts.begin() + static_cast<long>(where) + 1);
  }
}

TEST(WholeCharacters, SameAsFromBytes) {
  Random random{88172645463325252};
  int64_t pieces = 0;
  for (int round = 0; round < 60; ++round) {
    std::map<std::pair<std::string, std::string>, int> ranks;
    const Tokenizer t = Tokenizer::parse(random_tokenizer(random, ranks), "random");
    for (int i = 0; i < 60; ++i) {
      std::string text = random_text(random, 1 + random.below(24));
      if (random.below(8) == 0) text.insert(random.below(text.size()), 1, '\xB8');  // no UTF-8
      std::vector<std::string> wanted, found;
      const SplitFunction split = split_function(SplitPattern::llama3);
      for (const char *p = text.data(), *end = p + text.size(); p < end; ++pieces) {
        const char* stop = split(p, end);
        for (std::string& s : merged(std::string(p, stop), ranks)) wanted.push_back(std::move(s));
        p = stop;
      }
      for (int32_t id : t.encode(text)) found.push_back(t.decode(std::vector<int32_t>{id}));
      ASSERT_EQ(found, wanted) << "round " << round << ": " << text;
    }
  }
  EXPECT_GT(pieces, 5000);
}

}  // namespace
}  // namespace wellspring
