#pragma once
// Stop strings in a stream of text.

#include <string>
#include <string_view>
#include <vector>

namespace wellspring {

/// Cuts a stream before the first stop string; holds back a tail that may be the begin of one.
class StopFilter {
 public:
  /// The first `shown` of the stops are part of what is shown.
  explicit StopFilter(std::vector<std::string> stops, size_t shown = 0);
  /// Text that may be shown. After stopped() it is empty.
  std::string push(std::string_view text);
  /// What was held back, when the stream ends without a stop string.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  size_t shown_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace wellspring
