#include "text/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "base/threads.h"
#include "text/scan.h"
#include "text/tokenizer_data.h"
#include "text/unicode.h"

namespace wellspring {

void TokenTrie::insert(std::string_view text, int index) {
  size_t node = 0;
  for (char c : text) {
    auto& next = nodes_[node].next;
    auto at = std::find_if(next.begin(), next.end(), [&](const auto& e) { return e.first == c; });
    if (at != next.end()) {
      node = static_cast<size_t>(at->second);
      continue;
    }
    next.emplace_back(c, static_cast<int>(nodes_.size()));
    node = nodes_.size();
    nodes_.emplace_back();
  }
  nodes_[node].index = index;
  first_[static_cast<unsigned char>(text[0])] = true;
}

int TokenTrie::longest(std::string_view s, size_t at, size_t* length) const {
  size_t node = 0;
  int found = -1;
  for (size_t i = at; i < s.size(); ++i) {
    const auto& next = nodes_[node].next;
    auto e = std::find_if(next.begin(), next.end(), [&](const auto& x) { return x.first == s[i]; });
    if (e == next.end()) break;
    node = static_cast<size_t>(e->second);
    if (nodes_[node].index >= 0) found = nodes_[node].index, *length = i + 1 - at;
  }
  return found;
}

namespace {

using unicode::kSpace;
using unicode::kWord;

uint8_t flags_before(std::string_view s, size_t at) {
  unicode::Char c = unicode::decode_back(s.data(), s.data() + at);
  return c.valid ? unicode::class_of(c.code) : uint8_t{0};
}

uint8_t flags_at(std::string_view s, size_t at) {
  return scan::step(s.data() + at, s.data() + s.size()).flags;
}

size_t spaces_start(std::string_view s, size_t at) {  // of the white space that ends at `at`
  while (at > 0 && flags_before(s, at) & kSpace)
    at -= static_cast<size_t>(unicode::decode_back(s.data(), s.data() + at).length);
  return at;
}

// ASCII's word characters are in the table, not in scan::kAscii.
uint8_t word_at(std::string_view s, size_t at) {
  unicode::Char c = unicode::decode(s.data() + at, s.data() + s.size());
  return c.valid ? unicode::class_of(c.code) & kWord : uint8_t{0};
}

// Calls token(id) and text(begin, end) for the added tokens in `s` and what is between them; special ones count where
// special(index, begin, end) says so.
template <class Special, class OnToken, class OnText>
void cut_at_tokens(const TokenizerData& d, const TokenTrie& trie, std::string_view s,
                   Special&& special, OnToken&& token, OnText&& text) {
  size_t done = 0;
  if (!trie.empty()) {
    for (size_t i = 0; i < s.size();) {
      if (!trie.may_begin(s[i])) {
        ++i;
        continue;
      }
      size_t length = 0;
      const int index = trie.longest(s, i, &length);
      if (index < 0) {
        ++i;
        continue;
      }
      const AddedToken& a = d.added[static_cast<size_t>(index)];
      size_t start = i, stop = i + length;
      i = stop;
      if (a.special && !special(index, start, stop)) continue;
      if (a.single_word &&
          ((start > 0 && flags_before(s, start) & kWord) || (stop < s.size() && word_at(s, stop))))
        continue;
      if (a.lstrip) start = std::max(spaces_start(s, start), done);
      if (a.rstrip)
        while (stop < s.size() && flags_at(s, stop) & kSpace)
          stop += static_cast<size_t>(unicode::decode(s.data() + stop, s.data() + s.size()).length);
      if (done < start) text(done, start);
      token(a.id);
      done = stop;
    }
  }
  if (done < s.size()) text(done, s.size());
}

// Where special tokens count in one text.
class SpecialPlaces {
 public:
  explicit SpecialPlaces(const EncodeOptions& options) : options_(options) {}

  bool operator()(size_t begin, size_t end) const {
    if (!options_.parse_special) return false;
    const auto& plain = options_.plain;
    const auto after = std::partition_point(plain.begin(), plain.end(), [&](const auto& p) { return p.second <= begin; });
    return after == plain.end() || after->first >= end;
  }

  // Of the token that is the `nth` of its kind in a text that became `changed` from the bytes at `begin` of the whole:
  // as the nth one was before, when there are as many.
  bool in_changed(std::string_view token, size_t nth, std::string_view before, size_t begin, std::string_view changed) const {
    if (options_.plain.empty() || !options_.parse_special) return options_.parse_special;
    const auto places = [&](std::string_view s) {
      std::vector<size_t> all;
      for (size_t at = s.find(token); at != s.npos; at = s.find(token, at + token.size())) all.push_back(at);
      return all;
    };
    const std::vector<size_t> was = places(before);
    if (nth >= was.size() || was.size() != places(changed).size()) return false;
    return (*this)(begin + was[nth], begin + was[nth] + token.size());
  }

