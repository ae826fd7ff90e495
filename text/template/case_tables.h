#pragma once
// Tables of case_tables.gen.cpp (made by make_case_tables.py), and what is asked of them. Pure.

#include <cstdint>
#include <string>

namespace wellspring::jinja {

struct CaseRun {
  char32_t first, last;
  uint32_t step;
  int32_t add;
};
struct CaseSpecial {
  char32_t code;
  char32_t to[3];
};
struct CodeRange {
  char32_t first, last;
};

#define WS_CASE_MAP(name)                       \
  extern const CaseRun k##name##Runs[];         \
  extern const int k##name##RunCount;           \
  extern const CaseSpecial k##name##Specials[]; \
  extern const int k##name##SpecialCount;
#define WS_CODE_CLASS(name)         \
  extern const CodeRange k##name[]; \
  extern const int k##name##Count;
WS_CASE_MAP(Upper)
WS_CASE_MAP(Lower)
WS_CASE_MAP(Title)
WS_CODE_CLASS(Cased)
WS_CODE_CLASS(Printable)
WS_CODE_CLASS(Alpha)
WS_CODE_CLASS(Decimal)
WS_CODE_CLASS(Digit)
WS_CODE_CLASS(Numeric)
WS_CODE_CLASS(UpperLetter)
WS_CODE_CLASS(LowerLetter)
#undef WS_CASE_MAP
#undef WS_CODE_CLASS

enum class Case { upper, lower, title };

/// Appends what `code` becomes.
void append_in_case(std::string& out, char32_t code, Case to);
/// As Python's strings have them.
bool is_cased(char32_t code);
bool is_printable(char32_t code);
bool is_alpha(char32_t code);
bool is_decimal(char32_t code);
bool is_digit(char32_t code);
bool is_numeric(char32_t code);
bool is_upper(char32_t code);
bool is_lower(char32_t code);
bool is_space(char32_t code);
/// Where str.splitlines() ends a line.
bool is_line_end(char32_t code);

}  // namespace wellspring::jinja
