// Random grammars, written by random tokens, read by a slow recogniser that shares nothing with
// ours.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "base/error.h"
#include "text/grammar/test_grammar.h"

namespace wellspring {
namespace {

/// A grammar over the letters a-d, as text and as a tree.
class RandomGrammar {
 public:
  explicit RandomGrammar(Random& random) : random_(random) {
    for (int i = 0; i < kRules; ++i) rules_.push_back(part(3));
  }
  std::string text() const {
    std::string out;
    for (int i = 0; i < kRules; ++i) out += name(i) + " ::= " + rules_[i]->text + '\n';
    return out;
  }
  bool matches(const std::string& t) {
    ends_.clear();
    return ends(*rules_[0], 0, t).count(t.size());
  }

 private:
  static constexpr int kRules = 4;
  struct Part {
    int kind = 0;  // 0 letters, 1 sequence, 2 choice, 3 repeat, 4 letter and rule
    std::string text, letters;
    std::vector<std::unique_ptr<Part>> parts;
    int min = 0, max = 0, rule = 0;
  };
  static std::string name(int rule) { return rule ? "r" + std::to_string(rule) : "root"; }

  std::unique_ptr<Part> part(int depth) {
    auto p = std::make_unique<Part>();
    p->kind = depth ? static_cast<int>(random_.below(5)) : 0;
    if (p->kind == 0) {
      p->letters = random_.below(2) ? std::string(1, "abcd"[random_.below(4)]) : "bd";
      p->text = p->letters.size() == 1 ? '"' + p->letters + '"' : "[bd]";
    } else if (p->kind == 3) {
      p->parts.push_back(part(depth - 1));
      p->min = static_cast<int>(random_.below(3));
      p->max = random_.below(3)
                   ? p->min + static_cast<int>(random_.below(random_.below(4) ? 6 : 80))
                   : 1 << 20;
      p->text = '(' + p->parts[0]->text + "){" + std::to_string(p->min) + ',' +
                (p->max < 1 << 20 ? std::to_string(p->max) : "") + '}';
    } else if (p->kind == 4) {  // a letter first, so that nothing is left-recursive
      p->letters = std::string(1, "abcd"[random_.below(4)]);
      p->rule = static_cast<int>(random_.below(kRules));
      p->text = "\"" + p->letters + "\" " + name(p->rule);
    } else {
      for (uint64_t i = 0, n = 1 + random_.below(3); i < n; ++i)
        p->parts.push_back(part(depth - 1));
      for (auto& q : p->parts)
        p->text += (p->text.empty() ? "(" : p->kind == 1 ? " " : " | ") + q->text;
      p->text += ')';
    }
    return p;
  }

  const std::set<size_t>& ends(const Part& p, size_t from, const std::string& t) {
    auto [it, added] = ends_.try_emplace({&p, from});
    if (!added) return it->second;
    std::set<size_t> found;
    const bool letter = from < t.size() && p.letters.find(t[from]) != std::string::npos;
    if (p.kind == 0 && letter) found.insert(from + 1);
    if (p.kind == 4 && letter) found = ends(*rules_[p.rule], from + 1, t);
    if (p.kind == 2)
      for (auto& q : p.parts)
        for (size_t e : ends(*q, from, t)) found.insert(e);
    if (p.kind == 1) {
      found = {from};
      for (auto& q : p.parts) found = after(*q, found, t);
    }
    if (p.kind == 3) {
      std::set<size_t> now{from};
      for (int i = 0; i <= std::min<int>(p.max, static_cast<int>(t.size()) + p.min) && !now.empty();
           ++i) {
        if (i >= p.min) found.insert(now.begin(), now.end());
        if (i < p.max) now = after(*p.parts[0], now, t);
      }
    }
    return ends_[{&p, from}] = found;
  }
  std::set<size_t> after(const Part& p, const std::set<size_t>& from, const std::string& t) {
    std::set<size_t> found;
    for (size_t f : from)
      for (size_t e : ends(p, f, t)) found.insert(e);
    return found;
  }

  Random& random_;
  std::vector<std::unique_ptr<Part>> rules_;
  std::map<std::pair<const Part*, size_t>, std::set<size_t>> ends_;
};

const std::vector<std::string>& letter_tokens() {
  static const std::vector<std::string> kTokens{
      "a",    "b",   "c",   "d",    "ab", "bd", "dd",       "aaa",
      "cd",   "bdb", "dbd", "abcd", "bb", "aa", "bbbbbbbb", "ddddddddddddddddddddd",
      "<end>"};
  return kTokens;
}

TEST(GrammarGbnf, RandomGrammarsByRandomTokens) {
  const auto& tokens = letter_tokens();
  const auto end = static_cast<int32_t>(tokens.size()) - 1;
  const GrammarVocabulary v(tokens, {{end}});
  int refused = 0, ended = 0;
  const int cases = random_cases();
  // Never more than the grammar; less only where it is so ambiguous that ways are dropped.
  int less = 0;
  auto agree = [&](bool ours, bool slow, const std::string& what) {
    EXPECT_TRUE(slow || !ours) << what;
    less += slow && !ours;
  };
  for (int i = 0; i < cases; ++i) {
    Random random(11, static_cast<uint64_t>(i));
    RandomGrammar made(random);
    try {
      const Grammar g = grammar_from_gbnf(made.text());
      for (int k = 0; k < 3; ++k) {
        GrammarMatcher m(g, v);
        std::vector<uint64_t> bits;
        std::string text;
        while (text.size() < 40 && !m.ended()) {
          ASSERT_TRUE(m.mask(bits)) << made.text() << text;
          std::vector<int32_t> allowed;
          for (int32_t id = 0; id <= end; ++id) {
            if (has_bit(bits, id)) allowed.push_back(id);
            ASSERT_EQ(GrammarMatcher(m).accept(id), has_bit(bits, id)) << made.text() << text << id;
          }
          agree(m.may_end(), made.matches(text), made.text() + text);
          const int32_t id = allowed[random.below(allowed.size())];
          ASSERT_TRUE(m.accept(id));
          if (id != end) text += tokens[id];
        }
        ended += m.ended();
      }
      for (int k = 0; k < 20; ++k) {
        std::string text;
        for (uint64_t n = random.below(7); n > 0; --n) text += "abcd"[random.below(4)];
        GrammarMatcher m(g, v);
        const bool ours = m.accept_bytes(text) && m.may_end();
        agree(ours, made.matches(text), made.text() + text);
      }
    } catch (const Error& e) {
      const std::string what = e.what();
      ASSERT_TRUE(what.find("no text can satisfy") != std::string::npos ||
                  what.find("too large") != std::string::npos)
          << what << '\n'
          << made.text();
      ++refused;
    }
  }
  EXPECT_LE(less, cases / 2000);
  EXPECT_LT(refused * 3, cases);
  EXPECT_GT(ended, cases);
}

}  // namespace
}  // namespace wellspring
