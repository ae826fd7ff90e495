#pragma once
// Routes and the answering of one request, without sockets. Included by http*.cpp alone.

#include <string>
#include <vector>

#include "base/http_stream.h"

namespace wellspring {

struct HttpRoute {
  std::string method;
  std::vector<std::string> segments;  // of the path; "{name}" and "{name*}" match anything
  HttpHandler handler;
};

/// The segments of "/v1/models" : {"v1", "models"}.
std::vector<std::string> path_segments(std::string_view path);

struct HttpResponse::Impl {
  ByteStream* stream = nullptr;
  double write_timeout = 30;
  bool head = false, http10 = false;
  bool keep_alive = true;  // becomes false when the connection cannot go on
  std::string headers;
  int status = 0;  // 0: nothing sent yet
  int64_t sent = 0;
  bool streaming = false, ended = false, stream_gone = false;

  void begin(int status, const std::string& content_type, int64_t length, std::string_view body);
  void put(std::string_view bytes);
};

/// Finds the route of `request` and lets its handler answer; whatever happens, something is sent.
void answer_request(const std::vector<HttpRoute>& routes, HttpRequest& request,
                    HttpResponse::Impl& response);
/// Serves requests from `stream` until it ends or may not go on. `idle(true)` is called before each
/// wait for a request and `idle(false)` after it; a false result ends the connection.
void serve_stream(ByteStream& stream, const std::string& peer, const HttpServerOptions& options,
                  const std::vector<HttpRoute>& routes, const std::function<bool(bool)>& idle);

}  // namespace wellspring
