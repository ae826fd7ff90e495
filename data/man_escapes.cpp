#include "data/man_escapes.h"

#include <algorithm>
#include <iterator>

#include "base/text.h"
#include "data/man.h"

namespace wellspring {
namespace {

struct Glyph {
  std::string_view name, text;
};

// groff_char(7), the ones that manual pages use. Sorted bytewise.
constexpr Glyph kGlyphs[] = {
    {"!=", "≠"}, {"'A", "Á"}, {"'E", "É"},  {"'I", "Í"}, {"'O", "Ó"}, {"'U", "Ú"}, {"'a", "á"},
    {"'e", "é"}, {"'i", "í"}, {"'o", "ó"},  {"'u", "ú"}, {"**", "∗"}, {"*a", "α"}, {"*b", "β"},
    {"*d", "δ"}, {"*e", "ε"}, {"*l", "λ"},  {"*m", "μ"}, {"*p", "π"}, {"*s", "σ"}, {"+-", "±"},
    {",c", "ç"}, {"-+", "∓"}, {"->", "→"},  {"/O", "Ø"}, {"/o", "ø"}, {"12", "½"}, {"14", "¼"},
    {"34", "¾"}, {":A", "Ä"}, {":O", "Ö"},  {":U", "Ü"}, {":a", "ä"}, {":e", "ë"}, {":i", "ï"},
    {":o", "ö"}, {":u", "ü"}, {"<-", "←"},  {"<<", "≪"}, {"<=", "≤"}, {"<>", "↔"}, {"==", "≡"},
    {">=", "≥"}, {">>", "≫"}, {"AE", "Æ"},  {"Bq", "„"}, {"Cs", "¤"}, {"Do", "$"}, {"Eu", "€"},
    {"Fc", "»"}, {"Fo", "«"}, {"Po", "£"},  {"Ye", "¥"}, {"^A", "Â"}, {"^a", "â"}, {"^e", "ê"},
    {"^i", "î"}, {"^o", "ô"}, {"^u", "û"},  {"`A", "À"}, {"`a", "à"}, {"`e", "è"}, {"ae", "æ"},
    {"aq", "'"}, {"at", "@"}, {"ba", "|"},  {"bq", "‚"}, {"br", "|"}, {"bu", "•"}, {"bv", "|"},
    {"co", "©"}, {"cq", "’"}, {"ct", "¢"},  {"da", "↓"}, {"de", "°"}, {"di", "÷"}, {"dq", "\""},
    {"em", "—"}, {"en", "–"}, {"eq", "="},  {"fc", "›"}, {"fm", "′"}, {"fo", "‹"}, {"ga", "`"},
    {"ha", "^"}, {"hy", "-"}, {"if", "∞"},  {"la", "⟨"}, {"lA", "⇐"}, {"lB", "["}, {"lC", "{"},
    {"lh", "☜"}, {"lq", "“"}, {"mi", "−"},  {"mu", "×"}, {"no", "¬"}, {"oq", "‘"}, {"or", "|"},
    {"pl", "+"}, {"ra", "⟩"}, {"rA", "⇒"},  {"rB", "]"}, {"rC", "}"}, {"rg", "®"}, {"rh", "☞"},
    {"rn", "‾"}, {"rq", "”"}, {"rs", "\\"}, {"sc", "§"}, {"sh", "#"}, {"sl", "/"}, {"sq", "□"},
    {"sr", "√"}, {"ss", "ß"}, {"ti", "~"},  {"tm", "™"}, {"ua", "↑"}, {"ul", "_"}, {"~=", "≈"},
    {"~N", "Ñ"}, {"~a", "ã"}, {"~n", "ñ"},  {"~o", "õ"}};

constexpr Glyph kStrings[] = {{"--", "-"},   {"Aq", "'"}, {"C'", ""},  {"C`", ""},
                              {"L\"", "\""}, {"PI", "π"}, {"R", "®"},  {"R\"", "\""},
                              {"S", ""},     {"Tm", "™"}, {"lq", "“"}, {"rq", "”"}};

template <size_t N>
const Glyph* find(const Glyph (&table)[N], std::string_view name) {
  const Glyph* g = std::lower_bound(std::begin(table), std::end(table), name,
                                    [](const Glyph& a, std::string_view n) { return a.name < n; });
  return g != std::end(table) && g->name == name ? g : nullptr;
}

// "xx" after "(", "[name]", or one character; moves `s` behind it.
std::string name_of(std::string_view& s) {
  std::string name;
  if (s.empty()) return name;
  if (s[0] == '(') {
    name = s.substr(1, 2);
    s.remove_prefix(std::min<size_t>(3, s.size()));
  } else if (s[0] == '[') {
    size_t close = s.find(']');
    name = s.substr(1, close == std::string_view::npos ? close : close - 1);
    s.remove_prefix(close == std::string_view::npos ? s.size() : close + 1);
  } else {
    size_t n = static_cast<size_t>(std::max(1, utf8_length(s)));
    name = s.substr(0, n);
    s.remove_prefix(n);
  }
  return name;
}

// An argument between two equal delimiters: \h'...'.
void skip_quoted(std::string_view& s) {
  if (s.empty()) return;
  size_t close = s.find(s[0], 1);
  s.remove_prefix(close == std::string_view::npos ? s.size() : close + 1);
}

std::string glyph(const std::string& name) {
  if (const Glyph* g = find(kGlyphs, name)) return std::string(g->text);
  std::string out;
  if (name.size() >= 5 && name[0] == 'u') {  // uXXXX
    uint32_t code = 0;
    for (char c : name.substr(1)) {
      int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0 || code > 0x10FFFF) return "";
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    if (code > 0 && code <= 0x10FFFF && (code < 0xD800 || code >= 0xE000)) utf8_append(out, code);
  }
  return out;
}

}  // namespace

std::string ManStrings::get(const std::string& name) const {
  if (auto found = values_.find(name); found != values_.end()) return found->second;
  const Glyph* g = find(kStrings, name);
  return g ? std::string(g->text) : "";
}

std::string man_escapes(std::string_view s, const ManStrings& strings) {
  std::string out;
  while (!s.empty()) {
    size_t at = std::min(s.find('\\'), s.size());
    out.append(s, 0, at);
    s.remove_prefix(at);
    if (s.size() < 2) break;
    char c = s[1];
    s.remove_prefix(2);
    switch (c) {
      case '"':
      case '#':
        return out;  // a comment
      case '-':
      case '\'':
      case '`':
      case '.':
        out += c;
        break;
      case 'e':
      case 'E':
      case '\\':
        out += '\\';
        break;
      case ' ':
      case '~':
      case '0':
        out += ' ';
        break;
      case 't':
        out += '\t';
        break;
      case '(':
        out += glyph(std::string(s.substr(0, 2)));
        s.remove_prefix(std::min<size_t>(2, s.size()));
        break;
      case '[':
        s = std::string_view(s.data() - 1, s.size() + 1);
        out += glyph(name_of(s));
        break;
      case '*':
        out += strings.get(name_of(s));
        break;
      case 'f':
      case 'F':
      case 'm':
      case 'M':
      case 'n':
      case 'g':
      case 'k':
      case 'V':
      case 'Y':
        if (c == 'n' && !s.empty() && (s[0] == '+' || s[0] == '-')) s.remove_prefix(1);
        name_of(s);
        break;
      case 's':  // a size: \s+1, \s-1, \s0, \s(12, \s[12], \s'12'
        if (!s.empty() && (s[0] == '+' || s[0] == '-')) s.remove_prefix(1);
        if (!s.empty() && s[0] == '\'')
          skip_quoted(s);
        else if (!s.empty() && (s[0] == '(' || s[0] == '[' || (s[0] >= '0' && s[0] <= '9')))
          name_of(s);
        break;
      case 'h':
      case 'v':
      case 'w':
      case 'l':
      case 'L':
      case 'o':
      case 'b':
      case 'D':
      case 'S':
      case 'H':
      case 'x':
      case 'X':
      case 'N':
      case 'A':
      case 'B':
      case 'C':
      case 'R':
      case 'Z':
        skip_quoted(s);
        break;
      case '&':
      case '%':
      case ':':
      case '|':
      case '^':
      case '/':
      case ',':
      case ')':
      case 'c':
      case 'd':
      case 'u':
      case 'r':
      case 'p':
      case 'a':
      case 'z':
      case '{':
      case '}':
      case '!':
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace wellspring
