#pragma once
// What the batch engine knows of its requests. Inside of batch_engine.

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "serve/beam_search.h"
#include "serve/draft.h"
#include "serve/engine.h"
#include "serve/page_pool.h"

namespace wellspring {

struct Sequence;

/// A request from its submission to its end.
struct Task {
  int64_t ticket = 0, whole = 0;  // whole: the first one's of which it is a part
  GenerateRequest request;
  Engine::OnEnd on_end;
  std::atomic<bool> cancelled{false};
  double submitted = 0, first = 0;
  GenerateResult result;
  // What follows is the engine thread's.
  std::string share;                  // whose beginnings it may share: those of one owner and adapter
  std::optional<BeamSearch> search;   // and its beams:
  std::vector<std::shared_ptr<Sequence>> beams;
};

/// The tokens of a request, or of one of its beams. The engine thread's.
struct Sequence {
  std::shared_ptr<Task> task;
  std::vector<int32_t> tokens;  // the prompt and what was made
  Held held;
  std::unique_ptr<Sampler> sampler;
  // Guesses of what comes next.
  std::vector<int32_t> guess;
  DraftModel::Sequence drafted;
  double hits = 1;  // the share of late guesses that were right
  // A beam:
  double log_probability = 0;
  std::vector<TokenProbability> likely;  // its next tokens, while it stands still for others of the search
  bool stands() const { return !likely.empty(); }
  std::vector<double> sum;               // of activations, for a mean

  const GenerateRequest& request() const { return task->request; }
  int64_t scored = 0;  // tokens of the prompt behind which log-probabilities were given
  bool scores() const { return request().prompt_logprobs && scored + 1 < prompt(); }
  bool admitted = false;  // once: what it finds kept after that is its own

  int64_t prompt() const { return task->result.prompt_tokens; }
  int64_t wanted() const { return static_cast<int64_t>(tokens.size()) - held.tokens; }
  std::vector<int32_t> made() const { return {tokens.begin() + prompt(), tokens.end()}; }
};

}  // namespace wellspring
