#include "text/template/case_tables.h"

#include <algorithm>

#include "base/text.h"

namespace wellspring::jinja {
namespace {

bool in_ranges(const CodeRange* ranges, int n, char32_t code) {
  const CodeRange* at = std::upper_bound(
      ranges, ranges + n, code, [](char32_t c, const CodeRange& r) { return c < r.first; });
  return at != ranges && code <= at[-1].last;
}

struct CaseMap {
  const CaseRun* runs;
  int run_count;
  const CaseSpecial* specials;
  int special_count;
};

CaseMap map_of(Case to) {
  switch (to) {
    case Case::upper:
      return {kUpperRuns, kUpperRunCount, kUpperSpecials, kUpperSpecialCount};
    case Case::lower:
      return {kLowerRuns, kLowerRunCount, kLowerSpecials, kLowerSpecialCount};
    default:
      return {kTitleRuns, kTitleRunCount, kTitleSpecials, kTitleSpecialCount};
  }
}

}  // namespace

void append_in_case(std::string& out, char32_t code, Case to) {
  if (code < 128) {
    const char c = static_cast<char>(code);
    const bool change = to == Case::lower ? c >= 'A' && c <= 'Z' : c >= 'a' && c <= 'z';
    out += change ? static_cast<char>(c ^ 32) : c;
    return;
  }
  const CaseMap map = map_of(to);
  const CaseSpecial* special =
      std::lower_bound(map.specials, map.specials + map.special_count, code,
                       [](const CaseSpecial& s, char32_t c) { return s.code < c; });
  if (special != map.specials + map.special_count && special->code == code) {
    for (char32_t c : special->to)
      if (c) utf8_append(out, c);
    return;
  }
  // Runs begin in ascending order, but one with a step may reach over the next.
  const CaseRun* at = std::upper_bound(map.runs, map.runs + map.run_count, code,
                                       [](char32_t c, const CaseRun& r) { return c < r.first; });
  for (int back = 0; back < 4 && at != map.runs; ++back) {
    --at;
    if (code <= at->last && (code - at->first) % at->step == 0)
      return utf8_append(out, static_cast<char32_t>(static_cast<int32_t>(code) + at->add));
  }
  utf8_append(out, code);
}

bool is_cased(char32_t c) { return in_ranges(kCased, kCasedCount, c); }
bool is_printable(char32_t c) { return in_ranges(kPrintable, kPrintableCount, c); }
bool is_alpha(char32_t c) { return in_ranges(kAlpha, kAlphaCount, c); }
bool is_decimal(char32_t c) { return in_ranges(kDecimal, kDecimalCount, c); }
bool is_digit(char32_t c) { return in_ranges(kDigit, kDigitCount, c); }
bool is_numeric(char32_t c) { return in_ranges(kNumeric, kNumericCount, c); }
bool is_upper(char32_t c) { return in_ranges(kUpperLetter, kUpperLetterCount, c); }
bool is_lower(char32_t c) { return in_ranges(kLowerLetter, kLowerLetterCount, c); }

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_line_end(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

}  // namespace wellspring::jinja
