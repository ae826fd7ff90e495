#include "text/template/lexer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/text.h"
#include "text/template/case_tables.h"

namespace wellspring::jinja {
namespace {

std::string with_newlines(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '\r') {
      if (i + 1 < s.size() && s[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += s[i];
    }
  }
  return out;
}

bool digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_newlines(source)) {
    if (ends_with(source_, "\n")) source_.pop_back();
    s_ = source_;
  }

  std::vector<Token> run() {
    while (at_ < s_.size()) root();
    token_at_ = at_;
    push(Token::end, "");
    return std::move(out_);
  }

 private:
  [[noreturn]] void fault(std::string message, size_t at) {
    throw SyntaxFault{std::move(message), place(at)};
  }

  // Places are asked in ascending order, nearly always.
  Place place(size_t at) {
    if (at < counted_) counted_ = 0, line_ = 1, line_start_ = 0;
    for (; counted_ < at; ++counted_)
      if (s_[counted_] == '\n') ++line_, line_start_ = counted_ + 1;
    return {line_, static_cast<uint32_t>(at - line_start_ + 1)};
  }

  Token& push(Token::Kind kind, std::string word) {
    out_.push_back({kind, std::move(word), 0, 0, place(token_at_)});
    return out_.back();
  }

  bool here(std::string_view what) const { return s_.substr(at_, what.size()) == what; }
  char next(size_t n = 0) const { return at_ + n < s_.size() ? s_[at_ + n] : '\0'; }

  size_t space_at(size_t at) const {  // bytes of the white space character there, or 0
    const size_t n = at < s_.size() ? static_cast<size_t>(utf8_length(s_.substr(at))) : 0;
    return n && is_space(utf8_decode(s_.substr(at))) ? n : 0;
  }
  void skip_spaces() {
    while (size_t n = space_at(at_)) at_ += n;
  }
  static std::string_view without_tail_spaces(std::string_view text) {
    while (!text.empty()) {
      size_t start = text.size() - 1;
      while (start > 0 && (text[start] & 0xC0) == 0x80) --start;
      if (!is_space(utf8_decode(text.substr(start)))) break;
      text = text.substr(0, start);
    }
    return text;
  }

  // What is left of the text before a tag whose sign is `sign`.
  std::string_view before_tag(std::string_view text, char sign, bool print) const {
    if (sign == '-') return without_tail_spaces(text);
    if (sign == '+' || print) return text;
    const size_t start = text.rfind('\n') + 1;
    if (start == 0 && !line_starting_) return text;
    return without_tail_spaces(text.substr(start)).empty() ? text.substr(0, start) : text;
  }

  char take_sign() {
    const char c = next();
    if (c != '-' && c != '+') return 0;
    ++at_;
    return c;
  }

  // The end of a tag: "-%}" takes the white space behind it, "%}" one newline.
  bool take_end(std::string_view end, bool trim, bool plus) {
    const bool minus = next() == '-', keep = plus && next() == '+';
    if (s_.substr(at_ + (minus || keep), end.size()) != end) return false;
    at_ += end.size() + (minus || keep);
    if (minus)
      skip_spaces();
    else if (!keep && trim && next() == '\n')
      ++at_;
    line_starting_ = s_[at_ - 1] == '\n';
    return true;
  }

  void data(std::string_view text) {
    if (!text.empty()) push(Token::data, std::string(text));
  }

  // "{%- raw -%}": whether at_ is on one; takes it.
  bool take_raw_begin(char* sign) {
    const size_t start = at_;
    at_ += 2;
    *sign = take_sign();
    skip_spaces();
    if (here("raw")) {
      at_ += 3;
      skip_spaces();
      if (take_end("%}", false, false)) return true;
    }
    at_ = start;
    return false;
  }

