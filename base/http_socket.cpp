// Sockets: connecting, listening, ending.
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
#include "base/time.h"

namespace wellspring {
namespace {

// 0, or the error of a connect within the timeout.
int try_connect(int fd, const addrinfo& address, double deadline) {
  if (::connect(fd, address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!wait_for_socket(fd, POLLOUT, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

}  // namespace

Socket::~Socket() {
  if (fd >= 0) ::close(fd);
}

Socket connect_socket(const std::string& host, const std::string& port, double timeout,
                      const std::function<bool(const std::string&)>& may_connect) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (int e = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found))
    throw Error(Fault::io, ::gai_strerror(e));
  Socket out;
  int error = 0;
  for (addrinfo* a = found; a && out.fd < 0; a = a->ai_next) {
    char number[NI_MAXHOST];
    if (may_connect && (::getnameinfo(a->ai_addr, a->ai_addrlen, number, sizeof number, nullptr, 0,
                                      NI_NUMERICHOST) != 0 ||
                        !may_connect(number))) {
      error = EACCES;
      continue;
    }
    Socket one;
    one.fd = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    error = one.fd < 0 ? errno : try_connect(one.fd, *a, monotonic_seconds() + timeout);
    if (error == 0) out = std::move(one);
  }
  ::freeaddrinfo(found);
  if (out.fd < 0) throw Error(Fault::io, std::strerror(error));
  int on = 1;
  ::setsockopt(out.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return out;
}

namespace {

[[noreturn]] void fail_to_listen(const std::string& address, int port, int error) {
  if (error == EADDRINUSE)
    throw Error(Fault::io, str("port ", port, " on ", address,
                               " is in use: choose another one, or 0 for any free one"));
  throw Error(Fault::io,
              str("cannot listen on port ", port, " of ", address, ": ", std::strerror(error)));
}

}  // namespace

void listen_on(int fd, const std::string& address, int port) {
  if (::listen(fd, 4096) != 0) fail_to_listen(address, port, errno);
}

int bound_socket(const std::string& address, int port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  if (port < 0 || port > 65535)
    throw Error(Fault::usage, str("port ", port, " is not between 0 and 65535"));
  if (int e = ::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found))
    throw Error(Fault::io, str("cannot listen on ", address, ": ", ::gai_strerror(e)));
  int error = 0, fd = -1;
  for (addrinfo* a = found; a; a = a->ai_next) {
    fd = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    int on = 1;
    if (fd >= 0) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && ::bind(fd, a->ai_addr, a->ai_addrlen) == 0) break;
    error = errno;
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  ::freeaddrinfo(found);
  if (fd < 0) fail_to_listen(address, port, error);
  return fd;
}

bool is_loopback(std::string_view address) {
  return address == "localhost" || address == "::1" ||
         (address.starts_with("127.") && address.find_first_not_of("0123456789.") == address.npos);
}

std::string peer_name(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?:0";
  return address.ss_family == AF_INET6 ? str("[", host, "]:", port) : str(host, ":", port);
}

void linger(ByteStream& stream) {
  stream.finish();
  SocketStream raw(stream.descriptor());
  char buffer[1 << 14];
  double deadline = monotonic_seconds() + 1;
  int64_t dropped = 0;
  long n;
  while (dropped < (64 << 20) && (n = raw.read(buffer, sizeof buffer, deadline)) > 0) dropped += n;
}

}  // namespace wellspring
