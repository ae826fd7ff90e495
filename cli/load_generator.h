#pragma once
// Load for a server with OpenAI's API, and the times of its answers.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace wellspring {

/// Durations in buckets 1 % wide, from a microsecond to three hours: constant memory whatever is
/// added, quantiles to half a percent. Not thread-safe.
class Durations {
 public:
  void add(double seconds);
  int64_t count() const { return count_; }
  double mean() const { return count_ ? sum_ / static_cast<double>(count_) : 0; }
  double most() const { return most_; }
  /// The duration that a share `q` (0 to 1) of all does not exceed; 0 when there is none.
  double quantile(double q) const;

 private:
  std::vector<int64_t> buckets_;
  int64_t count_ = 0;
  double sum_ = 0, most_ = 0;
};

/// A length that is drawn evenly from low to high.
struct LengthRange {
  int64_t low = 1, high = 1;
};

/// Seconds that an answer may take to count as good; what is not set does not matter.
struct LoadGoals {
  std::optional<double> first, token, whole;
  bool any() const { return first || token || whole; }
};

struct LoadOptions {
  std::string url;          // up to and with "/v1"
  std::string model, key;   // the key may be empty
  std::string ca;           // PEM of the CAs to trust; empty: the system's
  double rate = 0;          // arrivals per second, independent of one another; 0: closed loop
  int64_t concurrency = 1;  // of the closed loop: so many clients, each asks when it was answered
  int64_t connections = 1024;  // at most, of the open loop
  double duration = 30;        // seconds in which requests begin; 0: until there were `requests`
  int64_t requests = 0;        // 0: as many as come in `duration`
  uint64_t seed = 1;           // of arrivals, lengths and tokens
  std::vector<std::string> prompts;  // taken in turn; empty: random token ids
  bool chat = false;                 // /chat/completions; only with prompts
  LengthRange prompt_tokens{128, 128}, output_tokens{64, 64};
  int64_t ids_below = 256;    // of random token ids
  int64_t shared_tokens = 0;  // the beginning that a share of the random prompts has in common
  double shared_share = 0.5;
  double temperature = 0;
  bool may_end = false;  // an answer may end before its length
  bool whole = false;    // not as a stream: only whole times
  double timeout = 600;  // seconds without a byte
  LoadGoals goals;
};

/// What was measured. Times count from the moment a request was due, also when the client could not
/// send it then: a server that stalls cannot hide it by holding the client up.
struct LoadReport {
  double seconds = 0;  // from the first request that was due to the last answer's end
  int64_t sent = 0, answered = 0, good = 0;  // good: answered within the goals
  int64_t given_up = 0;                      // running when it was stopped
  int64_t repeated = 0;   // sent again, for the server had closed a kept connection
  int64_t late = 0;       // sent over 10 ms after they were due: the client is too slow
  int64_t in_flight = 0;  // now
  std::map<std::string, int64_t> failed;        // by status ("503"), "connection", "timeout", ...
  std::map<std::string, std::string> messages;  // one of each
  int64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  Durations first, token, gap, whole;  // to the first token; a later token's mean; between pieces
  int64_t failures() const;
};

/// Sends the load and returns when all is answered, or soon after `going(so far)`, which is called
/// ten times a second on this thread, returns false; what runs then is given up. A thread for each
/// request that runs. Error(Fault::usage) for options that make no sense.
LoadReport run_load(const LoadOptions& options,
                    const std::function<bool(const LoadReport&)>& going);

/// Name of the first model that the server offers. Error(Fault::io) when it cannot be reached,
/// Error(Fault::data) when its answer is no list of models.
std::string first_model(const LoadOptions& options);

/// One request as run_load sends them. Error(Fault::data) with the server's message when it is
/// refused, Error(Fault::io) when the server cannot be reached.
void try_once(const LoadOptions& options);

}  // namespace wellspring
