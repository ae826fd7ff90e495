#include "text/bpe_trainer.h"

#include <algorithm>
#include <deque>
#include <numeric>
#include <queue>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/threads.h"
#include "text/scan.h"
#include "text/tokenizer_data.h"
#include "text/word_counts.h"

namespace wellspring {

struct BpeTrainer::Impl {
  BpeTrainerOptions options;
  std::vector<WordCounts> counts;  // one per thread
  int64_t bytes = 0;
};

BpeTrainer::BpeTrainer(const BpeTrainerOptions& options) : impl_(new Impl) {
  impl_->options = options;
  const auto least = static_cast<int64_t>(256 + options.special.size());
  if (options.vocab_size < least || options.vocab_size > (1 << 24))
    throw Error(Fault::usage, str("vocab_size ", options.vocab_size, " is out of range: ", least,
                                  " (256 bytes and special tokens) to ", 1 << 24));
  for (size_t i = 0; i < options.special.size(); ++i)
    if (options.special[i].empty() ||
        std::count(options.special.begin(), options.special.end(), options.special[i]) > 1)
      throw Error(Fault::usage, str("special token '", options.special[i], "' is empty or given twice"));
}

BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::add(std::span<const std::string_view> documents) {
  Impl& impl = *impl_;
  if (impl.counts.size() < static_cast<size_t>(threads()))
    impl.counts.resize(static_cast<size_t>(threads()));
  // Long documents are one tile each: a cut could fall inside a word.
  std::vector<size_t> cuts{0};
  size_t size = 0;
  for (size_t i = 0; i < documents.size(); ++i) {
    size += documents[i].size() + 64;
    impl.bytes += static_cast<int64_t>(documents[i].size());
    if (size >= (256 << 10) || i + 1 == documents.size()) cuts.push_back(i + 1), size = 0;
  }
  const SplitPattern pattern = impl.options.pattern;
  parallel_for(static_cast<int64_t>(cuts.size()) - 1, [&](int64_t tile) {
    WordCounts& mine = impl.counts[static_cast<size_t>(thread_index())];
    const auto t = static_cast<size_t>(tile);
    for (size_t i = cuts[t]; i < cuts[t + 1]; ++i) {
      std::string_view text = documents[i];
      std::string normal;
      if (pattern == SplitPattern::qwen2 && !unicode::is_nfc_quick(text))
        text = normal = unicode::nfc(text);
      scan::each_piece(pattern, text.data(), text.data() + text.size(),
                       [&](const char* p, const char* e) {
                         mine.add({p, static_cast<size_t>(e - p)}, 1);
                       });
    }
  });
}

void BpeTrainer::add_files(const std::vector<std::string>& paths) {
  for (size_t i = 0; i < paths.size();) {  // some at a time: mappings are not without end
    std::vector<MappedFile> files;
    std::vector<std::string_view> views;
    for (; i < paths.size() && files.size() < 256; ++i) {
      files.emplace_back(paths[i]);
      views.push_back(files.back().view());
    }
    add(views);
  }
}

int64_t BpeTrainer::bytes() const { return impl_->bytes; }

int64_t BpeTrainer::words() const {
  return std::accumulate(impl_->counts.begin(), impl_->counts.end(), int64_t{0},
                         [](int64_t n, const WordCounts& c) { return n + static_cast<int64_t>(c.size()); });
}

namespace {

struct Merge {
  int32_t left, right, id;
};

// The words as symbols, the pairs in them, and the queue of what to merge next.
class Learner {
 public:
  Learner(const std::vector<WordCounts>& counts, const std::array<int32_t, 256>& byte_ids) {
    WordCounts all;
    for (const WordCounts& c : counts)
      c.each([&](std::string_view word, int64_t n) { all.add(word, n); });
    all.each([&](std::string_view word, int64_t n) {
      if (word.size() < 2) return;
      words_.push_back({symbols_.size(), static_cast<uint32_t>(word.size()), n});
      for (char c : word) symbols_.push_back(byte_ids[static_cast<unsigned char>(c)]);
    });
    for (size_t w = 0; w < words_.size(); ++w)
      for (uint32_t i = 0; i + 1 < words_[w].size; ++i) {
        const int32_t* s = symbols_.data() + words_[w].begin + i;
        change(s[0], s[1], words_[w].count, static_cast<uint32_t>(w));
      }
    push_touched();
  }

