#pragma once
// One completion request to its answer, whole or as server-sent events.

#include "serve/api_request.h"

namespace wellspring {

class HttpResponse;
struct ServedModel;

/// Answers /v1/completions or /v1/chat/completions. Returns when the answer is sent or the client is
/// gone (what it asked for is cancelled then). Errors as Engine::submit.
void answer_completion(const ServedModel& model, ApiRequest request, HttpResponse& response);

}  // namespace wellspring
