#include "serve/text_stream.h"

#include <algorithm>

#include "base/text.h"

namespace wellspring {
namespace {

// Whether `s` could be the begin of a valid character of which bytes are missing.
bool cut_character(std::string_view s) {
  for (int missing = 1; missing <= 3; ++missing)
    for (unsigned char fill : {0x80, 0x90, 0xa0, 0xbf}) {
      std::string whole = std::string(s) + static_cast<char>(fill) + std::string(missing - 1, '\x80');
      if (utf8_length(whole) == static_cast<int>(whole.size())) return true;
    }
  return false;
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  size_t at = 0;
  while (at < held_.size()) {
    std::string_view rest = std::string_view(held_).substr(at);
    int n = utf8_length(rest);
    if (n == 0 && rest.size() < 4 && cut_character(rest)) break;
    at += n ? n : 1;
  }
  std::string out = utf8_repair(std::string_view(held_).substr(0, at));
  held_.erase(0, at);
  return out;
}

std::string Utf8Stream::finish() {
  std::string out = utf8_repair(held_);
  held_.clear();
  return out;
}

StopFilter::StopFilter(std::vector<std::string> stops) {
  for (std::string& s : stops)
    if (!s.empty()) stops_.push_back(std::move(s));
}

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return "";
  held_ += text;
  size_t stop = std::string::npos;
  for (const std::string& s : stops_) stop = std::min(stop, held_.find(s));
  if (stop != std::string::npos) {
    stopped_ = true;
    std::string out = held_.substr(0, stop);
    held_.clear();
    return out;
  }
  size_t keep = 0;  // the longest tail that begins a stop string
  for (const std::string& s : stops_)
    for (size_t n = std::min(s.size() - 1, held_.size()); n > keep; --n)
      if (std::string_view(held_).substr(held_.size() - n) == std::string_view(s).substr(0, n)) keep = n;
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, out.size());
  return out;
}

std::string StopFilter::finish() {
  std::string out;
  std::swap(out, held_);
  return out;
}

}  // namespace wellspring
