#pragma once
// What a completion request makes: its answers as they come, for whoever writes them to the client.

#include <memory>
#include <string>
#include <vector>

#include "serve/api_request.h"
#include "serve/tool_calls.h"

namespace wellspring {

struct ServedModel;

/// Tokens of a request's prompt `i`; the one of a chat is the first. PromptError.
std::vector<int32_t> prompt_tokens(const ModelText& text, const ApiRequest& request, size_t i);

/// From the engine's tokens to text and calls of tools. One thread; the engine's works on the other side.
class Generation {
 public:
  /// Submits: prompts times best_of answers, those of one prompt side by side. Errors as Engine::submit,
  /// ModelText::chat and ModelText::grammar. `model` must outlive it.
  Generation(const ServedModel& model, ApiRequest request);
  /// What still runs is cancelled, and has ended when this returns.
  ~Generation();
  Generation(const Generation&) = delete;

  const ApiRequest& request() const { return api_; }
  size_t answers() const { return answers_.size(); }
  size_t answers_per_prompt() const { return static_cast<size_t>(api_.best_of); }

  struct News {
    std::string content = {};
    std::vector<ToolCallDelta> calls = {};
    std::vector<std::vector<TokenProbability>> logprobs = {};
    std::vector<std::vector<TokenProbability>> prompt_logprobs = {};  // when they are asked for; of its first token NaN
    bool ended = false;                                               // told once
    bool empty() const { return content.empty() && calls.empty() && logprobs.empty(); }
    void add(News&& more);
  };
  /// Waits a moment for more of any answer; false when there will be no more. Errors as the constructor's, of prompts
  /// that are submitted later, and ServedModel::check's.
  bool take(std::vector<News>& news);
  /// Rethrows what ended an answer before its end.
  void check() const;

  /// Once an answer has ended.
  const GenerateResult& result(size_t answer) const;
  /// "stop", "length" or "tool_calls".
  const char* finish_reason(size_t answer) const;
  double mean_log_probability(size_t answer) const;
  /// OpenAI's, over all answers; a prompt counts once.
  struct Usage {
    int64_t prompt = 0, made = 0, cached = 0;
  };
  Usage usage() const;

 private:
  class Mailbox;
  struct Answer;
  bool calls_tools() const { return api_.tool_choice != ApiRequest::ToolChoice::none; }
  bool begun() const { return api_.begun(); }
  std::function<std::shared_ptr<TokenConstraint>()> constraints() const;
  void submit_more();
  void submit_one(size_t i, int64_t k, std::shared_ptr<TokenConstraint> constraint);
  void submit_beams(size_t first);
  void cancel();

  const ServedModel& model_;
  ApiRequest api_;
  std::unique_ptr<Mailbox> mailbox_;
  std::function<std::shared_ptr<TokenConstraint>()> constraint_;  // one for each answer
  size_t submitted_ = 0;  // answers; the others follow as these end
  std::vector<std::unique_ptr<Answer>> answers_;
};

}  // namespace wellspring