  // The next pair to merge; false when none is left that is frequent enough.
  bool next(int64_t min_frequency, int32_t* left, int32_t* right) {
    while (!queue_.empty()) {
      Candidate top = queue_.top();
      queue_.pop();
      const int64_t now = pairs_[top.pair].count;
      if (top.count != now) {
        top.count = now;
        queue_.push(top);
        continue;
      }
      if (top.count < 1 || top.count < min_frequency) return false;
      current_ = std::move(places_[top.places]);
      *left = pairs_[top.pair].left, *right = pairs_[top.pair].right;
      return true;
    }
    return false;
  }

  void apply(const Merge& m) {
    for (uint32_t w : current_) merge_word(w, m);
    push_touched();
  }

 private:
  struct Word {
    size_t begin;
    uint32_t size;
    int64_t count;
  };
  struct Pair {
    int32_t left, right;
    int64_t count = 0;
    int32_t places = -1;  // index of the list being filled, or -1
  };
  struct Candidate {
    int64_t count;
    int32_t left, right;
    uint32_t pair, places;
    bool operator<(const Candidate& o) const {  // greatest first: more, then smaller ids
      if (count != o.count) return count < o.count;
      return left != o.left ? left > o.left : right > o.right;
    }
  };

  uint32_t index_of(int32_t l, int32_t r) {
    if (pairs_.size() * 2 >= slots_.size()) grow();
    size_t i = slot(l, r);
    for (;; i = (i + 1) & (slots_.size() - 1)) {
      const uint32_t at = slots_[i];
      if (at == 0) break;
      if (pairs_[at - 1].left == l && pairs_[at - 1].right == r) return at - 1;
    }
    pairs_.push_back({l, r});
    slots_[i] = static_cast<uint32_t>(pairs_.size());
    return slots_[i] - 1;
  }
  size_t slot(int32_t l, int32_t r) const {
    const uint64_t h = (static_cast<uint64_t>(static_cast<uint32_t>(l)) << 32 |
                        static_cast<uint32_t>(r)) * 0x9E3779B97F4A7C15u;
    return (h >> 20) & (slots_.size() - 1);
  }
  void grow() {
    slots_.assign(slots_.size() * 2, 0);
    for (size_t p = 0; p < pairs_.size(); ++p) {
      size_t i = slot(pairs_[p].left, pairs_[p].right);
      while (slots_[i]) i = (i + 1) & (slots_.size() - 1);
      slots_[i] = static_cast<uint32_t>(p + 1);
    }
  }

  // Adds to a pair's count; where it grows, the word is remembered for the pair's next turn.
  void change(int32_t l, int32_t r, int64_t by, uint32_t word) {
    const uint32_t at = index_of(l, r);
    Pair& p = pairs_[at];
    p.count += by;
    if (by <= 0) return;
    if (p.places < 0) {
      p.places = static_cast<int32_t>(places_.size());
      places_.emplace_back();
      touched_.push_back(at);
    }
    auto& list = places_[static_cast<size_t>(p.places)];
    if (list.empty() || list.back() != word) list.push_back(word);
  }

  void push_touched() {
    for (uint32_t at : touched_) {
      Pair& p = pairs_[at];
      if (p.count > 0)
        queue_.push({p.count, p.left, p.right, at, static_cast<uint32_t>(p.places)});
      p.places = -1;
    }
    touched_.clear();
  }

