#include "serve/api_error.h"

#include "base/json.h"
#include "base/log.h"

namespace wellspring {
namespace {

Fault fault_of(int status) {
  return status == 429 || status >= 503 ? Fault::try_again
         : status >= 500                ? Fault::internal
                                        : Fault::usage;
}

const char* type_of_status(int status) {
  return status == 429   ? "rate_limit_error"
         : status == 503 ? "overloaded_error"
         : status == 504 ? "timeout_error"
                         : "invalid_request_error";
}

}  // namespace

ApiError::ApiError(int status, std::string code, const std::string& message, int retry_after)
    : Error(fault_of(status), message),
      status(status),
      code(std::move(code)),
      retry_after(retry_after) {}

Json api_error_json(const Error& error) {
  const auto* own = dynamic_cast<const ApiError*>(&error);
  return {{"error",
           {{"message", error.what()},
            {"type", own ? type_of_status(own->status) : "server_error"},
            {"param", nullptr},
            {"code", own ? Json(own->code) : Json()}}}};
}

void send_api_error(const ApiError& error, HttpResponse& response) {
  if (error.retry_after > 0) response.header("Retry-After", std::to_string(error.retry_after));
  if (error.status >= 500 && error.retry_after == 0)
    response.header("X-Should-Retry", "false");  // OpenAI's clients would
  response.send(error.status, "application/json", to_text(api_error_json(error)) + "\n");
}

void with_api_errors(HttpResponse& response, const std::function<void()>& answer) {
  try {
    answer();
  } catch (const ApiError& e) {
    if (response.begun()) throw;
    send_api_error(e, response);
  } catch (const Error& e) {
    if (response.begun()) throw;
    const Fault f = e.fault();
    if (f == Fault::try_again) return send_api_error(ApiError(429, "rate_limit_exceeded", e.what(), 1), response);
    if (f != Fault::usage && f != Fault::data && f != Fault::config) throw;
    log_warning("http", "a request is refused with 400: ", e.what());
    send_api_error(ApiError(400, "invalid_request", e.what()), response);
  }
}

}  // namespace wellspring
