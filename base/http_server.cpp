#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/http_route.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

std::string name_of(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, port,
                    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?";
  return address.ss_family == AF_INET6 ? str("[", host, "]:", port) : str(host, ":", port);
}

int listen_on(const std::string& address, int port) {
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
    if (fd >= 0 && ::bind(fd, a->ai_addr, a->ai_addrlen) == 0 && ::listen(fd, 512) == 0) break;
    error = errno;
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  ::freeaddrinfo(found);
  if (fd >= 0) return fd;
  if (error == EADDRINUSE)
    throw Error(Fault::io, str("port ", port, " on ", address,
                               " is in use: choose another one, or 0 for any free one"));
  throw Error(Fault::io,
              str("cannot listen on port ", port, " of ", address, ": ", std::strerror(error)));
}

// Reads and drops what a refused client still sends: closing at once would reset the connection
// before the client has read the answer.
void linger(int fd) {
  ::shutdown(fd, SHUT_WR);
  SocketStream stream(fd);
  char buffer[1 << 14];
  double deadline = monotonic_seconds() + 1;
  int64_t dropped = 0;
  long n;
  while (dropped < (64 << 20) && (n = stream.read(buffer, sizeof buffer, deadline)) > 0)
    dropped += n;
}

}  // namespace

struct HttpServer::Impl {
  HttpServerOptions options;
  std::vector<HttpRoute> routes;
  int listener = -1, wake = -1;
  std::atomic<int> port{0};
  std::thread acceptor;

  struct Connection {
    double idle_since = -1;  // < 0: at work
    bool fresh = true;       // has not sent a request yet
  };
  std::mutex mutex;
  std::condition_variable work, gone;
  std::vector<std::thread> workers;
  int free_workers = 0;
  bool stopping = false;
  std::deque<std::pair<int, std::string>> waiting;  // accepted, without a thread yet
  std::map<int, Connection> serving;

  void accept_loop();
  void take(int fd, std::string peer);
  void evict();
  void worker_loop();
  void serve(int fd, const std::string& peer);
  void stop();
};

void HttpServer::Impl::accept_loop() {
  while (true) {
    pollfd waits[2] = {{listener, POLLIN, 0}, {wake, POLLIN, 0}};
    int pause = -1;
    {
      std::lock_guard lock(mutex);
      evict();
      if (!waiting.empty()) pause = 200;
    }
    int ready = ::poll(waits, 2, pause);
    if (ready < 0 && errno != EINTR) return;
    if (ready <= 0) continue;
    if (waits[1].revents) return;
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    int fd = ::accept4(listener, reinterpret_cast<sockaddr*>(&address), &size,
                       SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_warning("http", "cannot accept a connection: ", std::strerror(errno));
        sleep_seconds(0.05);
      }
      continue;
    }
    int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    take(fd, name_of(address, size));
  }
}

void HttpServer::Impl::take(int fd, std::string peer) {
  std::unique_lock lock(mutex);
  auto limit = static_cast<size_t>(options.max_connections);
  if (waiting.size() >= 2 * limit) {
    lock.unlock();
    SocketStream stream(fd);
    HttpResponse::Impl impl;
    impl.stream = &stream;
    impl.write_timeout = 0.1;
    impl.keep_alive = false;
    HttpResponse(&impl).send_error(503, "too many connections: try again");
    ::close(fd);
    return;
  }
  waiting.emplace_back(fd, std::move(peer));
  if (waiting.size() > static_cast<size_t>(free_workers)) {
    if (workers.size() < limit) {
      workers.emplace_back([this] { worker_loop(); });
    } else {
      evict();
    }
  }
  work.notify_one();
}

// Somebody waits and all threads hold a connection: the one that has been silent longest has to go.
// A fresh one has a second to send its request. The mutex is held.
void HttpServer::Impl::evict() {
  if (waiting.empty() || free_workers > 0) return;
  double now = monotonic_seconds();
  std::pair<const int, Connection>* oldest = nullptr;
  for (auto& entry : serving) {
    double since = entry.second.idle_since;
    if (since < 0 || (entry.second.fresh && now - since < 1)) continue;
    if (!oldest || since < oldest->second.idle_since) oldest = &entry;
  }
  if (!oldest) return;
  oldest->second.idle_since = -1;  // asked once is enough
  ::shutdown(oldest->first, SHUT_RD);
}

