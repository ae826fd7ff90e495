#pragma once
// Text as it leaves a server: whole characters only, and nothing that may yet become a stop string.

#include <string>
#include <string_view>
#include <vector>

namespace wellspring {

/// Collects bytes of tokens and gives whole UTF-8 characters; invalid bytes become U+FFFD.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);
  /// What is left at the end: a cut character as U+FFFD.
  std::string finish();

 private:
  std::string held_;
};

/// Cuts a stream before the first stop string; holds back a tail that may be the begin of one.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops);
  /// Text that may be shown. After stopped() it is empty.
  std::string push(std::string_view text);
  /// What was held back, when the stream ends without a stop string.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace wellspring
