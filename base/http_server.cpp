#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
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
#include "base/tls_library.h"

namespace wellspring {
namespace {

constexpr size_t kRefused = 512;  // connections that were refused and still may read why

std::string address_of(const std::string& peer) { return peer.substr(0, peer.rfind(':')); }

// So many connections need descriptors: the soft limit goes up as far as the hard one lets it.
void raise_descriptor_limit(int connections) {
  rlimit limit{};
  auto need = static_cast<rlim_t>(connections) + 128;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need) return;
  limit.rlim_cur = std::min(need, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < need)
    log_warning("http", "only ", limit.rlim_cur, " open files are allowed (ulimit -Hn), ",
                connections, " connections need ", need);
}

}  // namespace

struct HttpServer::Impl {
  HttpServerOptions options;
  HttpRoutes routes;
  std::unique_ptr<TlsContext> tls;
  int listener = -1, wake = -1;  // the listener has its port from bind() on
  std::atomic<bool> late{false};
  std::atomic<int> port{0};
  std::thread acceptor;

  enum class State {
    fresh,     // has not sent a request yet
    idle,      // between two requests
    reading,   // a request is coming
    handling,  // the handler is at work, or the answer is being written
    stream,    // as above, but not among the max_connections
    upgraded,
  };
  struct Connection {
    State state = State::fresh;
    double since = 0;      // of the state
    int64_t received = 0;  // the stream's count at that time
    ByteStream* stream = nullptr;
    bool evicted = false;
  };
  class Watch;

  std::mutex mutex;
  std::condition_variable work, gone;
  std::map<pthread_t, bool> workers;  // true: it has ended and waits to be joined
  size_t running = 0, free_workers = 0, streams = 0, leaving = 0;  // leaving: evicted, still there
  int64_t bodies = 0;  // bytes that requests may have in memory now
  bool stopping = false;
  std::deque<std::pair<int, std::string>> waiting;  // accepted, without a thread yet
  std::deque<std::pair<int, double>> refused;       // the acceptor's: answered, closed at that time
  double next_close = 0;                            // when to look at them
  std::map<int, Connection> serving;
  std::map<std::string, int> per_peer;  // waiting and served

  // The mutex is held, or the stream would not be there any more.
  static void end_reading(int fd, const Connection& connection) {
    if (connection.stream)
      connection.stream->end_reading();
    else
      ::shutdown(fd, SHUT_RD);
  }
  size_t limit() const { return static_cast<size_t>(options.max_connections); }
  void accept_loop();
  void take(int fd, std::string peer);
  void refuse(int fd, const std::string& why);
  void close_refused(bool all);
  bool start_worker();
  void join_ended();
  void forget_peer(const std::string& peer);
  void make_room();
  bool evict();
  void worker_loop();
  void serve(int fd, const std::string& peer);
  void stop();
};

// Keeps the entry of one connection in `serving`.
class HttpServer::Impl::Watch : public ConnectionWatch {
 public:
  Watch(Impl& server, int fd) : server_(server), fd_(fd) {}
  ~Watch() override { hold(0); }

  bool hold(int64_t bytes) override {
    if (bytes == held_) return true;
    std::lock_guard lock(server_.mutex);
    if (bytes > 0 && server_.bodies + bytes > server_.options.max_bodies && server_.bodies > 0)
      return false;
    server_.bodies += bytes - held_;
    held_ = bytes;
    return true;
  }

