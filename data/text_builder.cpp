#include "data/text_builder.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "data/language.h"

namespace wellspring {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

char32_t first_character(std::string_view s) { return utf8_length(s) > 0 ? utf8_decode(s) : 0; }

char32_t last_character(std::string_view s) {
  size_t i = s.size();
  while (i > 0 && s.size() - i < 4)
    if ((static_cast<unsigned char>(s[--i]) & 0xC0) != 0x80) return first_character(s.substr(i));
  return 0;
}

}  // namespace

bool TextBuilder::at_line_start() const {
  return out_.empty() || newlines_ > 0 || after_marker_ || out_.back() == '\n';
}

void TextBuilder::flush(char32_t next) {
  if (newlines_ > 0) {
    if (!out_.empty()) {
      int have = 0;
      while (have < newlines_ && static_cast<size_t>(have) < out_.size() &&
             out_[out_.size() - 1 - static_cast<size_t>(have)] == '\n')
        ++have;
      out_.append(static_cast<size_t>(newlines_ - have), '\n');
    }
  } else if (space_ && !out_.empty() && !after_marker_ && !is_space(out_.back())) {
    bool joined = space_had_newline_ && is_wide(next) && is_wide(last_character(out_));
    if (!joined) out_ += ' ';
  }
  newlines_ = 0;
  space_ = space_had_newline_ = after_marker_ = false;
}

void TextBuilder::text(std::string_view s) {
  size_t i = 0;
  while (i < s.size()) {
    if (is_space(s[i])) {
      space_ = true;
      space_had_newline_ |= s[i] == '\n';
      ++i;
      continue;
    }
    size_t end = i;
    while (end < s.size() && !is_space(s[end])) ++end;
    flush(first_character(s.substr(i)));
    out_.append(s, i, end - i);
    i = end;
  }
}

void TextBuilder::verbatim(std::string_view s) {
  if (s.empty()) return;
  flush(0);
  out_ += s;
}

void TextBuilder::line_break(int newlines) {
  if (after_marker_) return;  // a paragraph inside a list item stays behind its marker
  newlines_ = std::max(newlines_, newlines);
  space_ = space_had_newline_ = false;
}

void TextBuilder::marker(std::string_view s) {
  flush(0);
  out_ += s;
  after_marker_ = true;
}

void TextBuilder::separator(std::string_view s) {
  space_ = false;
  flush(0);
  out_ += s;
}

std::string TextBuilder::take() { return std::exchange(out_, {}); }

std::string tidy(std::string_view s) {
  if (starts_with(s, "\xEF\xBB\xBF")) s.remove_prefix(3);
  std::string out;
  out.reserve(s.size());
  int newlines = 0;
  size_t spaces_from = 0;  // end of what is not white space at the line's end
  for (size_t i = 0; i < s.size(); ++i) {
    char c = s[i];
    if (c == '\r' && i + 1 < s.size() && s[i + 1] == '\n') continue;
    if (c == '\r' || c == '\f' || c == '\v') c = '\n';
    if (c == '\n') {
      out.resize(spaces_from);
      ++newlines;
      continue;
    }
    auto b = static_cast<unsigned char>(c);
    if ((b < 0x20 && c != '\t') || b == 0x7F) continue;
    if (newlines > 0 && c != ' ' && c != '\t') {
      // The indentation of this line was collected behind the place of its newlines.
      std::string indent = out.substr(spaces_from);
      out.resize(spaces_from);
      if (!out.empty()) out.append(static_cast<size_t>(std::min(newlines, 2)), '\n');
      out += indent;
      newlines = 0;
    }
    out += c;
    if (c != ' ' && c != '\t') spaces_from = out.size();
  }
  out.resize(spaces_from);
  return out;
}

}  // namespace wellspring
