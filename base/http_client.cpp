#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/http_stream.h"
#include "base/text.h"

namespace wellspring {
namespace {

struct Url {
  std::string host, port, target, place;  // place: "host:port" for messages
};

Url parse_url(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  if (!starts_with(url, kScheme))
    throw Error(Fault::usage, str("'", url, "' is not an http:// URL"));
  std::string_view rest = std::string_view(url).substr(kScheme.size());
  size_t slash = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, slash);
  Url out;
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
  out.port = colon == authority.npos ? "80" : std::string(authority.substr(colon + 1));
  out.place = str(out.host, ":", out.port);
  auto port = parse_int(out.port);
  bool odd = url.find_first_of(std::string_view(" \t\r\n\0", 5)) != url.npos;
  if (out.host.empty() || !port || *port < 1 || *port > 65535 || odd)
    throw Error(Fault::usage, str("'", url, "' is not a URL like http://host:port/path"));
  return out;
}

[[noreturn]] void fail(const Url& url, const std::string& what) {
  throw Error(Fault::io, str("cannot reach ", url.place, ": ", what));
}

struct Socket {
  int fd = -1;
  ~Socket() {
    if (fd >= 0) ::close(fd);
  }
};

// 0, or the error of a connect within the timeout.
int try_connect(int fd, const addrinfo& address, double timeout) {
  if (::connect(fd, address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{fd, POLLOUT, 0};
  int n;
  do n = ::poll(&wait, 1, static_cast<int>(timeout * 1e3));
  while (n < 0 && errno == EINTR);
  if (n == 0) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

void connect_to(const Url& url, double timeout, Socket& socket) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (int e = ::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found))
    fail(url, ::gai_strerror(e));
  int error = 0;
  for (addrinfo* a = found; a; a = a->ai_next) {
    int fd = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    error = fd < 0 ? errno : try_connect(fd, *a, timeout);
    if (fd >= 0 && error == 0) {
      socket.fd = fd;
      break;
    }
    if (fd >= 0) ::close(fd);
  }
  ::freeaddrinfo(found);
  if (socket.fd < 0) fail(url, std::strerror(error));
  int on = 1;
  ::setsockopt(socket.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

}  // namespace

HttpResult http_request(const std::string& method, const std::string& url,
                        const HttpHeaders& headers, std::string_view body,
                        const std::function<bool(std::string_view)>& on_chunk,
                        const HttpClientOptions& options) {
  Url to = parse_url(url);
  bool six = to.host.find(':') != to.host.npos;
  std::string message =
      str(method, " ", to.target, " HTTP/1.1\r\nHost: ", six ? str("[", to.host, "]") : to.host,
          ":", to.port, "\r\nConnection: close\r\n");
  for (const auto& [name, value] : headers) {
    if (str(name, value).find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
      throw Error(Fault::usage, str("the header '", name, "' holds a line break"));
    message += str(name, ": ", value, "\r\n");
  }
  if (!body.empty() || method == "POST" || method == "PUT")
    message += str("Content-Length: ", body.size(), "\r\n");
  message += str("\r\n", body);

  Socket socket;
  connect_to(to, options.connect_timeout, socket);
  SocketStream stream(socket.fd);
  // A refusal may come before all is sent, so a failed write is judged by what can be read.
  bool sent = stream.write(message, options.read_timeout);
  HttpReader reader(stream);
  HttpResult result;
  std::string reason;
  HttpRead read = reader.response(
      &result, method == "HEAD", options,
      [&](std::string_view chunk) {
        if (on_chunk) return on_chunk(chunk);
        result.body += chunk;
        return true;
      },
      &reason);
  switch (read) {
    case HttpRead::ok:
      return result;
    case HttpRead::timeout:
      fail(to, str("no answer for ", options.read_timeout, " s"));
    case HttpRead::body_too_large:
      fail(to, str("the answer exceeds ", options.max_body, " bytes"));
    case HttpRead::end:
    case HttpRead::broken:
      fail(to, sent ? "the connection broke off before the answer's end"
                    : "the connection broke off while sending");
    default:
      fail(to, str("the answer is not HTTP: ", reason));
  }
}

}  // namespace wellspring
