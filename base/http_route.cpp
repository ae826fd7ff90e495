#include "base/http_route.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <functional>
#include <new>
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

// Whether `route` matches; fills what its {name} segments stand for.
bool matches(const HttpRoute& route, const std::vector<std::string>& path, HttpHeaders* parts) {
  parts->clear();
  for (size_t i = 0; i < route.segments.size(); ++i) {
    std::string_view want = route.segments[i];
    bool named = want.starts_with('{') && want.ends_with('}');
    if (named && want.ends_with("*}")) {
      if (i >= path.size()) return false;
      parts->emplace_back(want.substr(1, want.size() - 3),
                          join({path.begin() + static_cast<std::ptrdiff_t>(i), path.end()}, "/"));
      return true;
    }
    if (i >= path.size()) return false;
    if (named)
      parts->emplace_back(want.substr(1, want.size() - 2), path[i]);
    else if (want != path[i])
      return false;
  }
  return route.segments.size() == path.size();
}

int status_of(Fault fault) {
  switch (fault) {
    case Fault::usage:
    case Fault::data:
    case Fault::config:
      return 400;
    case Fault::missing:
    case Fault::try_again:
      return 503;
    case Fault::internal:
    case Fault::io:
      break;
  }
  return 500;
}

struct Refusal {
  int status;
  const char *type, *code;
};
constexpr Refusal kRefusals[] = {
    {401, "invalid_request_error", "unauthorized"},
    {403, "invalid_request_error", "forbidden"},
    {404, "invalid_request_error", "not_found"},
    {405, "invalid_request_error", "method_not_supported"},
    {408, "timeout_error", "request_timeout"},
    {409, "invalid_request_error", "conflict"},
    {413, "invalid_request_error", "request_too_large"},
    {429, "rate_limit_error", "rate_limit_exceeded"},
    {431, "invalid_request_error", "headers_too_large"},
    {503, "overloaded_error", "overloaded"},
    {504, "timeout_error", "request_timeout"},
};

Refusal refusal_of(int status) {
  for (const Refusal& r : kRefusals)
    if (r.status == status) return r;
  return status < 500 ? Refusal{status, "invalid_request_error", "invalid_request"}
                      : Refusal{status, "server_error", "server_error"};
}

bool sane_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || std::strchr("-_.:", c);
         });
}

// Unlike any other of this server, and most likely of all; no secret.
std::string make_id() {
  static const uint64_t start = (uint64_t{std::random_device()()} << 32) | std::random_device()();
  static std::atomic<uint64_t> next{0};
  char id[32];
  std::snprintf(id, sizeof id, "req-%016llx", static_cast<unsigned long long>(start + ++next * 0x9e3779b97f4a7c15u));
  return id;
}

void give_id(HttpRequest& request, HttpResponse::Impl& impl) {
  const std::string_view given = request.header("x-request-id");
  request.id = sane_id(given) ? std::string(given) : make_id();
  impl.headers += str("X-Request-Id: ", request.id, "\r\n");
}

// The handler's exception as an answer. An answer that has begun can only be broken off: without
// its last chunk the client sees that it is not whole.
void answer_failure(HttpResponse::Impl& impl, int status, const std::string& message) {
  const std::string id = impl.request ? impl.request->id : "";
  log_warning("http", "request ", id, id.empty() ? "" : " ", "failed with ", status, ": ", message);
  if (impl.status == 0)
    HttpResponse(&impl).send_error(status, message);
  else
    impl.keep_alive = false;
}

void check_header(std::string_view text) {
  WS_CHECK(text.find_first_of(std::string_view("\r\n\0", 3)) == text.npos,
           "HTTP headers without line breaks");
}

}  // namespace

std::vector<std::string> path_segments(std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  return split(path, '/');
}

void HttpResponse::Impl::put(std::string_view bytes) {
  sent += static_cast<int64_t>(bytes.size());
  if (!stream->write(bytes, write_timeout)) {
    stream_gone = true;
    keep_alive = false;
  }
}

void HttpResponse::Impl::begin(int code, const std::string& content_type, int64_t length,
                               std::string_view body) {
  WS_CHECK(status == 0, "one answer per request");
  check_header(content_type);
  status = code;
  const char* reason = http_reason(code);
  std::string out = str("HTTP/1.1 ", code, " ", reason, "\r\n");
  if (!content_type.empty()) out += str("Content-Type: ", content_type, "\r\n");
  if (length >= 0)
    out += str("Content-Length: ", length, "\r\n");
  else if (!http10)
    out += "Transfer-Encoding: chunked\r\nCache-Control: no-store\r\n";
  else
    keep_alive = false;  // an HTTP/1.0 client learns of the end by the close
  out += str("Connection: ", keep_alive ? "keep-alive" : "close", "\r\n", headers, "\r\n");
  bool apart = body.size() > (1 << 16);  // a big one is not copied
  if (!head && !apart) out += body;
  put(out);
  if (!head && apart && !stream_gone) put(body);
}

