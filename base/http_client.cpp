#include <sys/socket.h>

#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/http_stream.h"
#include "base/json.h"
#include "base/text.h"
#include "base/time.h"
#include "base/tls_library.h"

namespace wellspring {
namespace {

struct Url {
  std::string host, port, target, place;  // place: "host:port" for messages
  bool tls = false;
};

Url parse_url(const std::string& url) {
  Url out;
  out.tls = starts_with(url, "https://");
  if (!out.tls && !starts_with(url, "http://"))
    throw Error(Fault::usage, str("'", url, "' is not an http:// or https:// URL"));
  std::string_view rest = std::string_view(url).substr(out.tls ? 8 : 7);
  size_t slash = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, slash);
  out.target = slash == rest.npos ? "/" : std::string(rest.substr(slash));
  if (!out.target.starts_with('/')) out.target.insert(0, "/");
  out.target = out.target.substr(0, out.target.find('#'));
  size_t colon = authority.rfind(':');
  if (authority.starts_with('[')) {  // [::1]:8080
    size_t end = authority.find(']');
    out.host = authority.substr(1, end == authority.npos ? end : end - 1);
    if (colon != authority.npos && colon < end) colon = authority.npos;
  } else {
    out.host = authority.substr(0, colon);
  }
  out.port =
      colon == authority.npos ? (out.tls ? "443" : "80") : std::string(authority.substr(colon + 1));
  out.place =
      str(out.host.find(':') == out.host.npos ? out.host : str("[", out.host, "]"), ":", out.port);
  auto port = parse_int(out.port);
  bool odd = url.find_first_of(std::string_view(" \t\r\n\0", 5)) != url.npos;
  if (out.host.empty() || !port || *port < 1 || *port > 65535 || odd)
    throw Error(Fault::usage, str("'", url, "' is not a URL like http://host:port/path"));
  return out;
}

[[noreturn]] void fail(const Url& url, const std::string& what) {
  throw Error(Fault::io, str("cannot reach ", url.place, ": ", what));
}

std::unique_ptr<TlsContext> client_tls(const HttpClientOptions& options) {
  std::string digits;
  for (char c : options.ca_fingerprint)
    if (c != ':') digits += c;
  digits = to_lower(digits);
  if (!digits.empty() && (digits.size() != 64 || !unhex(digits)))
    throw Error(Fault::usage, str("'", options.ca_fingerprint,
                                  "' is not the SHA-256 of a certificate: 64 hex digits"));
  return tls_library().client(options.ca_pem.empty() ? "" : pem_text(options.ca_pem), digits);
}

std::string message_of(const Url& url, const std::string& method, const std::string& target,
                       const char* connection, const HttpHeaders& always,
                       const HttpHeaders& headers, std::string_view body) {
  std::string message = str(method, " ", target, " HTTP/1.1\r\nHost: ", url.place,
                            "\r\nConnection: ", connection, "\r\n");
  for (const HttpHeaders* some : {&always, &headers})
    for (const auto& [name, value] : *some) {
      if (str(name, value).find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
        throw Error(Fault::usage, str("the header '", name, "' holds a line break"));
      message += str(name, ": ", value, "\r\n");
    }
  if (!body.empty() || method == "POST" || method == "PUT" || method == "PATCH")
    message += str("Content-Length: ", body.size(), "\r\n");
  message += str("\r\n", body);
  return message;
}

// One connection to the server of a URL.
struct Link {
  Socket socket;
  std::unique_ptr<ByteStream> stream;
  std::optional<HttpReader> reader;
  double used = 0;  // when the last answer came

  Link(const Url& url, TlsContext* tls, const HttpClientOptions& options) {
    try {
      double deadline = monotonic_seconds() + options.connect_timeout;
      socket = connect_socket(url.host, url.port, options.connect_timeout, options.may_connect);
      if (tls)
        stream = tls->open(socket.fd, url.host, deadline);
      else
        stream = std::make_unique<SocketStream>(socket.fd);
    } catch (const Error& e) {
      fail(url, e.what());
    }
    reader.emplace(*stream);
  }
};

// Sends a request and reads the answer. False: a kept connection broke before the answer began.
bool exchange(Link& link, const Url& url, const std::string& message, bool head, bool kept,
              const HttpClientOptions& options,
              const std::function<bool(std::string_view)>& on_chunk, HttpReader::Response* out) {
  // A refusal may come before all is sent, so a failed write is judged by what can be read.
  bool sent = link.stream->write(message, options.read_timeout);
  HttpRead read = link.reader->response(out, head, options, [&](std::string_view chunk) {
    if (on_chunk) return on_chunk(chunk);
    out->result.body += chunk;
    return true;
  });
  link.used = monotonic_seconds();
  out->keep_alive &= sent;
  switch (read) {
    case HttpRead::ok:
      return true;
    case HttpRead::timeout:
      fail(url, str("no answer for ", options.read_timeout, " s"));
    case HttpRead::body_too_large:
      fail(url, str("the answer exceeds ", options.max_body, " bytes"));
    case HttpRead::end:
    case HttpRead::broken:
      if (kept && !out->begun) return false;
      fail(url, sent ? "the connection broke off before the answer's end"
                     : "the connection broke off while sending");
    default:
      fail(url, str("the answer is not HTTP: ", out->reason));
  }
}

}  // namespace

HttpResult http_request(const std::string& method, const std::string& url,
                        const HttpHeaders& headers, std::string_view body,
                        const std::function<bool(std::string_view)>& on_chunk,
                        const HttpClientOptions& options) {
  Url to = parse_url(url);
  std::string message = message_of(to, method, to.target, "close", {}, headers, body);
  auto tls = to.tls ? client_tls(options) : nullptr;
  Link link(to, tls.get(), options);
  HttpReader::Response response;
  exchange(link, to, message, method == "HEAD", false, options, on_chunk, &response);
  return std::move(response.result);
}

struct HttpClient::Impl {
  Url url;
  HttpHeaders headers;
  HttpClientOptions options;
  std::unique_ptr<TlsContext> tls;
  std::unique_ptr<Link> link;
  std::mutex mutex;  // of what follows
  int used = -1;     // the descriptor of the request that runs
  bool interrupted = false;

