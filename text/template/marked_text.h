#pragma once
// Text that knows of each of its bytes whether it came from the context. Inside of text/template.

#include <string>
#include <string_view>
#include <vector>

namespace wellspring::jinja {

/// UTF-8 text with marks. A value type, not thread-safe.
class MarkedText {
 public:
  MarkedText() = default;
  explicit MarkedText(std::string bytes, bool marked = false) : bytes_(std::move(bytes)) {
    if (marked && !bytes_.empty()) flips_.push_back(0);
  }

  const std::string& bytes() const { return bytes_; }
  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool marked_at(size_t byte) const;

  void append(std::string_view s, bool marked);
  void append(const MarkedText& s) { append(s, 0, s.size()); }
  /// Bytes [begin, end) of `s`.
  void append(const MarkedText& s, size_t begin, size_t end);
  MarkedText part(size_t begin, size_t end) const;

  /// Calls f(text, marked) for each run of [begin, end).
  template <class F>
  void each_run(size_t begin, size_t end, F&& f) const {
    size_t i = flips_before(begin);
    for (size_t at = begin; at < end;) {
      const size_t stop = i < flips_.size() && flips_[i] < end ? flips_[i] : end;
      if (stop > at) f(std::string_view(bytes_).substr(at, stop - at), i % 2 == 1);
      at = stop;
      ++i;
    }
  }

 private:
  size_t flips_before(size_t byte) const;  // flips at or before it
  std::string bytes_;
  std::vector<size_t> flips_;  // where the mark changes, ascending; the text begins unmarked
};

/// hay.find(needle, from) in linear time, whatever the needle.
size_t find_text(std::string_view hay, std::string_view needle, size_t from = 0);
/// Number of characters of valid UTF-8.
size_t count_characters(std::string_view s);
/// Byte of character `n`, at most the size.
size_t byte_of(std::string_view s, size_t n);

}  // namespace wellspring::jinja
