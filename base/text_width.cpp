#include "base/text.h"

namespace wellspring {
namespace {

struct Range {
  char32_t first, last;
};

// Wide (W and F of Unicode's East Asian Width) in the blocks people meet, coarsely by block.
constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x23E9, 0x23EC},   {0x25FD, 0x25FE},
    {0x2614, 0x2615},   {0x2648, 0x2653},   {0x26AA, 0x26AB},   {0x26BD, 0x26BE},
    {0x2705, 0x2705},   {0x274C, 0x274C},   {0x2753, 0x2755},   {0x2795, 0x2797},
    {0x2B1B, 0x2B1C},   {0x2E80, 0x303E},   {0x3041, 0x33FF},   {0x3400, 0x4DBF},
    {0x4E00, 0xA4CF},   {0xA960, 0xA97F},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
    {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},   {0x1F300, 0x1F64F},
    {0x1F680, 0x1F6FF}, {0x1F7E0, 0x1F7EB}, {0x1F900, 0x1F9FF}, {0x1FA70, 0x1FAFF},
    {0x20000, 0x3FFFD}};

constexpr Range kNone[] = {{0x0300, 0x036F}, {0x0483, 0x0489},  {0x0591, 0x05BD}, {0x064B, 0x065F},
                           {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},  {0x200B, 0x200F}, {0x202A, 0x202E},
                           {0x2060, 0x2064}, {0x20D0, 0x20FF},  {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F},
                           {0xFEFF, 0xFEFF}, {0xE0100, 0xE01EF}};

template <size_t N>
bool in(const Range (&ranges)[N], char32_t c) {
  for (const Range& r : ranges)
    if (c >= r.first && c <= r.last) return true;
  return false;
}

// Width of the character at the start of `s`, and its length; an invalid byte is shown as one mark.
int first_width(std::string_view s, size_t* length) {
  int n = utf8_length(s.substr(0, 4));
  *length = n > 0 ? static_cast<size_t>(n) : 1;
  if (n <= 1) return n == 1 && static_cast<unsigned char>(s[0]) < 0x20 ? 0 : 1;
  char32_t c = utf8_decode(s);
  return in(kNone, c) ? 0 : in(kWide, c) ? 2 : 1;
}

}  // namespace

int display_width(std::string_view s) {
  int width = 0;
  for (size_t n = 0; !s.empty(); s.remove_prefix(n)) width += first_width(s, &n);
  return width;
}

std::string cut_to_width(std::string_view s, int columns) {
  if (columns <= 0) return "";
  if (display_width(s) <= columns) return std::string(s);
  int width = 0;
  size_t end = 0;
  for (size_t n = 0; end < s.size(); end += n) {
    int w = first_width(s.substr(end), &n);
    if (width + w > columns - 1) break;
    width += w;
  }
  return str(s.substr(0, end), "…");
}

}  // namespace wellspring
