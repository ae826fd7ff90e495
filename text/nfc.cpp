#include <algorithm>
#include <tuple>
#include <vector>

#include "base/text.h"
#include "text/unicode.h"

namespace wellspring::unicode {
namespace {

// Hangul syllables are composed by arithmetic (Unicode chapter 3.12).
constexpr char32_t kS = 0xAC00, kL = 0x1100, kV = 0x1161, kT = 0x11A7;
constexpr int kLCount = 19, kVCount = 21, kTCount = 28;
constexpr int kSCount = kLCount * kVCount * kTCount;

struct Letter {
  char32_t code;
  uint8_t combining;
};

uint8_t combining_class(char32_t c) {
  if (!(class_of(c) & kNfcLook)) return 0;
  const CombiningRange* end = kCombining + kCombiningCount;
  const auto* r = std::upper_bound(kCombining, end, c,
                                   [](char32_t v, const CombiningRange& x) { return v < x.first; });
  return r != kCombining && c <= r[-1].last ? r[-1].combining_class : 0;
}

void decompose(char32_t c, std::vector<Letter>& out) {
  if (c >= kS && c < kS + kSCount) {
    const int s = static_cast<int>(c - kS);
    out.push_back({kL + s / (kVCount * kTCount), 0});
    out.push_back({kV + s % (kVCount * kTCount) / kTCount, 0});
    if (s % kTCount) out.push_back({kT + s % kTCount, 0});
    return;
  }
  const Decomposition* end = kDecompositions + kDecompositionCount;
  const auto* d = std::lower_bound(kDecompositions, end, c,
                                   [](const Decomposition& x, char32_t v) { return x.code < v; });
  if (d == end || d->code != c) {
    out.push_back({c, combining_class(c)});
    return;
  }
  for (int i = 0; i < d->size; ++i) {
    char32_t part = kDecompositionPool[d->begin + i];
    out.push_back({part, combining_class(part)});
  }
}

char32_t compose(char32_t a, char32_t b) {  // 0: they do not combine
  if (a >= kL && a < kL + kLCount && b >= kV && b < kV + kVCount)
    return kS + ((a - kL) * kVCount + (b - kV)) * kTCount;
  if (a >= kS && a < kS + kSCount && (a - kS) % kTCount == 0 && b > kT && b < kT + kTCount)
    return a + (b - kT);
  const Composition* end = kCompositions + kCompositionCount;
  const auto* p = std::lower_bound(
      kCompositions, end, std::tuple(a, b),
      [](const Composition& x, const auto& key) { return std::tuple(x.first, x.second) < key; });
  return p != end && p->first == a && p->second == b ? p->result : 0;
}

// A stretch that begins where nothing combines backwards.
void normalise(std::string_view text, std::vector<Letter>& letters, std::string& out) {
  letters.clear();
  for (size_t i = 0; i < text.size();) {
    Char c = decode(text.data() + i, text.data() + text.size());
    decompose(c.code, letters);
    i += static_cast<size_t>(c.length);
  }
  const auto n = letters.size();
  for (size_t i = 0; i < n;) {  // canonical order of each run of combining characters
    size_t j = i + 1;
    if (letters[i].combining) {
      while (j < n && letters[j].combining) ++j;
      std::stable_sort(letters.begin() + static_cast<long>(i),
                       letters.begin() + static_cast<long>(j),
                       [](const Letter& a, const Letter& b) { return a.combining < b.combining; });
    }
    i = j;
  }
  size_t kept = 0, starter = n;
  uint8_t last = 0;  // class of the last kept character after the starter
  for (size_t i = 0; i < n; ++i) {
    const Letter c = letters[i];
    const bool open = starter < n && (kept == starter + 1 || (last != 0 && last < c.combining));
    if (open) {
      if (char32_t joined = compose(letters[starter].code, c.code)) {
        letters[starter].code = joined;
        continue;
      }
    }
    letters[kept] = c;
    if (c.combining == 0) starter = kept;
    last = c.combining;
    ++kept;
  }
  for (size_t i = 0; i < kept; ++i) utf8_append(out, letters[i].code);
}

// The first character from `from` on that NFC must look at, and the start of the one before it.
size_t find_look(std::string_view s, size_t from, size_t* before) {
  const char* end = s.data() + s.size();
  size_t i = from, previous = from;
  while (i < s.size()) {
    if (static_cast<unsigned char>(s[i]) < 0x80) {
      previous = i++;
      continue;
    }
    Char c = decode(s.data() + i, end);
    if (c.valid && class_of(c.code) & kNfcLook) break;
    previous = i;
    i += static_cast<size_t>(c.length);
  }
  *before = previous;
  return i;
}

}  // namespace

Char decode_back(const char* begin, const char* end) {
  for (int n = 1; n <= 4 && end - begin >= n; ++n) {
    if ((static_cast<unsigned char>(end[-n]) & 0xC0) == 0x80) continue;
    Char c = decode(end - n, end);
    if (c.valid && c.length == n) return c;
    break;
  }
  return {0xFFFFFFFF, 1, false};
}

bool is_nfc_quick(std::string_view text) {
  size_t before;
  return find_look(text, 0, &before) == text.size();
}

std::string nfc(std::string_view text) {
  std::string out;
  std::vector<Letter> letters;
  const char* end = text.data() + text.size();
  size_t done = 0;
  while (done < text.size()) {
    size_t before, look = find_look(text, done, &before);
    if (look == text.size()) break;
    // From the character before (a base to combine with, unless it is an invalid byte) to the next
    // one that combines with nothing before it.
    if (before < look && !decode(text.data() + before, end).valid) before = look;
    out.append(text.substr(done, before - done));
    size_t stop = look;
    while (stop < text.size()) {
      Char c = decode(text.data() + stop, end);
      if (!c.valid || !(class_of(c.code) & kNfcLook)) break;
      stop += static_cast<size_t>(c.length);
    }
    normalise(text.substr(before, stop - before), letters, out);
    done = stop;
  }
  out.append(text.substr(done));
  return out;
}

}  // namespace wellspring::unicode
