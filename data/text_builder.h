#pragma once
// Builds clean text out of pieces of markup: blocks, collapsed white space, preformatted parts.

#include <string>
#include <string_view>

namespace wellspring {

/// Adds what the extractors (HTML, man pages, POD) find. Runs of white space become one space, or
/// none where a line break stood between two wide (CJK) characters.
class TextBuilder {
 public:
  /// Running text; white space collapses across calls.
  void text(std::string_view s);
  /// Kept as it stands, newlines included.
  void verbatim(std::string_view s);
  /// The next piece begins a new line (1) or a new paragraph (2).
  void line_break(int newlines);
  /// A marker at the beginning of a line ("- ", "# "): the text that follows stands behind it.
  void marker(std::string_view s);
  /// A separator between two pieces of one line, without collapsing.
  void separator(std::string_view s);
  bool empty() const { return out_.empty(); }
  /// True when nothing but a marker stands in the line.
  bool at_line_start() const;
  std::string take();

 private:
  void flush(char32_t next);
  std::string out_;
  int newlines_ = 0;
  bool space_ = false, space_had_newline_ = false, after_marker_ = false;
};

/// The common last pass over a document: no byte-order mark, LF line ends, no control characters
/// but tab and newline, no white space at line ends, at most one blank line in a row, none at the
/// ends.
std::string tidy(std::string_view s);

}  // namespace wellspring
