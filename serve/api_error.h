#pragma once
// Refusals in the form of OpenAI's API: {"error": {"message", "type", "param", "code"}}.

#include <functional>
#include <string>

#include "base/error.h"
#include "base/http.h"
#include "base/json_fwd.h"

namespace wellspring {

/// A refusal with a status and OpenAI's code of its own ("model_not_found").
class ApiError : public Error {
 public:
  /// `retry_after`: seconds after which another try makes sense; 0: not said.
  ApiError(int status, std::string code, const std::string& message, int retry_after = 0);
  const int status;
  const std::string code;
  const int retry_after;
};

/// What stands in the body, or in a stream that has begun.
Json api_error_json(const Error& error);
void send_api_error(const ApiError& error, HttpResponse& response);

/// Calls `answer`. An ApiError that leaves it before the answer has begun is sent, and
/// Error(Fault::try_again) as 429 with Retry-After; other exceptions go on to the server.
void with_api_errors(HttpResponse& response, const std::function<void()>& answer);

}  // namespace wellspring
