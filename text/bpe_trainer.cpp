#include "text/bpe_trainer.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/threads.h"
#include "text/bpe_learner.h"
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
      throw Error(Fault::usage,
                  str("special token '", options.special[i], "' is empty or given twice"));
}

BpeTrainer::~BpeTrainer() = default;

namespace {

constexpr size_t kPart = 256 << 10;

// Printable ASCII, or the first byte of U+4000 to U+9FFF: no white space, and nothing that
// combines.
bool solid(char c) {
  const auto u = static_cast<unsigned char>(c);
  return (u > 0x20 && u < 0x7F) || (u >= 0xE4 && u <= 0xE9);
}

// The end of a part that begins at `from`: long documents are cut where every pattern cuts, behind
// a single newline between solid characters.
size_t part_end(std::string_view s, size_t from) {
  auto continues = [&](size_t i) { return (static_cast<unsigned char>(s[i]) & 0xC0) == 0x80; };
  for (size_t at = from + kPart; (at = s.find('\n', at)) < s.size() - 1; ++at) {
    const size_t before = continues(at - 1) && continues(at - 2) ? at - 3 : at - 1;
    const bool whole = before == at - 3 || static_cast<unsigned char>(s[before]) < 0x80;
    if (whole && solid(s[before]) && solid(s[at + 1])) return at + 1;
  }
  return s.size();
}

void count_words(std::string_view text, SplitPattern pattern, WordCounts& counts) {
  std::string normal;
  if (pattern == SplitPattern::qwen2 && !unicode::is_nfc_quick(text))
    text = normal = unicode::nfc(text);
  scan::each_piece(pattern, text.data(), text.data() + text.size(),
                   [&](const char* p, const char* e) {
                     counts.add({p, static_cast<size_t>(e - p)}, 1);
                   });
}

}  // namespace

void BpeTrainer::add(std::span<const std::string_view> documents) {
  Impl& impl = *impl_;
  if (impl.counts.size() < static_cast<size_t>(threads()))
    impl.counts.resize(static_cast<size_t>(threads()));
  std::vector<std::string_view> parts;
  std::vector<size_t> cuts{0};  // tiles of parts
  size_t size = 0;
  for (std::string_view s : documents) {
    impl.bytes += static_cast<int64_t>(s.size());
    for (size_t begin = 0, end; begin < s.size(); begin = end) {
      end = s.size() - begin < 2 * kPart ? s.size() : part_end(s, begin);
      parts.push_back(s.substr(begin, end - begin));
      size += end - begin + 64;
      if (size >= kPart) cuts.push_back(parts.size()), size = 0;
    }
  }
  if (cuts.back() < parts.size()) cuts.push_back(parts.size());
  parallel_for(static_cast<int64_t>(cuts.size()) - 1, [&](int64_t tile) {
    WordCounts& mine = impl.counts[static_cast<size_t>(thread_index())];
    const auto t = static_cast<size_t>(tile);
    for (size_t i = cuts[t]; i < cuts[t + 1]; ++i)
      count_words(parts[i], impl.options.pattern, mine);
  });
}

int64_t BpeTrainer::bytes() const { return impl_->bytes; }

namespace {

struct Merge {
  int32_t left, right;
};

// Empties the threads' counts into one table.
WordCounts together(std::vector<WordCounts>& counts) {
  WordCounts all;
  for (WordCounts& c : counts) {
    if (all.size() == 0) std::swap(all, c);
    c.each([&](std::string_view word, int64_t n, uint64_t hash) { all.add(word, n, hash); });
    c = WordCounts();
  }
  counts.clear();
  return all;
}

}  // namespace

int64_t BpeTrainer::words() const {
  WordCounts all = together(impl_->counts);
  const auto n = static_cast<int64_t>(all.size());
  impl_->counts.push_back(std::move(all));
  return n;
}

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
  BpeLearner learner(together(impl_->counts), byte_ids, o.vocab_size);
  std::vector<Merge> merges;
  const int64_t wanted = o.vocab_size - static_cast<int64_t>(tokens.size());
  Merge m;
  while (static_cast<int64_t>(tokens.size()) < o.vocab_size &&
         learner.next(o.min_frequency, &m.left, &m.right)) {
    std::string token = tokens[static_cast<size_t>(m.left)] + tokens[static_cast<size_t>(m.right)];
    auto [at, fresh] = ids.emplace(token, static_cast<int32_t>(tokens.size()));
    const int32_t id = at->second;
    if (fresh) tokens.push_back(std::move(token));
    learner.apply(id);
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
