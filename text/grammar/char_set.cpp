#include "text/grammar/char_set.h"

#include <algorithm>
#include <map>

namespace wellspring::grammar {

CharSet::CharSet(std::initializer_list<Range> ranges) : ranges_(ranges) { tidy(); }

void CharSet::tidy() {
  std::vector<Range> in;
  for (Range r : ranges_) {  // surrogates are no characters
    if (r.low < 0xD800) in.push_back({r.low, std::min(r.high, 0xD7FFu)});
    if (r.high > 0xDFFF) in.push_back({std::max(r.low, 0xE000u), std::min(r.high, 0x10FFFFu)});
  }
  std::sort(in.begin(), in.end(), [](Range a, Range b) { return a.low < b.low; });
  ranges_.clear();
  for (Range r : in) {
    if (r.low > r.high) continue;
    if (!ranges_.empty() && r.low <= ranges_.back().high + 1)
      ranges_.back().high = std::max(ranges_.back().high, r.high);
    else
      ranges_.push_back(r);
  }
}

void CharSet::add(uint32_t low, uint32_t high) {
  ranges_.push_back({low, high});
  tidy();
}

void CharSet::add(const CharSet& other) { add_all(other.ranges_); }

void CharSet::add_all(const std::vector<Range>& ranges) {
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  tidy();
}

CharSet CharSet::inverted() const {
  CharSet out;
  uint32_t next = 0;
  for (Range r : ranges_) {
    if (r.low > next) out.ranges_.push_back({next, r.low - 1});
    next = r.high + 1;
  }
  if (next <= 0x10FFFF) out.ranges_.push_back({next, 0x10FFFF});
  out.tidy();
  return out;
}

bool CharSet::contains(uint32_t c) const {
  auto it = std::upper_bound(ranges_.begin(), ranges_.end(), c,
                             [](uint32_t x, Range r) { return x < r.low; });
  return it != ranges_.begin() && std::prev(it)->high >= c;
}

namespace {

/// Spells ranges in UTF-8; nodes that lead to the end by the same bytes are shared.
class Utf8Edges {
 public:
  Utf8Edges(Draft& draft, int from, int to, uint8_t action)
      : draft_(draft), from_(from), to_(to), action_(action) {}

  void add(uint32_t low, uint32_t high) {
    constexpr uint32_t kLast[] = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
    uint32_t begin = 0;
    for (int n = 0; n < 4; begin = kLast[n++] + 1) {
      const uint32_t a = std::max(low, begin), b = std::min(high, kLast[n]);
      if (a <= b) split(a, b, n);
    }
  }

 private:
  /// n trailing bytes. Cuts [low, high] until each part is a product of byte ranges.
  void split(uint32_t low, uint32_t high, int n) {
    for (int i = 1; i <= n; ++i) {
      const uint32_t mask = (1u << (6 * i)) - 1;
      if ((low & ~mask) == (high & ~mask)) continue;
      if (low & mask) {
        split(low, low | mask, n);
        return split((low | mask) + 1, high, n);
      }
      if ((high & mask) != mask) {
        split(low, (high & ~mask) - 1, n);
        return split(high & ~mask, high, n);
      }
    }
    int next = to_;
    for (int i = 0; i < n; ++i) {
      const int shift = 6 * i;
      next = before(next, 0x80 | (low >> shift & 63), 0x80 | (high >> shift & 63));
    }
    constexpr uint32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
    draft_.bytes(from_, static_cast<int>(kLead[n] | low >> (6 * n)),
                 static_cast<int>(kLead[n] | high >> (6 * n)), next, action_);
  }
  int before(int next, int low, int high) {
    auto [it, added] = shared_.try_emplace({next, low, high}, 0);
    if (added) {
      it->second = draft_.node();
      draft_.bytes(it->second, low, high, next);
    }
    return it->second;
  }

  Draft& draft_;
  int from_, to_;
  uint8_t action_;
  std::map<std::tuple<int, int, int>, int> shared_;
};

constexpr char kHexDigits[] = "0123456789abcdef";

/// The escape of c without its backslash, or empty when c stands for itself.
std::string escape_of(uint32_t c) {
  switch (c) {
    case '"':
      return "\"";
    case '\\':
      return "\\";
    case '\b':
      return "b";
    case '\f':
      return "f";
    case '\n':
      return "n";
    case '\r':
      return "r";
    case '\t':
      return "t";
    default:
      if (c >= 0x20) return {};
      return std::string("u00") + kHexDigits[c >> 4] + kHexDigits[c & 15];
  }
}

}  // namespace

void add_chars(Draft& draft, int from, int to, const CharSet& set, Spelling spelling,
               uint8_t action) {
  Utf8Edges edges(draft, from, to, action);
  if (spelling == Spelling::utf8) {
    for (auto r : set.ranges()) edges.add(r.low, r.high);
    return;
  }
  int slash = -1;
  for (uint32_t c = 0; c <= '\\'; ++c) {
    const std::string escape = escape_of(c);
    if (escape.empty() || !set.contains(c)) continue;
    if (slash < 0) {
      slash = draft.node();
      draft.bytes(from, '\\', '\\', slash, action);
    }
    draft.literal(slash, escape, to);
  }
  constexpr CharSet::Range kPlain[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x10FFFF}};
  for (auto r : set.ranges())
    for (auto p : kPlain)
      if (std::max(r.low, p.low) <= std::min(r.high, p.high))
        edges.add(std::max(r.low, p.low), std::min(r.high, p.high));
}

std::string json_spelling(std::string_view utf8) {
  std::string out;
  for (char c : utf8) {
    const std::string escape = escape_of(static_cast<unsigned char>(c));
    if (escape.empty())
      out += c;
    else
      out += '\\' + escape;
  }
  return out;
}

}  // namespace wellspring::grammar
