#include "base/http_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

// Waits until `events` or the deadline; false at the deadline.
bool wait_for(int fd, short events, double deadline) {
  while (true) {
    double left = deadline - monotonic_seconds();
    if (left <= 0) return false;
    pollfd wait{fd, events, 0};
    int n = ::poll(&wait, 1, static_cast<int>(std::min(1e6, std::ceil(left * 1e3))));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return true;  // the read or write that follows tells
  }
}

std::string_view find(const HttpHeaders& pairs, std::string_view name) {
  for (const auto& [key, value] : pairs)
    if (key == name) return value;
  return {};
}

int hex(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

}  // namespace

long SocketStream::read(char* to, size_t size, double deadline) {
  while (true) {
    ssize_t n = ::recv(fd_, to, size, MSG_DONTWAIT);
    if (n >= 0) return n;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return kBroken;
    if (!wait_for(fd_, POLLIN, deadline)) return kTimeout;
  }
}

bool SocketStream::write(std::string_view bytes, double timeout) {
  while (!bytes.empty()) {
    ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(fd_, POLLOUT, monotonic_seconds() + timeout)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

bool SocketStream::gone() const {
  pollfd wait{fd_, POLLRDHUP, 0};
  return ::poll(&wait, 1, 0) > 0 && (wait.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

std::string_view HttpRequest::header(std::string_view name) const { return find(headers, name); }
std::string_view HttpRequest::parameter(std::string_view name) const { return find(query, name); }
std::string_view HttpRequest::part(std::string_view name) const { return find(parts, name); }
std::string_view HttpResult::header(std::string_view name) const { return find(headers, name); }

std::string url_decode(std::string_view s, bool plus) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '%' && i + 2 < s.size() && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
      out += static_cast<char>(16 * hex(s[i + 1]) + hex(s[i + 2]));
      i += 2;
    } else {
      out += plus && s[i] == '+' ? ' ' : s[i];
    }
  }
  return out;
}

std::string url_encode(std::string_view s) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string out;
  for (char c : s) {
    if (kPlain.find(c) != kPlain.npos) {
      out += c;
    } else {
      auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += "0123456789ABCDEF"[byte >> 4];
      out += "0123456789ABCDEF"[byte & 15];
    }
  }
  return out;
}

}  // namespace wellspring