  bool idle(bool begins) override {
    std::lock_guard lock(server_.mutex);
    bool first = first_;
    // A connection made before stop() still gets its first request answered.
    if (begins && server_.stopping && !first) return false;
    if (begins && !first && !server_.waiting.empty() && server_.free_workers == 0) return false;
    if (!begins) first_ = false;
    enter(!begins ? State::reading : first ? State::fresh : State::idle);
    if (begins && server_.stopping) end_reading(fd_, server_.serving[fd_]);
    return !server_.stopping;
  }
  void handling() override {
    std::lock_guard lock(server_.mutex);
    enter(State::handling);
  }
  bool streaming(bool upgraded) override {
    std::lock_guard lock(server_.mutex);
    if (server_.streams >= static_cast<size_t>(server_.options.max_streams)) return false;
    ++server_.streams;
    enter(upgraded ? State::upgraded : State::stream);
    if (upgraded && server_.stopping) end_reading(fd_, server_.serving[fd_]);
    // Its thread no longer counts: somebody who waits may have one.
    if (server_.waiting.size() > server_.free_workers) server_.start_worker();
    return true;
  }
  bool late() const override { return server_.late; }
  bool evicted() override {
    std::lock_guard lock(server_.mutex);
    return server_.serving[fd_].evicted;
  }
  // The mutex is held.
  void enter(State state) {
    Connection& connection = server_.serving[fd_];
    bool was = connection.state == State::stream || connection.state == State::upgraded;
    if (was && state != State::stream && state != State::upgraded) --server_.streams;
    connection.state = state;
    connection.since = monotonic_seconds();
    connection.received = connection.stream ? connection.stream->received.load() : 0;
  }
  void attach(ByteStream* stream) {
    std::lock_guard lock(server_.mutex);
    server_.serving[fd_].stream = stream;
  }

 private:
  Impl& server_;
  int fd_;
  bool first_ = true;
  int64_t held_ = 0;
};

void HttpServer::Impl::accept_loop() {
  while (true) {
    pollfd waits[2] = {{listener, POLLIN, 0}, {wake, POLLIN, 0}};
    int pause = -1;
    {
      std::lock_guard lock(mutex);
      make_room();
      join_ended();
      if (!waiting.empty()) pause = 50;
    }
    if (!refused.empty()) {
      pause = 50;
      if (monotonic_seconds() > next_close) close_refused(false);
    }
    int ready = ::poll(waits, 2, pause);
    if (ready < 0 && errno != EINTR) return;
    if (ready <= 0) continue;
    if (waits[1].revents) return;
    int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_warning("http", "cannot accept a connection: ", std::strerror(errno));
        close_refused(true);
        {
          std::lock_guard lock(mutex);
          evict();
        }
        sleep_seconds(0.05);
      }
      continue;
    }
    int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    take(fd, peer_name(fd));
  }
}

// Without a thread for it: what does not fit into the socket's buffer is lost. A TLS client gets
// nothing, for it would have to shake hands first.
void HttpServer::Impl::refuse(int fd, const std::string& why) {
  SocketStream stream(fd);
  HttpResponse::Impl impl;
  impl.stream = &stream;
  impl.write_timeout = 0;
  impl.keep_alive = false;
  if (!tls) {
    HttpResponse response(&impl);
    response.header("Retry-After", "1");
    response.send_error(503, why);
  }
  // What it still sends may not meet a closed socket: it would break off before it reads.
  stream.finish();
  refused.emplace_back(fd, monotonic_seconds() + 1);
  if (refused.size() <= kRefused) return;
  ::close(refused.front().first);
  refused.pop_front();
}

// Closes those that were refused and are done or have had their time.
void HttpServer::Impl::close_refused(bool all) {
  const double now = monotonic_seconds();
  next_close = now + 0.05;
  std::erase_if(refused, [&](const std::pair<int, double>& one) {
    char dropped[1 << 14];
    long n = 1;
    for (int i = 0; i < 16 && n > 0; ++i)
      n = ::recv(one.first, dropped, sizeof dropped, MSG_DONTWAIT);
    const bool goes_on = n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
    if (goes_on && now < one.second && !all) return false;
    ::close(one.first);
    return true;
  });
}

void HttpServer::Impl::take(int fd, std::string peer) {
  std::unique_lock lock(mutex);
  int& of_peer = per_peer[address_of(peer)];
  bool too_many = options.max_per_peer > 0 && of_peer >= options.max_per_peer;
  // Counted with those served: in a burst, threads that have just begun have taken nobody yet.
  if (too_many || waiting.size() + serving.size() - streams >= 3 * limit()) {
    if (of_peer == 0) per_peer.erase(address_of(peer));
    lock.unlock();
    refuse(fd, too_many ? "too many connections from this address: close some"
                        : "too many connections: try again");
    return;
  }
  ++of_peer;
  waiting.emplace_back(fd, std::move(peer));
  if (waiting.size() > free_workers && !start_worker()) make_room();
  work.notify_one();
}

