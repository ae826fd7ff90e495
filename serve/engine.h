#pragma once
// What a server asks of an engine. The simple engine answers requests one after another; a batching
// engine may take its place behind the same interface. Engines know tokens only: text is the
// caller's.

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/sampler.h"

namespace wellspring {

class Decoder;

/// One request. `on_token` is called on the engine's thread for every new token (stop tokens are
/// not passed on); returning false ends the request. It must be quick and must not call the engine.
struct GenerateRequest {
  std::vector<int32_t> prompt;
  SamplingOptions sampling;
  int64_t max_tokens = 256;  // also ended by the model's context
  std::vector<int32_t> stop_tokens;
  int64_t vocab = 0;  // only ids below are drawn (tables are often padded); 0: all
  std::function<bool(int32_t token)> on_token;
};

struct GenerateResult {
  enum class Finish { stop, length, cancelled };
  Finish finish = Finish::length;
  int64_t prompt_tokens = 0, tokens = 0;
  double prompt_seconds = 0, seconds = 0;  // reading the prompt; making tokens
};

/// Thread-safe. Requests wait in order of submission.
class Engine {
 public:
  virtual ~Engine() = default;
  /// Checks the request at once (Error(Fault::usage): empty or too long prompt, token or option out
  /// of range), then returns its ticket. `on_end` is called once on the engine's thread: with a
  /// result, or with the exception that ended the request.
  using OnEnd = std::function<void(const GenerateResult&, std::exception_ptr)>;
  virtual int64_t submit(GenerateRequest request, OnEnd on_end) = 0;
  /// Ends a waiting or running request soon (Finish::cancelled); nothing when it has ended.
  virtual void cancel(int64_t ticket) = 0;
  /// Requests waiting and running.
  virtual int64_t load() const = 0;
  /// submit() and wait for the end; rethrows.
  GenerateResult generate(GenerateRequest request);
};

/// One request at a time on a thread of its own, which owns the team of threads. What a prompt has
/// in common with the sequence before is not computed again. The destructor cancels what is left.
std::unique_ptr<Engine> make_simple_engine(std::shared_ptr<const Decoder> model);

}  // namespace wellspring
