#pragma once
// One completion request to its answer, whole or as server-sent events.

#include "serve/api_request.h"

namespace wellspring {

class HttpResponse;
class ModelText;
struct ServedModel;

/// Answers /v1/completions or /v1/chat/completions. Returns when the answer is sent or the client is
/// gone (what it asked for is cancelled then). Errors as Engine::submit.
void answer_completion(const ServedModel& model, ApiRequest request, HttpResponse& response);

/// A token as chats and responses tell of it: its text, bytes and log-probability, and those of the
/// likeliest ones (top_logprobs). `token` as on_logprobs gives it.
Json token_logprobs_json(const ModelText& text, const std::vector<TokenProbability>& token);

}  // namespace wellspring