  void use(int fd) {
    std::lock_guard lock(mutex);
    used = fd;
    if (fd >= 0 && interrupted) ::shutdown(fd, SHUT_RDWR);
  }
};

HttpClient::HttpClient(const std::string& base_url, HttpHeaders headers, HttpClientOptions options)
    : impl_(new Impl{parse_url(base_url), std::move(headers), std::move(options), {}, {}, {}}) {
  std::string& base = impl_->url.target;
  if (base.find('?') != base.npos)
    throw Error(Fault::usage, str("'", base_url, "' is no base URL: it has a query"));
  while (base.ends_with('/')) base.pop_back();
  if (impl_->url.tls) impl_->tls = client_tls(impl_->options);
}
HttpClient::~HttpClient() = default;
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
void HttpClient::close() { impl_->link.reset(); }
void HttpClient::interrupt() {
  std::lock_guard lock(impl_->mutex);
  impl_->interrupted = true;
  if (impl_->used >= 0) ::shutdown(impl_->used, SHUT_RDWR);
}

HttpResult HttpClient::request(const std::string& method, const std::string& path,
                               std::string_view body, const HttpHeaders& headers,
                               const std::function<bool(std::string_view)>& on_chunk) {
  constexpr double kKeep = 10;  // s: longer unused, a server may be about to close it
  Impl& my = *impl_;
  if (!path.starts_with('/') || path.find_first_of(std::string_view(" \t\r\n\0#", 6)) != path.npos)
    throw Error(Fault::usage, str("'", path, "' is no path of a request"));
  std::string message =
      message_of(my.url, method, my.url.target + path, "keep-alive", my.headers, headers, body);
  // Taken out while it is used: what throws leaves no half-read connection behind.
  std::unique_ptr<Link> link = std::move(my.link);
  if (link && (monotonic_seconds() - link->used > kKeep || link->stream->gone())) link.reset();
  HttpReader::Response response;
  bool kept = link != nullptr, head = method == "HEAD";
  if (!kept) link = std::make_unique<Link>(my.url, my.tls.get(), my.options);
  // Closed after it: a descriptor that is no longer ours may be somebody else's.
  struct Used {
    Impl& my;
    ~Used() { my.use(-1); }
  } used{my};
  my.use(link->socket.fd);
  if (!exchange(*link, my.url, message, head, kept, my.options, on_chunk, &response)) {
    if (method == "POST" || method == "PATCH")
      fail(my.url, str("the kept connection broke off before an answer to ", method, " ", path,
                       ": it may have been carried out"));
    my.use(-1);
    link = std::make_unique<Link>(my.url, my.tls.get(), my.options);
    my.use(link->socket.fd);
    response = {};
    exchange(*link, my.url, message, head, false, my.options, on_chunk, &response);
  }
  if (response.keep_alive) my.link = std::move(link);
  return std::move(response.result);
}

std::unique_ptr<HttpDuplex> http_upgrade(const std::string& url, const std::string& protocol,
                                         const HttpHeaders& headers,
                                         const HttpClientOptions& options) {
  Url to = parse_url(url);
  std::string message =
      message_of(to, "GET", to.target, "Upgrade", {{"Upgrade", protocol}}, headers, {});
  auto tls = to.tls ? client_tls(options) : nullptr;
  Link link(to, tls.get(), options);
  HttpReader::Response response;
  exchange(link, to, message, false, false, options, {}, &response);
  const HttpResult& result = response.result;
  if (result.status != 101 || to_lower(result.header("upgrade")) != to_lower(protocol)) {
    std::string why(result.body.substr(0, 400));
    try {
      why = parse_json(result.body, "body").at("error").at("message").get<std::string>();
    } catch (const std::exception&) {
      // not our form of error: as it is
    }
    bool later = result.status >= 500 || result.status == 408 || result.status == 429;
    throw Error(later ? Fault::try_again : Fault::usage,
                str(to.place, " refuses ", to.target, " as ", protocol, " with ", result.status,
                    why.empty() ? "" : ": ", utf8_repair(trim(why))));
  }
  auto impl = std::make_unique<HttpDuplex::Impl>();
  impl->rest = link.reader->take_rest();
  impl->socket = std::move(link.socket);
  impl->owned = std::move(link.stream);
  impl->stream = impl->owned.get();
  impl->peer = to.place;
  impl->write_timeout = options.write_timeout;
  return std::make_unique<HttpDuplex>(std::move(impl));
}

}  // namespace wellspring
