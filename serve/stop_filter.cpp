#include "serve/stop_filter.h"

#include <algorithm>

namespace wellspring {
StopFilter::StopFilter(std::vector<std::string> stops, size_t shown) : shown_(shown) {
  for (std::string& s : stops)
    if (!s.empty()) stops_.push_back(std::move(s));
}

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return "";
  held_ += text;
  size_t stop = std::string::npos;
  size_t end = 0;  // of what is shown
  for (size_t i = 0; i < stops_.size(); ++i) {
    const size_t at = held_.find(stops_[i]);
    if (at < stop) stop = at, end = at + (i < shown_ ? stops_[i].size() : 0);
  }
  if (stop != std::string::npos) {
    stopped_ = true;
    std::string out = held_.substr(0, end);
    held_.clear();
    return out;
  }
  size_t keep = 0;  // the longest tail that begins a stop string
  for (const std::string& s : stops_)
    for (size_t n = std::min(s.size() - 1, held_.size()); n > keep; --n)
      if (std::string_view(held_).substr(held_.size() - n) == std::string_view(s).substr(0, n))
        keep = n;
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