void HttpServer::Impl::worker_loop() {
  std::unique_lock lock(mutex);
  while (true) {
    ++free_workers;
    work.wait(lock, [&] { return stopping || !waiting.empty(); });
    --free_workers;
    if (waiting.empty()) return;
    auto [fd, peer] = std::move(waiting.front());
    waiting.pop_front();
    serving[fd] = {};
    lock.unlock();
    serve(fd, peer);
    lock.lock();
    serving.erase(fd);
    ::close(fd);
    if (serving.empty()) gone.notify_all();
  }
}

void HttpServer::Impl::serve(int fd, const std::string& peer) {
  SocketStream stream(fd);
  bool first = true;
  try {
    serve_stream(stream, peer, options, routes, [&](bool idle) {
      std::lock_guard lock(mutex);
      // A connection made before stop() still gets its first request answered.
      if (idle && stopping && !first) return false;
      if (idle && !first && !waiting.empty() && free_workers == 0) return false;
      if (!idle) first = false;
      serving[fd] = {idle ? monotonic_seconds() : -1, first};
      if (idle && stopping) ::shutdown(fd, SHUT_RD);
      return !stopping;
    });
    linger(fd);
  } catch (const std::exception& e) {
    log_error("http", "connection of ", peer, " ended: ", e.what());
  }
}

void HttpServer::Impl::stop() {
  {
    std::unique_lock lock(mutex);
    if (stopping || listener < 0) return;
    stopping = true;
    uint64_t one = 1;
    if (::write(wake, &one, sizeof one) < 0) log_error("http", "cannot wake the acceptor");
    for (auto& [fd, connection] : serving)
      if (connection.idle_since >= 0) ::shutdown(fd, SHUT_RD);
  }
  acceptor.join();
  ::close(listener);
  {
    std::unique_lock lock(mutex);
    for (auto& [fd, peer] : waiting) ::close(fd);
    waiting.clear();
    work.notify_all();
    gone.wait_for(lock, std::chrono::duration<double>(options.drain_timeout),
                  [&] { return serving.empty(); });
    for (auto& [fd, connection] : serving) ::shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& worker : workers) worker.join();
  workers.clear();
  ::close(wake);
}

HttpServer::HttpServer(HttpServerOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
}
HttpServer::~HttpServer() { stop(); }

void HttpServer::route(const std::string& method, const std::string& path, HttpHandler handler) {
  WS_CHECK(impl_->listener < 0, "routes come before start()");
  impl_->routes.push_back({method, path_segments(path), std::move(handler)});
}

void HttpServer::start() {
  WS_CHECK(impl_->listener < 0, "start() once");
  int fd = listen_on(impl_->options.address, impl_->options.port);
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  impl_->port =
      ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                          : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
  impl_->wake = ::eventfd(0, EFD_CLOEXEC);
  impl_->listener = fd;
  impl_->acceptor = std::thread([this] { impl_->accept_loop(); });
}

int HttpServer::port() const { return impl_->port; }
void HttpServer::stop() { impl_->stop(); }

namespace {

// A connection in memory.
class MemoryStream : public ByteStream {
 public:
  explicit MemoryStream(std::string_view input) : input_(input) {}
  long read(char* to, size_t size, double) override {
    size_t n = std::min(size, input_.size());
    std::memcpy(to, input_.data(), n);
    input_.remove_prefix(n);
    return static_cast<long>(n);
  }
  bool write(std::string_view bytes, double) override {
    output += bytes;
    return true;
  }
  bool gone() const override { return false; }
  std::string output;

 private:
  std::string_view input_;
};

}  // namespace

std::string HttpServer::answer(std::string_view bytes) {
  MemoryStream stream(bytes);
  serve_stream(stream, "memory", impl_->options, impl_->routes, [](bool) { return true; });
  return std::move(stream.output);
}

}  // namespace wellspring
