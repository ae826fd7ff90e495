#pragma once
// OpenAI's /v1/embeddings: vectors of texts by a decoder's final activations.

#include <string>

#include "base/json_fwd.h"

namespace wellspring {

class HttpResponse;
struct ServedModel;

/// `body`: input (a text, token ids, or a list of such), encoding_format (float, base64), pooling (last, mean: what the
/// model folder says, else last), normalize (true). `owner` as GenerateRequest::owner. Error(Fault::data) naming the
/// field; errors as Engine::submit.
void answer_embeddings(const ServedModel& model, const Json& body, const std::string& owner, HttpResponse& response);

}  // namespace wellspring
