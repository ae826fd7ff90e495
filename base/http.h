#pragma once
// HTTP/1.1, plain or over TLS: a server for small services (model serving, control plane), blocking
// clients, and connections upgraded to two-way bytes. Boost.Beast parses, in http_parse.cpp alone;
// OpenSSL is in libwellspring_tls, which is opened on first use.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_fwd.h"

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
  std::string id;    // with HttpServerOptions::request_ids
  std::string user;  // who asks, when the server's filter says so

  /// First value of a header, query parameter or route part; "" when absent.
  std::string_view header(std::string_view lower_case_name) const;
  std::string_view parameter(std::string_view name) const;
  std::string_view part(std::string_view name) const;
};

/// Two-way bytes of an upgraded connection. One thread may read while others write; write() is
/// whole: bytes of two calls never mix. Destroying it closes the connection.
class HttpDuplex {
 public:
  static constexpr long kEnd = 0, kTimeout = -1, kBroken = -2;
  struct Impl;
  explicit HttpDuplex(std::unique_ptr<Impl> impl);
  ~HttpDuplex();
  HttpDuplex(const HttpDuplex&) = delete;
  HttpDuplex& operator=(const HttpDuplex&) = delete;

  /// Waits at most `timeout` seconds for bytes and returns how many it read (> 0), or kEnd when the
  /// other side (or close()) ended it, kTimeout, or kBroken.
  long read(char* to, size_t size, double timeout);
  /// False when the connection is gone or closed, or takes bytes too slowly (write_timeout, see
  /// HttpServerOptions and HttpClientOptions). After that, read() gives what has come already and
  /// then ends.
  bool write(std::string_view bytes);
  /// Ends both directions; wakes a thread that reads or writes. From any thread, any number of
  /// times.
  void close();
  /// To poll(2) several for reading: when buffered() is false and POLLIN is not set, a read() would
  /// wait. -1 once closed by the server's end of the handler. Not for reading from.
  int descriptor() const;
  /// Whether bytes have been taken from the descriptor already and wait for read().
  bool buffered() const;
  /// "127.0.0.1:51234" of the other side.
  const std::string& peer() const;

 private:
  std::unique_ptr<Impl> impl_;
};

/// The form of all refusals, which is that of OpenAI's API: {"error": {"message", "type", "param", "code"}}. `type` is told
/// by the status, and `code` where it is empty ("not_found"); `param`: the field of the request that is wrong, empty: none.
Json http_error(int status, const std::string& message, const std::string& code = "",
                const std::string& param = "");

/// What a handler answers with: one send(), or begin_stream(), write()..., end(). Belongs to the
/// handler's thread. A handler that returns without either is answered for with status 500.
class HttpResponse {
 public:
  struct Impl;
  explicit HttpResponse(Impl* impl) : impl_(impl) {}

  /// Adds a header to the answer; before send() or begin_stream().
  void header(const std::string& name, const std::string& value);
  void send(int status, const std::string& content_type, std::string_view body);
  /// A refusal in http_error's form.
  void send_error(int status, const std::string& message, const std::string& code = "");
  /// Begins an answer of unknown length. For server-sent events: content type text/event-stream,
  /// and each write() one "data: ...\n\n".
  void begin_stream(int status, const std::string& content_type);
  /// False when the client has gone (or takes nothing for write_timeout): stop working for it.
  bool write(std::string_view chunk);
  void end();
  /// Turns the connection into two-way bytes: answers 101 and returns them. The handler goes on as
  /// long as it wants; when it returns, the connection is closed and what others still hold of the
  /// duplex reads kEnd and writes nothing. stop() makes it read kEnd at once. Error(Fault::usage)
  /// when the request does not ask for an upgrade to `protocol` (answered with 400 when it leaves
  /// the handler), Error(Fault::try_again) when max_streams are open (503).
  std::shared_ptr<HttpDuplex> upgrade(const std::string& protocol);
  /// Whether to stop: the client has closed its side, or the answer is late(). For long work between writes.
  bool client_gone() const;
  /// The answer is late from so many seconds from now on; 0: never, unless the server makes it. A late one may still
  /// be written.
  void late_after(double seconds);
  bool late() const;
  /// Whether send() or begin_stream() was called, and whether the answer is complete.
  bool begun() const;
  bool ended() const;

 private:
  Impl* impl_;
};

using HttpHandler = std::function<void(const HttpRequest&, HttpResponse&)>;
using HttpFilter = std::function<void(HttpRequest&, HttpResponse&)>;
using HttpObserver = std::function<void(int status)>;

