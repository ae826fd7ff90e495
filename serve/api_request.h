#pragma once
// The body of a completion request, read and checked.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "serve/engine.h"
#include "serve/model_text.h"

namespace wellspring {

struct ApiRequest {
  struct Prompt {
    std::vector<int32_t> ids;  // given as token ids,
    std::string text;          // or as text
  };
  enum class ToolChoice { none, automatic, required };

  /// Whether the answer begins with a call of a tool.
  bool begun() const { return tool_choice == ToolChoice::required; }

  bool chat = false;                  // /v1/chat/completions
  std::string model;                  // empty when not given
  std::vector<Prompt> prompts;        // of a completion, one or more
  /// Of a chat, for its template: messages with content as one text and arguments of calls as objects, tools, and what
  /// chat_template_kwargs holds.
  std::shared_ptr<Json> context;
  GenerateRequest generate;           // sampling, max_tokens, stop_tokens that the client names
  std::optional<GrammarText> grammar;
  std::shared_ptr<Json> tools;        // those that may be called
  ToolChoice tool_choice = ToolChoice::none;
  bool parallel_tool_calls = true;
  int64_t n = 1, best_of = 1;         // answers to each prompt: given, and made
  std::vector<std::string> stops;
  std::vector<int32_t> allowed;       // the only tokens that may be drawn; empty: all
  bool stream = false, include_usage = false, ignore_eos = false, echo = false;
  bool show_stop = false;             // the stop string that ended an answer is part of it
  bool add_special = true;            // what the tokenizer puts around a prompt
};

/// The body of a request, an object. ApiError 400.
Json parse_body(std::string_view body);
/// ApiError 400 naming the field for broken JSON, a wrong type or range, or what is not offered.
ApiRequest read_api_request(std::string_view body, bool chat);
/// The same of a body that is an object.
ApiRequest read_api_json(const Json& body, bool chat);
/// ApiError 400 for token ids that a model with `vocab` tokens does not have.
void check_ids(const ApiRequest& request, int64_t vocab);

}  // namespace wellspring
