// Any bytes as a connection to a server with a few routes, one of them taking JSON bodies; the
// bytes also stand as a body of their own behind a correct header.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

using namespace wellspring;

namespace {

HttpServer& server() {
  static HttpServer* server = [] {
    set_log_level(LogLevel::off);
    HttpServerOptions options;
    options.max_body = 1 << 16;
    auto* s = new HttpServer(options);
    s->route("GET", "/v1/models/{id*}", [](const HttpRequest& q, HttpResponse& r) {
      Json body = {{"id", std::string(q.part("id"))}, {"q", std::string(q.parameter("q"))}};
      r.send(200, "application/json", to_text(body));
    });
    s->route("POST", "/v1/completions", [](const HttpRequest& q, HttpResponse& r) {
      Json body = parse_json(q.body, "request body");
      r.begin_stream(200, "text/event-stream");
      r.write(str("data: ", to_text(body), "\n\n"));
      r.end();
    });
    return s;
  }();
  return *server;
}

void check(const std::string& answer) {
  if (!answer.empty() && !starts_with(answer, "HTTP/1.1 ")) std::abort();
  if (starts_with(answer, "HTTP/1.1 500")) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  check(server().answer(bytes));
  check(server().answer(str("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ", size,
                            "\r\n\r\n", bytes)));
  return 0;
}