struct HttpServerOptions {
  std::string address = "127.0.0.1";  // a name or number; "0.0.0.0" or "::" for all
  int port = 0;                       // 0: any free one, see HttpServer::port()
  int64_t max_body = 16 << 20;        // bytes; more is answered with 413
  /// Bytes that the body of this request may have, at most max_body; the request has no body yet.
  /// What nobody vouches for need not be kept in memory. Empty: max_body for all.
  std::function<int64_t(const HttpRequest&)> body_limit;
  int64_t max_bodies = int64_t{1} << 30;  // bytes of all requests' bodies at a time; more get 503
  int64_t max_header = 16 << 10;      // bytes of request line and headers; more is 431
  double header_timeout = 10;         // seconds from a request's first byte to its last header
  double body_timeout = 60;           // seconds for the rest of it
  double idle_timeout = 30;           // seconds a kept connection may be silent
  double write_timeout = 30;          // seconds in which a client takes no byte
  int64_t min_rate = 256;             // bytes/s that a client takes after write_timeout, or is left
  double drain_timeout = 10;          // seconds that stop() waits for running requests
  int max_connections = 64;           // served at once, a thread each; twice as many may wait
  int max_streams = 256;              // more connections that are open streams or upgraded
  int max_per_peer = 0;               // connections of one address; more get 503; 0: any number
  int64_t stack_size = 0;             // bytes per thread; 0: the system's. 256 KiB for thousands
  std::string certificate, key;       // PEM files, or the PEM texts themselves; both set: TLS alone
  bool access_log = false;            // one log line per request
  bool request_ids = false;           // X-Request-Id of the request (a sane one), else a new one, on its answer
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
  /// Before start(): called before every route, of unknown paths, too. It may add headers and name the user;
  /// when it answers or throws, no route does.
  void filter(HttpFilter filter);
  /// Before start(): called after every answer, of what is no request, too, on the connection's thread.
  void observer(HttpObserver observer);
  /// Reads the certificate and takes the port, so that what is wrong with them shows early; nobody is
  /// connected before start(). Error(Fault::io) naming address and port, Fault::config for the files.
  void bind();
  /// bind(), unless that was called; listens and returns.
  void start();
  /// The port it listens on; 0 before bind().
  int port() const;
  /// All answers are late() from now on.
  void make_late();
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

/// Whether only this machine reaches what listens there: "localhost", "::1", "127.x.y.z"; no name that begins so.
bool is_loopback(std::string_view address);

struct HttpResult {
  int status = 0;
  HttpHeaders headers;  // names in lower case
  std::string body;     // empty when it went to on_chunk
  std::string_view header(std::string_view lower_case_name) const;
};

struct HttpClientOptions {
  double connect_timeout = 10;  // seconds, the TLS handshake included
  double read_timeout = 600;    // seconds without a byte
  double write_timeout = 60;    // seconds in which an upgraded connection takes no byte
  int64_t max_body = 1 << 30;   // bytes

  // For https://. The server's certificate has to verify and to name the URL's host, always; one
  // of:
  std::string ca_pem;          // a PEM file (or the text itself) with the only CAs to trust
  std::string ca_fingerprint;  // SHA-256 of the only CA certificate to trust, 64 hex digits (colons
                               // allowed); the server sends that certificate in its chain
  // neither: the CAs that the system trusts

  /// Asked for each address ("127.0.0.1", "::1") that the host's name stands for, before it is
  /// connected to: for URLs that others chose. Empty: all.
  std::function<bool(const std::string& address)> may_connect;
};

/// One request on a connection of its own; returns whatever the status is. `on_chunk` gets the body
/// as it comes and may return false to stop. Error(Fault::usage) for a URL that is not http:// or
/// https://, Error(Fault::io) naming host and port when the connection fails, times out or breaks,
/// or when the server's certificate is not to be trusted.
HttpResult http_request(const std::string& method, const std::string& url,
                        const HttpHeaders& headers = {}, std::string_view body = {},
                        const std::function<bool(std::string_view)>& on_chunk = {},
                        const HttpClientOptions& options = {});

/// A client of one server that keeps its connection between requests and makes a new one when the
/// old one has gone. Not for several threads at once; each may have its own.
class HttpClient {
 public:
  /// `base_url`: "http://host:port", perhaps with a path that is put before each request's.
  /// `headers` go with every request. Connects on the first request.
  explicit HttpClient(const std::string& base_url, HttpHeaders headers = {},
                      HttpClientOptions options = {});
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;

  /// As http_request; `path` begins with '/'. A kept connection that breaks before the answer's
  /// first byte is replaced and the request sent once more, but not a POST or PATCH, which the
  /// server may have carried out: that is Error(Fault::io).
  HttpResult request(const std::string& method, const std::string& path, std::string_view body = {},
                     const HttpHeaders& headers = {},
                     const std::function<bool(std::string_view)>& on_chunk = {});
  /// Closes the kept connection; the next request makes a new one.
  void close();
  /// From any thread: the request that runs ends with Error(Fault::io), at the latest when it has
  /// connected, and so does each later one.
  void interrupt();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Opens a connection and has it upgraded to `protocol`. `headers` as in http_request. Errors as
/// there, and Error naming the status and the body's message when the server refuses:
/// Fault::try_again for 408, 429 and 5xx, Fault::usage for others.
std::unique_ptr<HttpDuplex> http_upgrade(const std::string& url, const std::string& protocol,
                                         const HttpHeaders& headers = {},
                                         const HttpClientOptions& options = {});

/// Decodes %XX (and '+' as a space when `plus`); a malformed escape stays as it is.
std::string url_decode(std::string_view s, bool plus = false);
std::string url_encode(std::string_view s);

}  // namespace wellspring
