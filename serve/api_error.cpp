#include "serve/api_error.h"

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "serve/engine.h"

namespace wellspring {
namespace {

Fault fault_of(int status) {
  return status == 429 || status >= 503 ? Fault::try_again
         : status >= 500                ? Fault::internal
                                        : Fault::data;
}

ApiError of_prompt(const PromptError& e, const char* prompt) {
  return {400, e.too_long ? "context_length_exceeded" : "invalid_prompt", e.what(), 0, prompt};
}

}  // namespace

ApiError::ApiError(int status, std::string code, const std::string& message, int retry_after, std::string param)
    : Error(fault_of(status), message),
      status(status),
      code(std::move(code)),
      retry_after(retry_after),
      param(std::move(param)) {}

void bad_field(const std::string& field, const std::string& message, const char* code) {
  throw ApiError(400, code, message, 0, field);
}
void wrong_field(const std::string& field, const std::string& expected) {
  bad_field(field, str("'", field, "' must be ", expected));
}
void wrong_type(const std::string& field, const std::string& expected) {
  bad_field(field, str("'", field, "' must be ", expected), "invalid_type");
}
void missing_field(const std::string& field) {
  bad_field(field, str("'", field, "' is missing"), "missing_required_parameter");
}
void refused_field(const std::string& field, const std::string& instead) {
  bad_field(field, str("'", field, "' is not offered", instead.empty() ? "" : ": ", instead), "unsupported_parameter");
}

Json api_error_json(const Error& error) {
  if (const auto* own = dynamic_cast<const ApiError*>(&error))
    return http_error(own->status, own->what(), own->code, own->param);
  if (const auto* prompt = dynamic_cast<const PromptError*>(&error)) return api_error_json(of_prompt(*prompt, ""));
  return http_error(500, error.what());
}

void send_api_error(const ApiError& error, HttpResponse& response) {
  if (error.retry_after > 0) response.header("Retry-After", std::to_string(error.retry_after));
  if (error.status >= 500 && error.retry_after == 0)
    response.header("X-Should-Retry", "false");  // OpenAI's clients would
  if (error.status == 400) log_warning("http", "a request is refused with 400: ", error.what());
  response.send(error.status, "application/json", to_text(api_error_json(error)) + "\n");
}

void with_api_errors(HttpResponse& response, const char* prompt, const std::function<void()>& answer) {
  try {
    answer();
  } catch (const Error& e) {
    if (response.begun()) throw;
    if (const auto* own = dynamic_cast<const ApiError*>(&e)) return send_api_error(*own, response);
    if (const auto* p = dynamic_cast<const PromptError*>(&e)) return send_api_error(of_prompt(*p, prompt), response);
    const Fault f = e.fault();
    if (f == Fault::try_again) return send_api_error(ApiError(429, "rate_limit_exceeded", e.what(), 1), response);
    if (f != Fault::usage && f != Fault::data && f != Fault::config) throw;
    send_api_error(ApiError(400, "invalid_request", e.what()), response);
  }
}

}  // namespace wellspring
