#pragma once
// Character classes and normalisation, exactly as the Hugging Face tokenizers library has them (the
// tables are asked of it, see tools/make_unicode_tables.py). Pure, thread-safe.

#include <cstdint>
#include <string>
#include <string_view>

#include "text/unicode_tables.h"

namespace wellspring::unicode {

/// Bits of a code point's class.
enum : uint8_t {
  kLetter = 1,    ///< \p{L}
  kNumber = 2,    ///< \p{N}
  kSpace = 4,     ///< \s
  kUpper = 8,     ///< \p{Lu} \p{Lt}
  kLower = 16,    ///< \p{Ll}
  kMark = 32,     ///< \p{M}
  kWord = 64,     ///< \w as Rust's regular expressions have it
  kNfcLook = 128  ///< may change in NFC, or combine with what stands before
};

/// Class bits of any 32-bit value (0 beyond U+10FFFF).
inline uint8_t class_of(char32_t code) {
  return code < 0x110000 ? kBlocks[kBlockIndex[code >> 7]][code & 127] : 0;
}

/// One character of possibly broken UTF-8. An invalid byte is one character of class 0.
struct Char {
  char32_t code;
  int length;  ///< bytes, 1..4
  bool valid;
};

/// Decodes at p < end.
inline Char decode(const char* p, const char* end) {
  const auto* u = reinterpret_cast<const unsigned char*>(p);
  const auto left = end - p;
  auto tail = [&](int i) { return (u[i] & 0xC0) == 0x80; };
  if (u[0] < 0x80) return {u[0], 1, true};
  if (u[0] >= 0xE0 && u[0] < 0xF0 && left >= 3 && tail(1) && tail(2)) {
    char32_t c = (u[0] & 15u) << 12 | (u[1] & 63u) << 6 | (u[2] & 63u);
    if (c >= 0x800 && (c < 0xD800 || c >= 0xE000)) return {c, 3, true};
  } else if (u[0] >= 0xC2 && u[0] < 0xE0 && left >= 2 && tail(1)) {
    return {(u[0] & 31u) << 6 | (u[1] & 63u), 2, true};
  } else if (u[0] >= 0xF0 && u[0] < 0xF5 && left >= 4 && tail(1) && tail(2) && tail(3)) {
    char32_t c = (u[0] & 7u) << 18 | (u[1] & 63u) << 12 | (u[2] & 63u) << 6 | (u[3] & 63u);
    if (c >= 0x10000 && c < 0x110000) return {c, 4, true};
  }
  return {0xFFFFFFFF, 1, false};
}

/// The character that ends at `end` (> begin); an invalid tail is one byte.
Char decode_back(const char* begin, const char* end);

/// Unicode normalisation form C; invalid bytes stay as they are.
std::string nfc(std::string_view text);
/// True when nfc(text) is surely text (quick; false says nothing).
bool is_nfc_quick(std::string_view text);

}  // namespace wellspring::unicode
