#pragma once
// The scanners themselves, inline for the encoder's inner loop. Alternatives of a pattern are tried
// in its order; each function returns the end of the match at p.

#include <array>

#include "text/split.h"
#include "text/unicode.h"

namespace wellspring::scan {

using unicode::kLetter;
using unicode::kLower;
using unicode::kMark;
using unicode::kNumber;
using unicode::kSpace;
using unicode::kUpper;

/// Classes of ASCII, so that the common case touches 128 bytes.
inline constexpr auto kAscii = [] {
  std::array<uint8_t, 256> t{};
  for (int c = 'A'; c <= 'Z'; ++c) t[c] = kLetter | kUpper;
  for (int c = 'a'; c <= 'z'; ++c) t[c] = kLetter | kLower;
  for (int c = '0'; c <= '9'; ++c) t[c] = kNumber;
  for (int c : {9, 10, 11, 12, 13, 32}) t[c] = kSpace;
  return t;
}();

struct Step {
  uint8_t flags;
  int length;
};

inline Step step(const char* p, const char* end) {
  const auto c = static_cast<unsigned char>(*p);
  if (c < 0x80) [[likely]]
    return {kAscii[c], 1};
  unicode::Char d = unicode::decode(p, end);
  return {d.valid ? unicode::class_of(d.code) : uint8_t{0}, d.length};
}

/// Skips characters with any flag of `wanted`.
inline const char* run(const char* p, const char* end, uint8_t wanted) {
  while (p < end) {
    Step s = step(p, end);
    if (!(s.flags & wanted)) break;
    p += s.length;
  }
  return p;
}

inline const char* run_others(const char* p, const char* end) {
  while (p < end) {
    Step s = step(p, end);
    if (s.flags & (kLetter | kNumber | kSpace)) break;
    p += s.length;
  }
  return p;
}

/// `\s+(?!\S)|\s+` at a space: all of it at the end of the text, else all but the last character.
inline const char* spaces(const char* p, const char* end) {
  const char *q = p, *last = p;
  while (q < end) {
    Step s = step(q, end);
    if (!(s.flags & kSpace)) break;
    last = q;
    q += s.length;
  }
  return q == end || last == p ? q : last;
}

/// Length of 's 't 're 've 'm 'll 'd at p (which is an apostrophe), or 0. In any case U+017F (long
/// s) is an s.
template <bool kAnyCase>
inline int contraction(const char* p, const char* end) {
  const auto left = end - p;
  auto at = [&](int i) {
    char c = p[i];
    return kAnyCase && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  if (left < 2) return 0;
  const char a = at(1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if (left < 3) return 0;
  const char b = at(2);
  if ((a == 'r' || a == 'v') && b == 'e') return 3;
  if (a == 'l' && b == 'l') return 3;
  if (kAnyCase && p[1] == '\xC5' && p[2] == '\xBF') return 3;
  return 0;
}

inline const char* gpt2(const char* p, const char* end) {
  if (*p == '\'')
    if (int n = contraction<false>(p, end)) return p + n;
  const char* q = p + (*p == ' ');
  if (q < end) {
    const Step s = step(q, end);
    if (s.flags & kLetter) return run(q + s.length, end, kLetter);
    if (s.flags & kNumber) return run(q + s.length, end, kNumber);
    if (!(s.flags & kSpace)) return run_others(q + s.length, end);
  }
  return spaces(p, end);
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`, with `\s++$` first when kEndFirst (cl100k).
template <bool kEndFirst>
inline const char* spaces_by_line(const char* p, const char* end) {
  const char *q = p, *last = p, *line = nullptr;
  while (q < end) {
    Step s = step(q, end);
    if (!(s.flags & kSpace)) break;
    last = q;
    q += s.length;
    if (*last == '\n' || *last == '\r') line = q;
  }
  if (kEndFirst && q == end) return q;
  if (line) return line;
  return q == end || last == p ? q : last;
}

template <int kDigits>
inline const char* numbers(const char* p, const char* end) {
  for (int i = 0; i < kDigits && p < end; ++i) {
    Step s = step(p, end);
    if (!(s.flags & kNumber)) break;
    p += s.length;
  }
  return p;
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n]*` where a character of the class stands at q; also [\r\n/]*.
template <bool kSlash>
inline const char* others_and_lines(const char* q, const char* end) {
  q = run_others(q, end);
  while (q < end && (*q == '\r' || *q == '\n' || (kSlash && *q == '/'))) ++q;
  return q;
}

/// Llama 3 and its relatives.
template <int kDigits, bool kEndFirst>
inline const char* llama3(const char* p, const char* end) {
  if (*p == '\'')
    if (int n = contraction<true>(p, end)) return p + n;
  const Step s = step(p, end);
  if (s.flags & kLetter) return run(p + s.length, end, kLetter);
  if (s.flags & kNumber) return numbers<kDigits>(p, end);
  const char* q = p + s.length;
  if (*p != '\r' && *p != '\n' && q < end) {
    const Step t = step(q, end);
    if (t.flags & kLetter) return run(q + t.length, end, kLetter);
    if (*p == ' ' && !(t.flags & (kNumber | kSpace))) return others_and_lines<false>(q, end);
  }
  if (!(s.flags & kSpace)) return others_and_lines<false>(p, end);
  return spaces_by_line<kEndFirst>(p, end);
}

/// The two word alternatives of o200k without their optional first character: [U]*[W]+ when kFirst,
/// else [U]+[W]*, with U = Lu Lt Lm Lo M and W = Ll Lm Lo M. Null when there is no match at q.
template <bool kFirst>
inline const char* cased_word(const char* q, const char* end) {
  auto upper = [](uint8_t f) { return (f & (kLetter | kMark)) && !(f & kLower); };
  auto lower = [](uint8_t f) { return (f & (kLetter | kMark)) && !(f & kUpper); };
  const char *p = q, *both_end = nullptr;  // end of the last character that is also in W
  while (p < end) {
    Step s = step(p, end);
    if (!upper(s.flags)) break;
    p += s.length;
    if (lower(s.flags)) both_end = p;
  }
  const char* word = p;
  while (word < end) {
    Step s = step(word, end);
    if (!lower(s.flags)) break;
    word += s.length;
  }
  if (kFirst) return word > p ? word : both_end;  // [U]* gives characters back until [W]+ has one
  return p > q ? word : nullptr;
}

inline const char* o200k(const char* p, const char* end) {
  const Step s = step(p, end);
  const char* q = p + s.length;
  const bool prefix = *p != '\r' && *p != '\n' && !(s.flags & (kLetter | kNumber)) && q < end;
  const char* word = prefix ? cased_word<true>(q, end) : nullptr;
  if (!word) word = cased_word<true>(p, end);
  if (!word && prefix) word = cased_word<false>(q, end);
  if (!word) word = cased_word<false>(p, end);
  if (word) return word < end && *word == '\'' ? word + contraction<true>(word, end) : word;
  if (s.flags & kNumber) return numbers<3>(p, end);
  if (*p == ' ' && q < end && !(step(q, end).flags & (kLetter | kNumber | kSpace)))
    return others_and_lines<true>(q, end);
  if (!(s.flags & kSpace)) return others_and_lines<true>(p, end);
  return spaces_by_line<false>(p, end);
}

/// Calls fn(piece begin, piece end) for every piece of [p, end).
template <class F>
inline void each_piece(SplitPattern pattern, const char* p, const char* end, F&& fn) {
  auto all = [&](auto next) {
    while (p < end) {
      const char* e = next(p, end);
      fn(p, e);
      p = e;
    }
  };
  switch (pattern) {
    case SplitPattern::gpt2:
      return all([](auto a, auto b) { return gpt2(a, b); });
    case SplitPattern::llama3:
      return all([](auto a, auto b) { return llama3<3, false>(a, b); });
    case SplitPattern::qwen2:
      return all([](auto a, auto b) { return llama3<1, false>(a, b); });
    case SplitPattern::cl100k:
      return all([](auto a, auto b) { return llama3<3, true>(a, b); });
    case SplitPattern::o200k:
      return all([](auto a, auto b) { return o200k(a, b); });
  }
}

}  // namespace wellspring::scan