  void merge_word(uint32_t index, const Merge& m) {
    Word& w = words_[index];
    int32_t* s = symbols_.data() + w.begin;
    uint32_t n = w.size, to = 0;
    for (uint32_t i = 0; i < n;) {
      if (s[i] != m.left || i + 1 >= n || s[i + 1] != m.right) {
        s[to++] = s[i++];
        continue;
      }
      if (to > 0) {
        change(s[to - 1], m.left, -w.count, index);
        change(s[to - 1], m.id, w.count, index);
      }
      if (i + 2 < n) {
        change(m.right, s[i + 2], -w.count, index);
        change(m.id, s[i + 2], w.count, index);
      }
      s[to++] = m.id;
      i += 2;
    }
    w.size = to;
  }

  std::vector<int32_t> symbols_;
  std::vector<Word> words_;
  std::vector<Pair> pairs_;
  std::vector<uint32_t> slots_ = std::vector<uint32_t>(1 << 16);
  std::deque<std::vector<uint32_t>> places_;
  std::vector<uint32_t> touched_, current_;
  std::priority_queue<Candidate> queue_;
};

}  // namespace

Tokenizer BpeTrainer::train() {
  const BpeTrainerOptions& o = impl_->options;
  std::vector<std::string> tokens = o.special;  // special tokens, the alphabet in its order, merges
  std::array<int32_t, 256> byte_ids;
  std::vector<int> bytes(256);
  std::iota(bytes.begin(), bytes.end(), 0);
  std::sort(bytes.begin(), bytes.end(), [](int a, int b) {
    return byte_alphabet()[static_cast<size_t>(a)] < byte_alphabet()[static_cast<size_t>(b)];
  });
  std::unordered_map<std::string, int32_t> ids;
  for (size_t i = 0; i < tokens.size(); ++i) ids.emplace(tokens[i], static_cast<int32_t>(i));
  for (int b : bytes) {
    const char c = static_cast<char>(b);
    auto [at, fresh] = ids.emplace(to_byte_alphabet({&c, 1}), static_cast<int32_t>(tokens.size()));
    byte_ids[static_cast<size_t>(b)] = at->second;
    if (fresh) tokens.push_back(at->first);
  }
  Learner learner(impl_->counts, byte_ids);
  impl_->counts.clear();
  std::vector<Merge> merges;
  const int64_t wanted = o.vocab_size - static_cast<int64_t>(tokens.size());
  Merge m;
  while (static_cast<int64_t>(tokens.size()) < o.vocab_size &&
         learner.next(o.min_frequency, &m.left, &m.right)) {
    std::string token = tokens[static_cast<size_t>(m.left)] + tokens[static_cast<size_t>(m.right)];
    auto [at, fresh] = ids.emplace(token, static_cast<int32_t>(tokens.size()));
    m.id = at->second;
    if (fresh) tokens.push_back(std::move(token));
    learner.apply(m);
    merges.push_back(m);
    if (on_progress && merges.size() % 256 == 0)
      on_progress(static_cast<int64_t>(merges.size()), wanted);
  }
  std::vector<AddedToken> added;
  for (size_t i = 0; i < o.special.size(); ++i)
    added.push_back({o.special[i], static_cast<int32_t>(i), true, false, false, false, false});
  // Through the file format: what is trained is what will be loaded.
  std::string json = byte_level_shell(o.pattern, added, false);
  json.resize(json.size() - 2);  // the ends of "model" and of all
  auto quoted = [](const std::string& s) { return to_text(Json(s)); };
  json += ",\"vocab\":{";
  for (size_t i = 0; i < tokens.size(); ++i) json += str(i ? "," : "", quoted(tokens[i]), ":", i);
  json += "},\"merges\":[";
  for (size_t i = 0; i < merges.size(); ++i)
    json += str(i ? "," : "", "[", quoted(tokens[static_cast<size_t>(merges[i].left)]), ",",
                quoted(tokens[static_cast<size_t>(merges[i].right)]), "]");
  return Tokenizer::parse(json + "]}}", "the trained tokenizer");
}

}  // namespace wellspring
