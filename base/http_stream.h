#pragma once
// Bytes of one connection, and the reading of messages from them. Included by http*.cpp alone.

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/http.h"

namespace wellspring {

/// A connection's bytes. `deadline` is in monotonic_seconds(). One thread may read while one
/// writes.
class ByteStream {
 public:
  static constexpr long kEnd = 0, kTimeout = -1, kBroken = -2;
  virtual ~ByteStream() = default;
  /// Bytes read (> 0), or one of the values above.
  virtual long read(char* to, size_t size, double deadline) = 0;
  /// False when the other side is gone, took nothing for `timeout` seconds, or takes fewer than
  /// min_rate bytes/s after that time.
  virtual bool write(std::string_view bytes, double timeout) = 0;
  virtual bool gone() const = 0;
  /// Ends both directions at once; wakes whoever waits in read() or write(). From any thread.
  virtual void shutdown() {}
  /// read() gives what has come and then ends; wakes it. From any thread.
  virtual void end_reading() {}
  /// Says that nothing more will be written. By the thread that writes.
  virtual void finish() {}
  virtual int descriptor() const { return -1; }
  /// Whether bytes are here that the descriptor does not show.
  virtual bool buffered() const { return false; }

  int64_t min_rate = 0;                   // bytes/s; 0: none
  std::atomic<int64_t> received{0};       // bytes
  std::atomic<double> stalled_since{-1};  // a write waits for the other side; < 0: none does
};

/// Waits until `events` of a socket or the deadline; false at the deadline.
bool wait_for_socket(int fd, short events, double deadline);
/// The waiting of a write() that has brought `moved` bytes away since `start`: until the socket
/// takes more, or false. Keeps stalled_since.
bool wait_to_write(ByteStream& stream, double start, size_t moved, double timeout, short events);

class SocketStream : public ByteStream {
 public:
  explicit SocketStream(int fd) : fd_(fd) {}  // the caller closes it
  long read(char* to, size_t size, double deadline) override;
  bool write(std::string_view bytes, double timeout) override;
  bool gone() const override;
  void shutdown() override;
  void finish() override;
  void end_reading() override;
  int descriptor() const override { return fd_; }

 private:
  int fd_;
};

/// A descriptor that is closed with its owner.
struct Socket {
  int fd = -1;
  Socket() = default;
  Socket(Socket&& other) noexcept : fd(other.fd) { other.fd = -1; }
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~Socket();
};

/// A connected TCP socket; Error(Fault::io) with the system's reason alone.
Socket connect_socket(const std::string& host, const std::string& port, double timeout,
                      const std::function<bool(const std::string&)>& may_connect = {});
/// One that has its port and, after listen_on, takes connections. Error(Fault::io) naming address and port.
int bound_socket(const std::string& address, int port);
void listen_on(int fd, const std::string& address, int port);
/// "127.0.0.1:51234" of the socket's other side.
std::string peer_name(int fd);
/// Ends our direction, then reads and drops what a refused client still sends: closing at once
/// would reset the connection before the client has read the answer.
void linger(ByteStream& stream);

struct HttpDuplex::Impl {
  Socket socket;                      // under `owned`
  std::unique_ptr<ByteStream> owned;  // the client's; a server's belongs to its thread
  ByteStream* stream = nullptr;       // null: detached. Changes under all three mutexes
  std::string rest;                   // came behind the headers
  size_t taken = 0;                   // bytes of it that read() gave away
  std::string peer;
  double write_timeout = 60;
  std::mutex reading, writing, life;
  std::atomic<bool> closed{false};
  bool write_failed = false;

  ~Impl();
  void close();
  /// Forgets the stream; when it returns nobody uses it any more.
  void detach();
};

enum class HttpRead { ok, end, timeout, broken, header_too_large, body_too_large, no_room, malformed };

/// Reads one message after another; keeps what came beyond the last one.
class HttpReader {
 public:
  explicit HttpReader(ByteStream& stream);
  ~HttpReader();

  struct Request {
    HttpRequest request;
    bool keep_alive = false;
    bool http10 = false;
    std::string reason;  // what was malformed
  };
  /// Waits until the first byte of a request is there (or was there already).
  HttpRead wait(double deadline);
  /// `before_body` is called between header and body when the client waits for "100 Continue";
  /// `may_hold` with the most bytes that the body can have, false: no_room.
  HttpRead request(Request* out, const HttpServerOptions& limits,
                   const std::function<void()>& before_body,
                   const std::function<bool(int64_t)>& may_hold);
  struct Response {
    HttpResult result;
    bool begun = false;       // some byte came
    bool keep_alive = false;  // read to its end, and the connection can go on
    std::string reason;
  };
  /// Reads the answer to a `head` or other request; chunks of the body go to `on_chunk`, false
  /// stops.
  HttpRead response(Response* out, bool head, const HttpClientOptions& limits,
                    const std::function<bool(std::string_view)>& on_chunk);
  /// What came beyond the last message: the upgraded connection's first bytes.
  std::string take_rest();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "Not Found" for 404.
const char* http_reason(int status);

}  // namespace wellspring
