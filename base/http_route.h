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

/// What a server follows of a connection. The base class follows nothing: for connections in
/// memory.
class ConnectionWatch {
 public:
  virtual ~ConnectionWatch() = default;
  /// Before (`begins`) and after each wait for a request; false ends the connection.
  virtual bool idle(bool begins) { return true; }
  /// The whole request is here: what follows is the handler's time.
  virtual void handling() {}
  /// The answer becomes a stream or, with `upgraded`, two-way bytes. False: too many of them.
  virtual bool streaming(bool upgraded) { return true; }
  /// Before a body of at most so many bytes is read, and with 0 when its request has been answered.
  /// False: too many bytes are held already.
  virtual bool hold(int64_t bytes) { return true; }
  /// Whether the connection was ended from outside because it was slow and others waited.
  virtual bool evicted() { return false; }
  /// Whether all answers are late.
  virtual bool late() const { return false; }
};

struct HttpResponse::Impl {
  ConnectionWatch* watch = nullptr;
  HttpReader* reader = nullptr;
  const HttpRequest* request = nullptr;
  std::shared_ptr<HttpDuplex> duplex;
  HttpDuplex::Impl* duplex_impl = nullptr;
  ByteStream* stream = nullptr;
  double write_timeout = 30;
  bool head = false, http10 = false;
  bool keep_alive = true;  // becomes false when the connection cannot go on
  std::string headers;
  int status = 0;  // 0: nothing sent yet
  int64_t sent = 0;
  bool streaming = false, ended = false, stream_gone = false;
  double late_at = 0;  // in monotonic_seconds(); 0: never

  ~Impl() {
    if (duplex) duplex_impl->detach();
  }
  void begin(int status, const std::string& content_type, int64_t length, std::string_view body);
  void put(std::string_view bytes);
};

struct HttpRoutes {
  std::vector<HttpRoute> list;
  HttpFilter filter;      // empty: none
  HttpObserver observer;  // empty: none
};

/// Lets the filter, then the route of `request` answer; whatever happens, something is sent.
void answer_request(const HttpRoutes& routes, HttpRequest& request, HttpResponse::Impl& response);
/// Serves requests from `stream` until it ends or may not go on.
void serve_stream(ByteStream& stream, const std::string& peer, const HttpServerOptions& options,
                  const HttpRoutes& routes, ConnectionWatch& watch);

}  // namespace wellspring
