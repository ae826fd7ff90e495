// The learner against the plain algorithm of Hugging Face's trainer, on words of few letters, where
// pairs overlap and words merge in many ways.
#include "text/bpe_learner.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "base/text.h"

namespace wellspring {
namespace {

using PairOfIds = std::pair<int32_t, int32_t>;

// Word by word; the queue as a sorted map from (-count, pair, step) to the words to look at.
class Plain {
 public:
  Plain(const WordCounts& counts, const std::array<int32_t, 256>& byte_ids) {
    counts.each([&](std::string_view word, int64_t n) {
      words_.emplace_back();
      for (char c : word) words_.back().push_back(byte_ids[static_cast<unsigned char>(c)]);
      counts_.push_back(n);
      for (size_t i = 0; i + 1 < word.size(); ++i)
        change({words_.back()[i], words_.back()[i + 1]}, n, words_.size() - 1);
    });
    push();
  }
  bool next(PairOfIds* pair) {
    while (!queue_.empty()) {
      auto [key, words] = *queue_.begin();
      queue_.erase(queue_.begin());
      auto [count, top, step] = key;
      if (-count != pairs_[top]) {
        queue_[{-pairs_[top], top, step}] = words;
        continue;
      }
      if (count > -1) return false;
      *pair = top_ = top;
      todo_ = words;
      return true;
    }
    return false;
  }
  void apply(int32_t id) {
    for (size_t w : todo_) {
      std::vector<int32_t>& s = words_[w];
      for (size_t i = 0; i + 1 < s.size(); ++i) {
        if (s[i] != top_.first || s[i + 1] != top_.second) continue;
        if (i > 0) change({s[i - 1], s[i]}, -counts_[w], w), change({s[i - 1], id}, counts_[w], w);
        if (i + 2 < s.size())
          change({s[i + 1], s[i + 2]}, -counts_[w], w), change({id, s[i + 2]}, counts_[w], w);
        s[i] = id;
        s.erase(s.begin() + static_cast<long>(i) + 1);
      }
    }
    push();
  }

 private:
  void change(PairOfIds pair, int64_t n, size_t word) {
    pairs_[pair] += n;
    if (n > 0) fresh_[pair].insert(word);
  }
  void push() {
    ++step_;
    for (auto& [pair, words] : fresh_)
      if (pairs_[pair] > 0) queue_[{-pairs_[pair], pair, step_}] = words;
    fresh_.clear();
  }
  std::vector<std::vector<int32_t>> words_;
  std::vector<int64_t> counts_;
  std::map<PairOfIds, int64_t> pairs_;
  std::map<PairOfIds, std::set<size_t>> fresh_;
  std::map<std::tuple<int64_t, PairOfIds, int>, std::set<size_t>> queue_;
  std::set<size_t> todo_;
  PairOfIds top_;
  int step_ = 0;
};

TEST(BpeLearner, AsThePlainAlgorithm) {
  uint64_t x = 88172645463325252;
  auto below = [&](uint64_t n) { return x ^= x << 13, x ^= x >> 7, x ^= x << 17, (x >> 16) % n; };
  std::array<int32_t, 256> byte_ids;
  for (int32_t b = 0; b < 256; ++b) byte_ids[static_cast<size_t>(b)] = b;
  int64_t merges = 0;
  for (int round = 0; round < 40; ++round) {
    WordCounts counts;
    for (size_t i = 0; i < 2 + below(60); ++i) {
      std::string word;
      for (size_t n = 1 + below(24), k = 1 + below(3); n > 0; --n)
        word += static_cast<char>('a' + below(k));
      counts.add(word, static_cast<int64_t>(1 + below(9)));
    }
    BpeLearner fast(counts, byte_ids, 4096);
    Plain plain(counts, byte_ids);
    std::map<std::string, int32_t> ids;
    std::vector<std::string> tokens;
    for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
    PairOfIds pair, wanted;
    while (plain.next(&wanted) && tokens.size() < 4000 && ++merges) {
      ASSERT_TRUE(fast.next(0, &pair.first, &pair.second)) << "round " << round;
      ASSERT_EQ(pair, wanted) << "round " << round << ", merge " << tokens.size();
      const std::string token =
          tokens[static_cast<size_t>(pair.first)] + tokens[static_cast<size_t>(pair.second)];
      auto [at, fresh] = ids.emplace(token, static_cast<int32_t>(tokens.size()));
      ASSERT_TRUE(fresh) << token << " comes from two pairs";
      tokens.push_back(token);
      fast.apply(at->second);
      plain.apply(at->second);
    }
  }
  EXPECT_GT(merges, 500);
}

}  // namespace
}  // namespace wellspring
