#include "text/template/marked_text.h"

#include <algorithm>
#include <cstring>

namespace wellspring::jinja {

size_t MarkedText::flips_before(size_t byte) const {
  return static_cast<size_t>(std::upper_bound(flips_.begin(), flips_.end(), byte) - flips_.begin());
}

bool MarkedText::marked_at(size_t byte) const { return flips_before(byte) % 2 == 1; }

void MarkedText::append(std::string_view s, bool marked) {
  if (s.empty()) return;
  if (marked != (flips_.size() % 2 == 1)) flips_.push_back(bytes_.size());
  bytes_ += s;
}

void MarkedText::append(const MarkedText& s, size_t begin, size_t end) {
  if (&s == this) return append(MarkedText(s), begin, end);
  if (s.flips_.empty()) return append(std::string_view(s.bytes_).substr(begin, end - begin), false);
  s.each_run(begin, end, [&](std::string_view run, bool marked) { append(run, marked); });
}

MarkedText MarkedText::part(size_t begin, size_t end) const {
  MarkedText out;
  out.append(*this, begin, end);
  return out;
}

size_t find_text(std::string_view hay, std::string_view needle, size_t from) {
  if (from > hay.size()) return hay.npos;
  if (needle.empty()) return from;
  const void* at = memmem(hay.data() + from, hay.size() - from, needle.data(), needle.size());
  return at ? static_cast<size_t>(static_cast<const char*>(at) - hay.data()) : hay.npos;
}

size_t count_characters(std::string_view s) {
  return static_cast<size_t>(
      std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t byte_of(std::string_view s, size_t n) {
  for (size_t i = 0; i < s.size(); ++i)
    if ((s[i] & 0xC0) != 0x80 && n-- == 0) return i;
  return s.size();
}

}  // namespace wellspring::jinja
