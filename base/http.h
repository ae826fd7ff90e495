#pragma once
// HTTP/1.1: a server for small services (model serving, console, node daemon) and a blocking
// client. Boost.Beast parses, in http_parse.cpp alone. No TLS: put a proxy in front for that.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wellspring {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// A whole request. Header names are in lower case, values as sent.
struct HttpRequest {
  std::string method;  // "GET"
  std::string target;  // as sent: "/v1/models/a%20b?x=1"
  std::string path;    // decoded, without the query: "/v1/models/a b"
  HttpHeaders query;   // decoded, in order
  HttpHeaders parts;   // what {name} segments of the route matched
  HttpHeaders headers;
  std::string body;
  std::string peer;  // "127.0.0.1:51234"

  /// First value of a header, query parameter or route part; "" when absent.
  std::string_view header(std::string_view lower_case_name) const;
  std::string_view parameter(std::string_view name) const;
  std::string_view part(std::string_view name) const;
};

/// What a handler answers with: one send(), or begin_stream(), write()..., end(). Belongs to the
/// handler's thread. A handler that returns without either is answered for with status 500.
class HttpResponse {
 public:
  struct Impl;
  explicit HttpResponse(Impl* impl) : impl_(impl) {}

  /// Adds a header to the answer; before send() or begin_stream().
  void header(const std::string& name, const std::string& value);
  void send(int status, const std::string& content_type, std::string_view body);
  /// {"error": {"message": ..., "type": ..., "code": status}}, the form of OpenAI's API.
  void send_error(int status, const std::string& message);
  /// Begins an answer of unknown length. For server-sent events: content type text/event-stream,
  /// and each write() one "data: ...\n\n".
  void begin_stream(int status, const std::string& content_type);
  /// False when the client has gone (or takes nothing for write_timeout): stop working for it.
  bool write(std::string_view chunk);
  void end();
  /// Whether the client has closed its side: for long work between writes.
  bool client_gone() const;
  /// Whether send() or begin_stream() was called.
  bool begun() const;

 private:
  Impl* impl_;
};

using HttpHandler = std::function<void(const HttpRequest&, HttpResponse&)>;

struct HttpServerOptions {
  std::string address = "127.0.0.1";  // a name or number; "0.0.0.0" or "::" for all
  int port = 0;                       // 0: any free one, see HttpServer::port()
  int64_t max_body = 16 << 20;        // bytes; more is answered with 413
  int64_t max_header = 16 << 10;      // bytes of request line and headers; more is 431
  double header_timeout = 10;         // seconds from a request's first byte to its last header
  double body_timeout = 60;           // seconds for the rest of it
  double idle_timeout = 30;           // seconds a kept connection may be silent
  double write_timeout = 30;          // seconds in which a client takes no byte
  double drain_timeout = 10;          // seconds that stop() waits for running requests
  int max_connections = 64;           // served at once, a thread each; twice as many may wait
  bool access_log = false;            // one log line per request
};

/// A server with a fixed set of routes. Handlers run on connection threads, several at once. An
/// Error that leaves a handler is answered as JSON: usage, data and config with 400, try_again and
/// missing with 503, others with 500. Unknown paths get 404, known ones with another method 405.
class HttpServer {
 public:
  explicit HttpServer(HttpServerOptions options = {});
  ~HttpServer();  // stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Before start(). `path` may hold segments "{name}", and end in "{name*}" for all the rest.
  /// GET routes answer HEAD too.
  void route(const std::string& method, const std::string& path, HttpHandler handler);
  /// Binds, listens and returns. Error(Fault::io) naming address and port when that fails.
  void start();
  /// The port it listens on; 0 before start().
  int port() const;
  /// Takes no new connections, lets running requests end (drain_timeout), then closes all. Not from
  /// a handler.
  void stop();

  /// Answers the bytes of one connection as the server would, without a socket: for tests and
  /// fuzzing.
  std::string answer(std::string_view bytes);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct HttpResult {
  int status = 0;
  HttpHeaders headers;  // names in lower case
  std::string body;     // empty when it went to on_chunk
  std::string_view header(std::string_view lower_case_name) const;
};

struct HttpClientOptions {
  double connect_timeout = 10;  // seconds
  double read_timeout = 600;    // seconds without a byte
  int64_t max_body = 1 << 30;   // bytes
};

/// One request on a connection of its own; returns whatever the status is. `on_chunk` gets the body
/// as it comes and may return false to stop. Error(Fault::usage) for a URL that is not http://,
/// Error(Fault::io) naming host and port when the connection fails, times out or breaks.
HttpResult http_request(const std::string& method, const std::string& url,
                        const HttpHeaders& headers = {}, std::string_view body = {},
                        const std::function<bool(std::string_view)>& on_chunk = {},
                        const HttpClientOptions& options = {});

/// Decodes %XX (and '+' as a space when `plus`); a malformed escape stays as it is.
std::string url_decode(std::string_view s, bool plus = false);
std::string url_encode(std::string_view s);

}  // namespace wellspring