void HttpServer::Impl::forget_peer(const std::string& peer) {
  auto found = per_peer.find(address_of(peer));
  if (found != per_peer.end() && --found->second <= 0) per_peer.erase(found);
}

// False when there are as many as may be, or the system gives no more. The mutex is held.
bool HttpServer::Impl::start_worker() {
  if (stopping || running >= limit() + streams) return false;
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  if (options.stack_size > 0)
    ::pthread_attr_setstacksize(&attributes, static_cast<size_t>(options.stack_size));
  pthread_t thread;
  int error = ::pthread_create(
      &thread, &attributes,
      [](void* self) -> void* {
        static_cast<Impl*>(self)->worker_loop();
        return nullptr;
      },
      this);
  ::pthread_attr_destroy(&attributes);
  if (error) {
    log_warning("http", "cannot start a thread: ", std::strerror(error));
    return false;
  }
  workers[thread] = false;
  ++running;
  return true;
}

void HttpServer::Impl::join_ended() {
  for (auto it = workers.begin(); it != workers.end();)
    if (it->second) {
      ::pthread_join(it->first, nullptr);
      it = workers.erase(it);
    } else {
      ++it;
    }
}

// One connection has to go for each that waits without a thread. The mutex is held.
void HttpServer::Impl::make_room() {
  while (waiting.size() > free_workers + leaving && running >= limit() + streams)
    if (!evict()) return;
}

// Ends the connection that deserves its thread least: the one silent longest between requests or
// before its first; then a request that comes too slowly; then an answer that nobody takes. Each
// has some time to do better. False: all are at work. The mutex is held.
bool HttpServer::Impl::evict() {
  const double kFirst = tls ? 1 : 0.25, kReading = 1, kStalled = 2;  // seconds
  double now = monotonic_seconds();
  std::pair<const int, Connection>* worst = nullptr;
  int worst_class = 0;
  double worst_since = 0;
  for (auto& entry : serving) {
    const Connection& c = entry.second;
    double since = c.since;
    int rank = 0;
    if (c.evicted) continue;
    if (c.state == State::idle || (c.state == State::fresh && now - since > kFirst)) {
      rank = 3;
    } else if (c.state == State::reading && now - since > kReading && c.stream) {
      auto came = static_cast<double>(c.stream->received - c.received);
      if (came < static_cast<double>(options.min_rate) * (now - since)) rank = 2;
    } else if (c.state == State::handling && c.stream) {
      since = c.stream->stalled_since;
      if (since >= 0 && now - since > kStalled) rank = 1;
    }
    if (rank > worst_class || (rank && rank == worst_class && since < worst_since)) {
      worst = &entry;
      worst_class = rank;
      worst_since = since;
    }
  }
  if (!worst) return false;
  worst->second.evicted = true;
  ++leaving;
  if (worst_class == 1)
    ::shutdown(worst->first, SHUT_RDWR);
  else
    end_reading(worst->first, worst->second);
  return true;
}

void HttpServer::Impl::worker_loop() {
  std::unique_lock lock(mutex);
  while (true) {
    ++free_workers;
    work.wait(lock, [&] { return stopping || !waiting.empty(); });
    --free_workers;
    if (waiting.empty()) break;
    auto [fd, peer] = std::move(waiting.front());
    waiting.pop_front();
    serving[fd].since = monotonic_seconds();
    lock.unlock();
    serve(fd, peer);
    lock.lock();
    if (serving[fd].evicted) --leaving;
    serving.erase(fd);
    ::close(fd);
    forget_peer(peer);
    if (serving.empty()) gone.notify_all();
    if (running > limit() + streams) break;  // a stream has ended whose thread was one more
  }
  --running;
  workers[::pthread_self()] = true;
}

