#pragma once
// The body of a completion request, read and checked.

#include <string>
#include <string_view>
#include <vector>

#include "serve/engine.h"
#include "serve/model_text.h"

namespace wellspring {

struct ApiRequest {
  bool chat = false;                  // /v1/chat/completions
  std::string model;                  // empty when not given
  std::vector<int32_t> ids;           // prompt given as token ids
  std::string prompt;                 // or as text
  std::vector<ChatMessage> messages;  // of a chat
  GenerateRequest generate;           // sampling and max_tokens
  std::vector<std::string> stops;
  bool stream = false, include_usage = false, ignore_eos = false;
};

/// Error(Fault::data) naming the field for broken JSON, a wrong type or range, or a feature that is
/// not offered (n > 1, tools, ...).
ApiRequest read_api_request(std::string_view body, bool chat);

}  // namespace wellspring
