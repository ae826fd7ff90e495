#include "data/language.h"

#include "base/text.h"

namespace wellspring {

bool is_han(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF) || c == 0x3007;
}

bool is_wide(char32_t c) {
  return is_han(c) || (c >= 0x2E80 && c <= 0x33FF) || (c >= 0xAC00 && c <= 0xD7AF) ||
         (c >= 0xFE30 && c <= 0xFE4F) || (c >= 0xFF01 && c <= 0xFF60) || c == 0x2014 ||
         c == 0x201C || c == 0x201D || c == 0x2026;
}

Language guess_language(std::string_view text) {
  text = text.substr(0, 64 << 10);
  int64_t han = 0, kana = 0, latin = 0, others = 0;
  for (size_t i = 0; i < text.size();) {
    auto b = static_cast<unsigned char>(text[i]);
    if (b < 0x80) {
      latin += (b | 32) >= 'a' && (b | 32) <= 'z';
      ++i;
      continue;
    }
    int n = utf8_length(text.substr(i));
    if (n == 0) {
      ++i;
      continue;
    }
    char32_t c = utf8_decode(text.substr(i));
    i += static_cast<size_t>(n);
    if (is_han(c))
      ++han;
    else if (c >= 0x3040 && c <= 0x30FF)
      ++kana;
    else if (c >= 0xC0 && c <= 0x24F)
      ++latin;
    else if ((c >= 0x250 && c <= 0x1FFF) || (c >= 0xAC00 && c <= 0xD7AF))
      ++others;
  }
  const int64_t all = 3 * han + 3 * kana + latin + others;
  if (all == 0) return Language::other;
  if (3 * han * 100 >= 15 * all && kana * 10 < han) return Language::zh;
  return latin * 100 >= 60 * all ? Language::en : Language::other;
}

}  // namespace wellspring
