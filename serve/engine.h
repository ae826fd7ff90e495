#pragma once
// What a server asks of an engine: tokens for tokens. Text is the caller's.

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "nn/sampler.h"
#include "tensor/dtype.h"

namespace wellspring {

struct Adapter;
class Decoder;

/// What bounds the tokens of one request beyond sampling, called on the engine's thread. (`serve/constraint.h`)
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  /// False: any token may come next. Else a bit for each one that may is set in `allowed`; when there is none, the text
  /// is complete, and has ended(). Error ends the request.
  virtual bool mask(std::vector<uint64_t>& allowed) = 0;
  /// The token that came; false, and no change, when it may not.
  virtual bool accept(int32_t token) = 0;
  /// Goes on by itself from here.
  virtual std::unique_ptr<TokenConstraint> copy() const = 0;
  /// Whether nothing may come any more.
  virtual bool ended() const = 0;
};

/// An embedding instead of an answer: the final activations of the last token, or their mean over all tokens.
enum class Pooling { none, last, mean };

/// One of the answers that a beam search found.
struct Beam {
  std::vector<int32_t> tokens;  // without the stop token
  double log_probability = 0;   // of all of them
  double score = 0;             // over their number (with the stop token) to the power of length_penalty
  bool ended = false;           // by a stop token
};

/// One request. `on_token` is called on the engine's thread for every new token (stop tokens are
/// not passed on); returning false ends the request. It must be quick and must not call the engine.
struct GenerateRequest {
  std::vector<int32_t> prompt;
  SamplingOptions sampling;
  int64_t max_tokens = 256;  // also ended by the model's context; 0: only with prompt_logprobs
  std::vector<int32_t> stop_tokens;
  int64_t vocab = 0;  // only ids below are drawn (tables are often padded); 0: all
  int64_t min_tokens = 0;  // no stop token before so many
  int64_t top_logprobs = -1;  // with each token its log-probability, and of so many most likely ones; below 0: none
  /// The prompt's tokens, too, from the second on, through on_prompt_logprobs: the same bits as if they had been made.
  /// All of them below `vocab`.
  bool prompt_logprobs = false;
  std::shared_ptr<TokenConstraint> constraint;  // a grammar; may be null; this request's alone
  std::shared_ptr<const Adapter> adapter;  // a LoRA adapter of the model; may be null
  Pooling pooling = Pooling::none;
  std::function<void(const std::vector<float>&)> on_embedding;
  /// More than 0: beam search of this width instead of drawing, as transformers' `num_beams` (no early stopping). Sampling
  /// options, constraint, on_token and logprobs are not used.
  int64_t beams = 0;
  double length_penalty = 1;
  std::function<void(const std::vector<Beam>&)> on_beams;  // at the end; the best first
  /// What a client asked for may be many requests here. The others name the ticket of the first one: they are never
  /// refused because too many wait, and count as one with it.
  int64_t part_of = 0;
  std::string owner;  // whose beginnings of prompts it may share: those of the same owner alone
  std::function<bool(int32_t token)> on_token;
  /// Before on_token, when they are asked for: of the token itself first.
  std::function<void(const std::vector<TokenProbability>&)> on_logprobs, on_prompt_logprobs;
};

/// A prompt that cannot be taken: empty, refused by the chat template, with a token that there is not, or `too_long` for
/// the context.
struct PromptError : Error {
  PromptError(Fault fault, const std::string& message, bool too_long = false)
      : Error(fault, message), too_long(too_long) {}
  bool too_long;
};

struct GenerateResult {
  enum class Finish { stop, length, cancelled };
  Finish finish = Finish::length;
  int64_t prompt_tokens = 0, tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt, found computed
  double prompt_seconds = 0, seconds = 0;  // from submission to the first token; making the others
};

struct EngineOptions {
  std::optional<DType> cache;  // of keys and values: f32, bf16 or i8; none: the model's
  int64_t cache_bytes = 0;     // for them; 0: a quarter of the machine's memory, at most 64 full contexts
  int64_t rows = 512;          // tokens of one pass: prompts are cut to fit beside those that go on
  int64_t sequences = 64;      // running together
  int64_t waiting = 1 << 20;   // clients' requests of which nothing runs; more are refused
  /// Guesses what comes next and computes it together: the same tokens, sooner where guesses are right.
  bool look_up = false;                   // by what followed before in the same text,
  std::shared_ptr<const Decoder> draft;   // or by a small model with the same tokens
  int64_t draft_tokens = 4;               // at most, for each sequence and pass
};

/// What an engine has done since its start. Requests are clients' here, whatever their parts.
struct EngineFigures {
  int64_t running = 0, waiting = 0, pages = 0, free_pages = 0, kept_pages = 0;
  int64_t requests = 0, refused = 0, prompt_tokens = 0, cached_tokens = 0, tokens = 0, passes = 0, preemptions = 0;
  int64_t guessed = 0, guessed_right = 0;
};

/// Thread-safe. Requests begin in order of submission; of one with many parts as many run as of others that wait.
class Engine {
 public:
  virtual ~Engine() = default;
  /// Checks the request at once (Error(Fault::usage): an option out of range, PromptError: the prompt;
  /// Fault::try_again: too many wait), then returns its ticket. `on_end` is called once on the engine's
  /// thread: with a result, or with the exception that ended the request.
  using OnEnd = std::function<void(const GenerateResult&, std::exception_ptr)>;
  virtual int64_t submit(GenerateRequest request, OnEnd on_end) = 0;
  /// Ends a waiting or running request soon (Finish::cancelled); nothing when it has ended.
  virtual void cancel(int64_t ticket) = 0;
  /// Requests waiting and running.
  virtual int64_t load() const = 0;
  virtual EngineFigures figures() const = 0;
  /// submit() and wait for the end; rethrows.
  GenerateResult generate(GenerateRequest request);
};

/// Requests run together on a thread of its own, which owns the team of threads: each pass takes the next token of
/// those that go on and pieces of the prompts that have come. Keys and values lie in pages that prompts with the same
/// beginning share; when pages run out, what was kept goes first, then the youngest request waits again. A request's
/// tokens and their bits are the same alone and in any company. The destructor cancels what is left.
std::unique_ptr<Engine> make_engine(std::shared_ptr<const Decoder> model, const EngineOptions& options = {});

}  // namespace wellspring