  void root() {
    const size_t start = at_;
    token_at_ = start;
    size_t tag = start;
    for (;; ++tag) {
      tag = s_.find('{', tag);
      if (tag == s_.npos || tag + 1 >= s_.size()) {
        data(s_.substr(start));
        at_ = s_.size();
        return;
      }
      const char c = s_[tag + 1];
      if (c == '{' || c == '%' || c == '#') break;
    }
    const std::string_view text = s_.substr(start, tag - start);
    at_ = tag;
    char sign = 0;
    if (s_[tag + 1] == '%') {
      const bool before = line_starting_;
      if (take_raw_begin(&sign)) {
        const bool after = std::exchange(line_starting_, before);
        data(before_tag(text, sign, false));
        line_starting_ = after;
        return raw(tag);
      }
    }
    const char kind = s_[tag + 1];
    at_ = tag + 2;
    sign = take_sign();
    data(before_tag(text, sign, kind == '{'));
    line_starting_ = false;
    if (kind == '#') return comment(tag);
    token_at_ = tag;
    push(kind == '{' ? Token::begin_print : Token::begin_block, "");
    inside(kind == '{', tag);
  }

  void comment(size_t tag) {
    const size_t start = at_;
    for (;; ++at_) {
      at_ = s_.find("#}", at_);
      if (at_ == s_.npos) fault("this comment has no end: '#}' is missing", tag);
      // The sign stands before the end.
      if (at_ > start && (s_[at_ - 1] == '-' || s_[at_ - 1] == '+')) --at_;
      if (take_end("#}", true, true)) return;
    }
  }

  void raw(size_t tag) {
    const size_t start = at_;
    for (size_t from = at_;; ++from) {
      from = s_.find("{%", from);
      if (from == s_.npos) fault("'raw' without 'endraw'", tag);
      at_ = from + 2;
      const char sign = take_sign();
      skip_spaces();
      if (!here("endraw")) continue;
      at_ += 6;
      skip_spaces();
      const bool line_starting = line_starting_;
      if (!take_end("%}", true, true)) continue;
      const bool after = line_starting_;
      line_starting_ = line_starting;
      token_at_ = start;
      data(before_tag(s_.substr(start, from - start), sign, false));
      line_starting_ = after;
      return;
    }
  }

  void inside(bool print, size_t tag) {
    std::string open;  // brackets that are to be closed
    for (;;) {
      token_at_ = at_;
      if (open.empty() && take_end(print ? "}}" : "%}", !print, !print)) {
        push(print ? Token::end_print : Token::end_block, "");
        return;
      }
      if (at_ >= s_.size()) fault(print ? "'{{' without '}}'" : "'{%' without '%}'", tag);
      if (space_at(at_)) {
        skip_spaces();
      } else if (digit(next())) {
        number();
      } else if (next() == '"' || next() == '\'') {
        quoted();
      } else if (word_length()) {
        const size_t n = word_length();
        push(Token::name, std::string(s_.substr(at_, n)));
        at_ += n;
      } else {
        sign(&open);
      }
    }
  }

  size_t word_length() const {
    size_t n = 0;
    while (at_ + n < s_.size()) {
      const char c = s_[at_ + n];
      if (c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (n && digit(c))) {
        ++n;
        continue;
      }
      const std::string_view rest = s_.substr(at_ + n);
      const int length = utf8_length(rest);
      if (length < 2 || !(is_alpha(utf8_decode(rest)) || (n && is_decimal(utf8_decode(rest)))))
        break;
      n += static_cast<size_t>(length);
    }
    return n;
  }

  void sign(std::string* open) {
    static constexpr std::string_view kSigns[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                  "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                  ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (std::string_view sign : kSigns) {
      if (!here(sign)) continue;
      const char c = sign[0];
      if (c == '(' || c == '[' || c == '{') {
        *open += c == '(' ? ')' : c == '[' ? ']' : '}';
      } else if (c == ')' || c == ']' || c == '}') {
        if (open->empty()) fault(str("'", c, "' closes nothing"), at_);
        if (open->back() != c) fault(str("'", c, "' where '", open->back(), "' was expected"), at_);
        open->pop_back();
      }
      push(Token::sign, std::string(sign));
      at_ += sign.size();
      return;
    }
    const size_t n = static_cast<size_t>(std::max(1, utf8_length(s_.substr(at_))));
    fault(str("unexpected character '", utf8_repair(s_.substr(at_, n)), "'"), at_);
  }

