#pragma once
// Refusals in the form of OpenAI's API (base/http.h, http_error), by its codes. All of them are made here.

#include <functional>
#include <string>

#include "base/error.h"
#include "base/http.h"
#include "base/json_fwd.h"

namespace wellspring {

/// A refusal with a status and OpenAI's code of its own ("model_not_found").
class ApiError : public Error {
 public:
  /// `retry_after`: seconds after which another try makes sense; 0: not said. `param`: the field that is wrong.
  ApiError(int status, std::string code, const std::string& message, int retry_after = 0, std::string param = "");
  const int status;
  const std::string code;
  const int retry_after;
  const std::string param;
};

/// ApiError 400 about one field, which `param` names: "'FIELD' must be EXPECTED" (invalid_value; of a wrong type
/// invalid_type), "'FIELD' is missing", "'FIELD' is not offered: INSTEAD".
[[noreturn]] void wrong_field(const std::string& field, const std::string& expected);
[[noreturn]] void wrong_type(const std::string& field, const std::string& expected);
[[noreturn]] void missing_field(const std::string& field);
[[noreturn]] void refused_field(const std::string& field, const std::string& instead = "");
/// The same of a whole sentence.
[[noreturn]] void bad_field(const std::string& field, const std::string& message, const char* code = "invalid_value");

/// What stands in a stream that has begun.
Json api_error_json(const Error& error);
void send_api_error(const ApiError& error, HttpResponse& response);

/// Calls `answer`. What leaves it before the answer has begun is sent: an ApiError; a PromptError, which is about the
/// field `prompt`; Error(Fault::try_again) as 429 with Retry-After; what is wrong with the request as 400. Other
/// exceptions go on to the server.
void with_api_errors(HttpResponse& response, const char* prompt, const std::function<void()>& answer);

}  // namespace wellspring
