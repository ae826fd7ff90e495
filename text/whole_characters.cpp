// Which characters of several bytes may begin as one symbol: merging their bytes first changes
// nothing.
#include <algorithm>

#include "text/tokenizer_data.h"
#include "text/unicode.h"

namespace wellspring {
namespace {

constexpr uint32_t kNever = MergeTable::kNone;

bool ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }
bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// The lowest ranks of the merges that a symbol takes part in.
struct Uses {
  uint32_t any = kNever;          // on either side
  uint32_t after_many = kNever;   // on the right of one that ends in a character of several bytes
  uint32_t after_ascii = kNever;  // on the right of one that ends in ASCII
  uint32_t before_many = kNever;  // on the left of one that begins with such a character
  uint32_t before_ascii = kNever;
};

class Characters {
 public:
  explicit Characters(const TokenizerData& d)
      : d_(d), bytes_(d.tokens.size()), uses_(d.tokens.size()) {
    for (size_t i = 0; i < bytes_.size(); ++i)
      if (d.used[i] & TokenizerData::in_model) bytes_[i] = from_byte_alphabet(d.tokens[i]).value_or("");
    for (auto [l, r] : d.merge_list) {
      Uses &left = uses_[static_cast<size_t>(l)], &right = uses_[static_cast<size_t>(r)];
      const std::string &a = bytes_[static_cast<size_t>(l)], &b = bytes_[static_cast<size_t>(r)];
      const uint32_t rank = d.merges.find(l, r).rank;
      auto lower = [&](uint32_t& x) { x = std::min(x, rank); };
      lower(left.any), lower(right.any);
      lower(a.empty() || !ascii(a.back()) ? right.after_many : right.after_ascii);
      if (b.empty() || !continues(b[0]))
        lower(b.empty() || !ascii(b[0]) ? left.before_many : left.before_ascii);
    }
  }

  // 0, or (token + 1) * 2, plus 1 when its neighbours may be ASCII, too.
  uint32_t entry(size_t token) const {
    const std::string& s = bytes_[token];
    std::vector<int32_t> ids;
    for (char c : s) ids.push_back(d_.byte_ids[static_cast<unsigned char>(c)]);
    if (std::find(ids.begin(), ids.end(), -1) != ids.end()) return 0;
    uint32_t highest = 0;
    while (ids.size() > 1) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < ids.size(); ++i)
        if (rank(ids, i) < rank(ids, best)) best = i;
      if (rank(ids, best) == kNever) return 0;
      highest = std::max(highest, rank(ids, best));
      ids[best] = d_.merges.find(ids[best], ids[best + 1]).id;
      ids.erase(ids.begin() + static_cast<long>(best) + 1);
    }
    if (ids[0] != static_cast<int32_t>(token)) return 0;
    uint32_t many = uses_[token].any, ascii = kNever;
    for (size_t n = 1; n < s.size(); ++n) {  // parts that could merge across the character's ends
      const Uses begin = part(s.substr(0, n)), end = part(s.substr(n));
      many = std::min({many, begin.after_many, end.before_many});
      ascii = std::min({ascii, begin.after_ascii, end.before_ascii});
    }
    if (highest >= many) return 0;
    return (static_cast<uint32_t>(token) + 1) * 2 + (highest < ascii);
  }
  const std::string& bytes(size_t token) const { return bytes_[token]; }

 private:
  uint32_t rank(const std::vector<int32_t>& ids, size_t i) const {
    return d_.merges.find(ids[i], ids[i + 1]).rank;
  }
  Uses part(std::string_view bytes) const {
    const int32_t id = d_.find(to_byte_alphabet(bytes));
    return id < 0 ? Uses{} : uses_[static_cast<size_t>(id)];
  }

  const TokenizerData& d_;
  std::vector<std::string> bytes_;
  std::vector<Uses> uses_;
};

}  // namespace

// A character's bytes become one symbol before anything else happens to them when every merge
// inside it has a lower rank than any merge of a part of it with a neighbour, and than any merge of
// the symbol.
void TokenizerData::find_whole_characters() {
  const Characters all(*this);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string& s = all.bytes(i);
    if (s.size() < 2 || s.size() > 3) continue;
    const unicode::Char c = unicode::decode(s.data(), s.data() + s.size());
    if (!c.valid || c.length != static_cast<int>(s.size())) continue;
    if (whole_characters.empty()) whole_characters.resize(0x10000);
    whole_characters[c.code] = all.entry(i);
  }
}

// Symbols of a piece: whole characters where that is the same as their bytes. 0 when the piece has
// bytes that are no UTF-8.
size_t TokenizerData::start_with_characters(const char* p, size_t n, int32_t* to) const {
  const char* end = p + n;
  size_t count = 0;
  bool after_ascii = false;
  while (p < end) {
    const auto byte = static_cast<unsigned char>(*p);
    if (byte < 0x80) {
      to[count++] = byte_ids[byte];
      after_ascii = true;
      ++p;
      continue;
    }
    const unicode::Char c = unicode::decode(p, end);
    if (!c.valid) return 0;
    const uint32_t entry = c.code < 0x10000 ? whole_characters[c.code] : 0;
    const char* next = p + c.length;
    if (entry && ((entry & 1) || !(after_ascii || (next < end && ascii(*next))))) {
      to[count++] = static_cast<int32_t>(entry / 2) - 1;
    } else {
      for (; p < next; ++p) to[count++] = byte_ids[static_cast<unsigned char>(*p)];
    }
    p = next;
    after_ascii = false;
  }
  return count;
}

}  // namespace wellspring