  // (\d+_)*\d+ from `at`; its end, or `at` when there is none.
  size_t digits_end(size_t at) const {
    size_t end = at;
    while (end < s_.size() &&
           (digit(s_[end]) || (s_[end] == '_' && end > at && s_[end - 1] != '_')))
      ++end;
    while (end > at && s_[end - 1] == '_') --end;
    return end;
  }

  void number() {
    const size_t whole = digits_end(at_);
    size_t end = whole;
    if (end + 1 < s_.size() && s_[end] == '.' && digit(s_[end + 1])) end = digits_end(end + 1);
    if (end < s_.size() && (s_[end] | 32) == 'e') {
      const size_t sign = end + 1 < s_.size() && (s_[end + 1] == '+' || s_[end + 1] == '-');
      if (const size_t stop = digits_end(end + 1 + sign); stop > end + 1 + sign) end = stop;
    }
    if (end > whole && (at_ == 0 || s_[at_ - 1] != '.')) {
      std::string digits(s_.substr(at_, end - at_));
      digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
      push(Token::real, "").number = parse_double(digits).value_or(0);
      if (!parse_double(digits)) fault(str("the number ", digits, " is out of range"), at_);
      at_ = end;
      return;
    }
    integer(whole);
  }

  void integer(size_t end) {
    int base = 10;
    if (next() == '0') {
      const char c = static_cast<char>(next(1) | 32);
      base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
    }
    const size_t start = at_;
    auto value = [&](char c) {
      const int v = digit(c)                             ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : 99;
      return v < base ? v : -1;
    };
    if (base != 10) {
      end = at_ += 2;
      while (end < s_.size() && (s_[end] == '_' || value(s_[end]) >= 0)) ++end;
    } else if (next() == '0') {  // zeros alone; another digit begins another number
      end = at_ + 1;
      while (end < s_.size() && s_[end] == '0') ++end;
    }
    Token& t = push(Token::integer, "");
    for (; at_ < end; ++at_) {
      if (s_[at_] == '_') continue;
      if (t.whole > (static_cast<Int>(1) << 100)) fault("this number is too large", start);
      t.whole = t.whole * base + value(s_[at_]);
    }
  }

  void quoted() {
    const size_t start = at_;
    const char quote = s_[at_++];
    std::string out;
    for (;;) {
      if (at_ >= s_.size()) fault("this string has no end", start);
      const char c = s_[at_++];
      if (c == quote) break;
      if (c == '\\' && at_ < s_.size())
        escape(out);
      else
        out += c;
    }
    push(Token::text, std::move(out));
  }

  void escape(std::string& out) {
    static constexpr std::string_view kFrom = "\\'\"abfnrtv", kTo = "\\'\"\a\b\f\n\r\t\v";
    const char c = s_[at_++];
    if (const size_t i = kFrom.find(c); i != kFrom.npos) {
      out += kTo[i];
    } else if (c == '\n') {
    } else if (c >= '0' && c <= '7') {
      uint32_t code = static_cast<uint32_t>(c - '0');
      for (int i = 0; i < 2 && next() >= '0' && next() <= '7'; ++i)
        code = code * 8 + static_cast<uint32_t>(s_[at_++] - '0');
      utf8_append(out, code);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const std::string digits(s_.substr(at_, n));
      uint32_t code = 0;
      const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
      if (digits.size() != n || read.ptr != digits.data() + n)
        fault(str("'\\", c, "' needs ", n, " hexadecimal digits"), at_ - 2);
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        fault(str("'\\", c, digits, "' is no character"), at_ - 2);
      utf8_append(out, code);
      at_ += n;
    } else if (c == 'N') {
      fault("characters by name ('\\N{...}') are not supported", at_ - 2);
    } else {  // no escape: both characters stand for themselves
      out += '\\';
      out += c;
    }
  }

  std::string source_;
  std::string_view s_;
  size_t at_ = 0, token_at_ = 0;
  bool line_starting_ = true;
  size_t counted_ = 0, line_start_ = 0;
  uint32_t line_ = 1;
  std::vector<Token> out_;
};

}  // namespace

std::vector<Token> tokens_of(std::string_view source) { return Lexer(source).run(); }

}  // namespace wellspring::jinja
