#pragma once
// An answer of OpenAI's API as it comes: server-sent events or one JSON text.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring {

/// Reads one answer piece by piece. Bounded: a line or a whole answer of more than 16 MB is
/// malformed. Not thread-safe.
class LoadAnswer {
 public:
  explicit LoadAnswer(bool whole) : whole_(whole) {}
  /// Bytes that came at `now` (seconds). False: malformed, no more is read.
  bool feed(std::string_view bytes, double now);
  /// After the last byte: why an answer of this status is no good one ("" when it is): the status,
  /// "error in stream", "malformed" or "broken off".
  std::string judge(int status);
  /// The server's message for what is no good answer.
  const std::string& message() const { return message_; }
  bool begun() const { return begun_; }

  std::vector<double> times;  // of the pieces with text
  int64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;

 private:
  void line(std::string_view text, double now);
  void event(std::string_view text, double now);
  void usage(const Json& body);

  bool whole_, begun_ = false, ended_ = false, malformed_ = false, error_ = false;
  std::string rest_;   // of a line; of an answer that is no stream all
  std::string plain_;  // lines that are no events, as answers with an error are
  std::string message_;
};

}  // namespace wellspring
