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

bool wait_for_socket(int fd, short events, double deadline) {
  while (true) {
    double left = deadline - monotonic_seconds();
    if (left <= 0) return false;
    pollfd wait{fd, events, 0};
    int n = ::poll(&wait, 1, static_cast<int>(std::min(1e6, std::ceil(left * 1e3))));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return true;  // the read or write that follows tells
  }
}

bool wait_to_write(ByteStream& stream, double start, size_t moved, double timeout, short events) {
  double now = monotonic_seconds();
  double deadline = now + timeout;
  if (stream.min_rate > 0)
    deadline =
        std::min(deadline, start + timeout +
                               static_cast<double>(moved) / static_cast<double>(stream.min_rate));
  stream.stalled_since = now;
  bool ready = wait_for_socket(stream.descriptor(), events, deadline);
  stream.stalled_since = -1;
  return ready;
}

long SocketStream::read(char* to, size_t size, double deadline) {
  while (true) {
    ssize_t n = ::recv(fd_, to, size, MSG_DONTWAIT);
    if (n >= 0) {
      received += n;
      return n;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return kBroken;
    if (!wait_for_socket(fd_, POLLIN, deadline)) return kTimeout;
  }
}

bool SocketStream::write(std::string_view bytes, double timeout) {
  double start = -1;
  size_t moved = 0;
  while (moved < bytes.size()) {
    ssize_t n =
        ::send(fd_, bytes.data() + moved, bytes.size() - moved, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      moved += static_cast<size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (start < 0) start = monotonic_seconds();
      if (!wait_to_write(*this, start, moved, timeout, POLLOUT)) return false;
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

void SocketStream::shutdown() { ::shutdown(fd_, SHUT_RDWR); }
void SocketStream::end_reading() { ::shutdown(fd_, SHUT_RD); }
void SocketStream::finish() { ::shutdown(fd_, SHUT_WR); }

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