void HttpServer::Impl::serve(int fd, const std::string& peer) {
  SocketStream plain(fd);
  plain.min_rate = options.min_rate;
  std::unique_ptr<ByteStream> secure;
  ByteStream* stream = &plain;
  Watch watch(*this, fd);
  try {
    bool talk = true;
    if (tls) {
      double deadline = monotonic_seconds() + options.header_timeout;
      char first = 0;
      talk = wait_for_socket(fd, POLLIN, deadline) && ::recv(fd, &first, 1, MSG_PEEK) == 1;
      if (talk && first != 0x16) {  // no TLS handshake
        HttpResponse::Impl impl;
        impl.stream = stream;
        impl.write_timeout = 1;
        impl.keep_alive = false;
        HttpResponse(&impl).send_error(400, "this port speaks TLS: use https://", "tls_required");
        talk = false;
      } else if (talk) {
        secure = tls->open(fd, "", deadline);
        secure->min_rate = options.min_rate;
        stream = secure.get();
      }
    }
    if (talk) {
      watch.attach(stream);
      serve_stream(*stream, peer, options, routes, watch);
    }
  } catch (const Error& e) {
    // Who does not get through the handshake may not fill the log.
    if (e.fault() == Fault::io)
      log_debug("http", "connection of ", peer, " ended: ", e.what());
    else
      log_error("http", "connection of ", peer, " ended: ", e.what());
  } catch (const std::exception& e) {
    log_error("http", "connection of ", peer, " ended: ", e.what());
  }
  {
    std::lock_guard lock(mutex);
    watch.enter(State::idle);
    serving[fd].stream = nullptr;
  }
  linger(*stream);
}

void HttpServer::Impl::stop() {
  {
    std::unique_lock lock(mutex);
    if (stopping || listener < 0) return;
    stopping = true;
    if (!acceptor.joinable()) {  // bound alone
      ::close(listener);
      return;
    }
    uint64_t one = 1;
    if (::write(wake, &one, sizeof one) < 0) log_error("http", "cannot wake the acceptor");
    for (auto& [fd, c] : serving)
      if (c.state == State::fresh || c.state == State::idle || c.state == State::upgraded)
        end_reading(fd, c);
  }
  acceptor.join();
  close_refused(true);
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
  for (auto& [thread, ended] : workers) ::pthread_join(thread, nullptr);
  workers.clear();
  ::close(wake);
}

HttpServer::HttpServer(HttpServerOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
}
HttpServer::~HttpServer() { stop(); }

void HttpServer::route(const std::string& method, const std::string& path, HttpHandler handler) {
  WS_CHECK(!impl_->acceptor.joinable(), "routes come before start()");
  impl_->routes.list.push_back({method, path_segments(path), std::move(handler)});
}

void HttpServer::observer(HttpObserver observer) {
  WS_CHECK(!impl_->acceptor.joinable(), "the observer comes before start()");
  impl_->routes.observer = std::move(observer);
}

void HttpServer::filter(HttpFilter filter) {
  WS_CHECK(!impl_->acceptor.joinable(), "the filter comes before start()");
  impl_->routes.filter = std::move(filter);
}

void HttpServer::bind() {
  WS_CHECK(impl_->listener < 0, "bind() once");
  const HttpServerOptions& o = impl_->options;
  if (o.certificate.empty() != o.key.empty())
    throw Error(Fault::usage, "TLS needs both a certificate and its key");
  if (!o.key.empty()) impl_->tls = tls_library().server(pem_text(o.certificate), pem_text(o.key));
  const int fd = bound_socket(o.address, o.port);
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  impl_->port =
      ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                          : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
  impl_->listener = fd;
}

void HttpServer::start() {
  WS_CHECK(!impl_->acceptor.joinable(), "start() once");
  if (impl_->listener < 0) bind();
  const HttpServerOptions& o = impl_->options;
  listen_on(impl_->listener, o.address, o.port);
  raise_descriptor_limit(3 * o.max_connections + o.max_streams + static_cast<int>(kRefused));
  impl_->wake = ::eventfd(0, EFD_CLOEXEC);
  impl_->acceptor = std::thread([this] { impl_->accept_loop(); });
}

int HttpServer::port() const { return impl_->port; }
void HttpServer::make_late() { impl_->late = true; }
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
  ConnectionWatch watch;
  serve_stream(stream, "memory", impl_->options, impl_->routes, watch);
  return std::move(stream.output);
}

}  // namespace wellspring