 private:
  const EncodeOptions& options_;
};

int64_t count_invalid(std::string_view s) {
  int64_t n = 0;
  const char* end = s.data() + s.size();
  for (const char* p = s.data(); p < end;) {
    if (static_cast<unsigned char>(*p) < 0x80) {
      ++p;
      continue;
    }
    unicode::Char c = unicode::decode(p, end);
    n += !c.valid;
    p += c.length;
  }
  return n;
}

}  // namespace

void Tokenizer::encode_to(std::string_view text, std::vector<int32_t>& out,
                          const EncodeOptions& options) const {
  const TokenizerData& d = *data_;
  if (options.invalid_bytes) *options.invalid_bytes += count_invalid(text);
  IdSink sink(out);
  if (options.add_special)
    for (int32_t id : d.before) sink.push(id);
  auto on_token = [&](int32_t id) { sink.push(id); };
  const SpecialPlaces special(options);
  const auto in_raw = [&](int, size_t begin, size_t end) { return special(begin, end); };
  cut_at_tokens(d, d.raw_trie, text, in_raw, on_token, [&](size_t begin, size_t end) {
    const std::string_view raw = text.substr(begin, end - begin);
    std::string_view part = raw;
    std::string changed;
    const bool quick = d.normalizer.empty() || (d.normalizer.size() == 1 &&
                                                d.normalizer[0].kind == NormalizerStep::nfc &&
                                                unicode::is_nfc_quick(part));
    if (!quick) part = changed = d.normalize(part);
    std::map<int, size_t> seen;
    const auto in_normalized = [&](int index, size_t b, size_t e) {
      return quick ? special(begin + b, begin + e)
                   : special.in_changed(part.substr(b, e - b), seen[index]++, raw, begin, part);
    };
    cut_at_tokens(d, d.normalized_trie, part, in_normalized, on_token, [&](size_t b, size_t e) {
      d.encode_segment(part.substr(b, e - b), begin == 0 && b == 0, sink);
    });
  });
  if (options.add_special)
    for (int32_t id : d.after) sink.push(id);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<int32_t> out;
  out.reserve(text.size() / 3 + 16);
  encode_to(text, out, options);
  return out;
}

std::vector<std::vector<int32_t>> Tokenizer::encode_all(std::span<const std::string_view> texts,
                                                        const EncodeOptions& options) const {
  std::vector<std::vector<int32_t>> out(texts.size());
  // About 64 kB a tile, so that short texts do not cost a dispatch each.
  std::vector<size_t> cuts{0};
  size_t bytes = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    bytes += texts[i].size() + 16;
    if (bytes >= 65536 || i + 1 == texts.size()) cuts.push_back(i + 1), bytes = 0;
  }
  std::atomic<int64_t> invalid{0};
  parallel_for(static_cast<int64_t>(cuts.size()) - 1, [&](int64_t tile) {
    int64_t here = 0;
    EncodeOptions own = options;
    if (options.invalid_bytes) own.invalid_bytes = &here;
    const auto t = static_cast<size_t>(tile);
    for (size_t i = cuts[t]; i < cuts[t + 1]; ++i) out[i] = encode(texts[i], own);
    invalid += here;
  });
  if (options.invalid_bytes) *options.invalid_bytes += invalid;
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  const TokenizerData& d = *data_;
  for (const int32_t id : ids) d.check_id(id);
  std::string out(4 * ids.size() + 16, '\0');
  size_t at = 0;
  const auto put = [&](std::string_view s) {
    if (out.size() - at < s.size()) [[unlikely]]
      out.resize(out.size() + out.size() / 2 + s.size());
    std::memcpy(out.data() + at, s.data(), s.size());
    at += s.size();
  };
  bool first = true;  // its text may differ
  for (const int32_t id : ids) {
    if (skip_special && d.is_special(id)) continue;
    if (first) {
      put(d.first_piece(id));
      first = false;
      continue;
    }
    if (d.decode.join_by_space) put(" ");
    put(d.piece(id));
  }
  out.resize(at);
  size_t strip = 0;
  while (strip < out.size() && static_cast<int>(strip) < d.decode.strip_left &&
         out[strip] == d.decode.strip_char)
    ++strip;
  return strip ? out.substr(strip) : out;
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(data_->tokens.size()); }

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const int32_t id = data_->find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::string Tokenizer::id_to_token(int32_t id) const {
  if (id < 0 || id >= vocab_size())
    throw Error(Fault::usage, str("token id ", id, " is out of range: ", source(), " has ids 0 to ",
                                  vocab_size() - 1));
  return std::string(data_->tokens[static_cast<size_t>(id)]);
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && data_->is_special(id);
}
std::optional<int32_t> Tokenizer::bos_id() const { return data_->bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return data_->eos; }
bool Tokenizer::byte_level() const { return data_->all_bytes; }
const std::string& Tokenizer::source() const { return data_->where; }

}  // namespace wellspring