void HttpResponse::header(const std::string& name, const std::string& value) {
  check_header(name);
  check_header(value);
  WS_CHECK(impl_->status == 0, "headers come before the answer");
  impl_->headers += str(name, ": ", value, "\r\n");
}

void HttpResponse::send(int status, const std::string& content_type, std::string_view body) {
  impl_->begin(status, content_type, static_cast<int64_t>(body.size()), body);
  impl_->ended = true;
}

Json http_error(int status, const std::string& message, const std::string& code, const std::string& param) {
  const Refusal r = refusal_of(status);
  return {{"error",
           {{"message", message},
            {"type", r.type},
            {"param", param.empty() ? Json() : Json(param)},
            {"code", code.empty() ? r.code : code}}}};
}

void HttpResponse::send_error(int status, const std::string& message, const std::string& code) {
  send(status, "application/json", to_text(http_error(status, message, code)) + "\n");
}

void HttpResponse::begin_stream(int status, const std::string& content_type) {
  WS_CHECK(impl_->status == 0, "one answer per request");
  if (!impl_->watch->streaming(false))
    throw Error(Fault::try_again, "too many open streams: try again");
  impl_->begin(status, content_type, -1, "");
  impl_->streaming = true;
}

bool HttpResponse::write(std::string_view chunk) {
  WS_CHECK(impl_->streaming && !impl_->ended, "write() between begin_stream() and end()");
  if (impl_->stream_gone) return false;
  if (chunk.empty() || impl_->head) return true;
  if (impl_->http10) {
    impl_->put(chunk);
  } else {
    char size[32];
    std::snprintf(size, sizeof size, "%zx\r\n", chunk.size());
    impl_->put(str(size, chunk, "\r\n"));
  }
  return !impl_->stream_gone;
}

void HttpResponse::end() {
  WS_CHECK(impl_->streaming && !impl_->ended, "end() after begin_stream()");
  impl_->ended = true;
  if (!impl_->stream_gone && !impl_->http10 && !impl_->head) impl_->put("0\r\n\r\n");
}

std::shared_ptr<HttpDuplex> HttpResponse::upgrade(const std::string& protocol) {
  WS_CHECK(impl_->status == 0, "one answer per request");
  check_header(protocol);
  const HttpRequest& request = *impl_->request;
  bool asks = false;
  for (const std::string& token : split(request.header("connection"), ','))
    asks |= to_lower(trim(token)) == "upgrade";
  if (!asks || impl_->http10 || impl_->head ||
      to_lower(request.header("upgrade")) != to_lower(protocol))
    throw Error(Fault::usage, str(request.path, " is for connections upgraded to ", protocol,
                                  ": send 'Connection: Upgrade' and 'Upgrade: ", protocol, "'"));
  if (!impl_->watch->streaming(true))
    throw Error(Fault::try_again, "too many open connections of this kind: try again");
  impl_->status = 101;
  impl_->keep_alive = false;
  impl_->ended = true;
  impl_->put(str("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ", protocol,
                 "\r\n", impl_->headers, "\r\n"));
  auto duplex = std::make_unique<HttpDuplex::Impl>();
  duplex->stream = impl_->stream;
  duplex->rest = impl_->reader->take_rest();
  duplex->peer = request.peer;
  duplex->write_timeout = impl_->write_timeout;
  impl_->duplex_impl = duplex.get();
  impl_->duplex = std::make_shared<HttpDuplex>(std::move(duplex));
  return impl_->duplex;
}

bool HttpResponse::client_gone() const { return impl_->stream_gone || late() || impl_->stream->gone(); }
bool HttpResponse::begun() const { return impl_->status != 0; }
bool HttpResponse::ended() const { return impl_->ended; }
bool HttpResponse::late() const {
  return (impl_->late_at > 0 && monotonic_seconds() > impl_->late_at) ||
         (impl_->watch && impl_->watch->late());
}
void HttpResponse::late_after(double seconds) {
  impl_->late_at = seconds > 0 ? monotonic_seconds() + seconds : 0;
}

namespace {

// Whatever leaves it becomes an answer.
void guarded(HttpResponse::Impl& impl, const std::function<void()>& answer) {
  try {
    answer();
  } catch (const Error& e) {
    answer_failure(impl, status_of(e.fault()), e.what());
  } catch (const std::bad_alloc&) {
    answer_failure(impl, 503, "out of memory");
  } catch (const std::exception& e) {
    answer_failure(impl, 500, str("unexpected: ", e.what()));
  }
}

}  // namespace

void answer_request(const HttpRoutes& routes, HttpRequest& request, HttpResponse::Impl& impl) {
  HttpResponse response(&impl);
  impl.head = request.method == "HEAD";
  if (routes.filter) guarded(impl, [&] { routes.filter(request, response); });
  if (impl.status) return;
  std::vector<std::string> path = path_segments(request.path);
  std::string method = request.method == "HEAD" ? "GET" : request.method;
  std::vector<std::string> allowed;
  for (const HttpRoute& route : routes.list) {
    if (!matches(route, path, &request.parts)) continue;
    if (route.method != method) {
      if (std::find(allowed.begin(), allowed.end(), route.method) == allowed.end())
        allowed.push_back(route.method);
      continue;
    }
    guarded(impl, [&] {
      route.handler(request, response);
      // A handler may leave without an answer when nobody is there to read one.
      if (!impl.status && response.client_gone())
        impl.keep_alive = false;
      else if (!impl.status)
        answer_failure(impl, 500, "the handler gave no answer");
      if (impl.streaming && !impl.ended) impl.keep_alive = false;
    });
    return;
  }
  if (allowed.empty()) {
    response.send_error(404, str("no such path: ", utf8_repair(request.path)), "unknown_url");
  } else {
    response.header("Allow", join(allowed, ", "));
    response.send_error(405,
                        str(request.method, " is not allowed here: use ", join(allowed, " or ")));
  }
}

namespace {

// Answers a request that could not be read. False: there is nothing to say (the client has left).
bool answer_unreadable(HttpRead read, const std::string& reason, const HttpServerOptions& options,
                       HttpResponse::Impl& impl) {
  HttpResponse response(&impl);
  impl.keep_alive = false;
  switch (read) {
    case HttpRead::header_too_large:
      response.send_error(431, str("the request's headers exceed ", options.max_header, " bytes"));
      return true;
    case HttpRead::body_too_large:
      response.send_error(413, str("the request's body exceeds ", reason, " bytes"));
      return true;
    case HttpRead::no_room:
      response.send_error(503, "too much is being sent at once: try again");
      return true;
    case HttpRead::timeout:
      response.send_error(408, "the request came too slowly");
      return true;
    case HttpRead::malformed:
      response.send_error(400, str("not an HTTP request: ", reason));
      return true;
    case HttpRead::ok:
    case HttpRead::end:
    case HttpRead::broken:
      break;
  }
  return false;
}

// What could not be read has no method and target, maybe.
void log_request(const std::string& peer, const HttpRequest& q, const HttpResponse::Impl& impl, double seconds) {
  log_info("http", peer, " ", q.method.empty() ? "-" : utf8_repair(q.method), " ", q.target.empty() ? "-" : utf8_repair(q.target), " ",
           impl.status, " ", impl.sent, " B ", human_duration(seconds), q.id.empty() ? "" : " ", q.id, q.user.empty() ? "" : " ", q.user);
}

}  // namespace

void serve_stream(ByteStream& stream, const std::string& peer, const HttpServerOptions& options,
                  const HttpRoutes& routes, ConnectionWatch& watch) {
  HttpReader reader(stream);
  while (watch.idle(true)) {
    bool there = reader.wait(monotonic_seconds() + options.idle_timeout) == HttpRead::ok;
    bool go_on = watch.idle(false);
    if (!there) return;
    Stopwatch clock;
    HttpReader::Request read;
    HttpResponse::Impl impl;
    impl.stream = &stream;
    impl.watch = &watch;
    impl.reader = &reader;
    impl.request = &read.request;
    impl.write_timeout = options.write_timeout;
    HttpRead result = reader.request(
        &read, options,
        [&] { stream.write("HTTP/1.1 100 Continue\r\n\r\n", options.write_timeout); },
        [&](int64_t bytes) { return watch.hold(bytes); });
    watch.handling();
    if (options.request_ids) give_id(read.request, impl);
    if (result != HttpRead::ok) {
      if (watch.evicted()) result = HttpRead::timeout;
      answer_unreadable(result, read.reason, options, impl);
      if (!impl.status) return;
      if (routes.observer) routes.observer(impl.status);
      if (options.access_log) log_request(peer, read.request, impl, clock.seconds());
      return;
    }
    read.request.peer = peer;
    impl.keep_alive = read.keep_alive && go_on;
    impl.http10 = read.http10;
    answer_request(routes, read.request, impl);
    if (routes.observer) routes.observer(impl.status);
    read.request.body = {};
    watch.hold(0);
    if (options.access_log) log_request(peer, read.request, impl, clock.seconds());
    if (!impl.keep_alive) return;
  }
}

}  // namespace wellspring
