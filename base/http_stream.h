#pragma once
// Bytes of one connection, and the reading of messages from them. Included by http*.cpp alone.

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/http.h"

namespace wellspring {

/// A connection's bytes. `deadline` is in monotonic_seconds().
class ByteStream {
 public:
  static constexpr long kEnd = 0, kTimeout = -1, kBroken = -2;
  virtual ~ByteStream() = default;
  /// Bytes read (> 0), or one of the values above.
  virtual long read(char* to, size_t size, double deadline) = 0;
  /// False when the other side is gone or took nothing for `timeout` seconds.
  virtual bool write(std::string_view bytes, double timeout) = 0;
  virtual bool gone() const = 0;
};

class SocketStream : public ByteStream {
 public:
  explicit SocketStream(int fd) : fd_(fd) {}  // the caller closes it
  long read(char* to, size_t size, double deadline) override;
  bool write(std::string_view bytes, double timeout) override;
  bool gone() const override;

 private:
  int fd_;
};

enum class HttpRead { ok, end, timeout, broken, header_too_large, body_too_large, malformed };

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
  /// `before_body` is called between header and body when the client waits for "100 Continue".
  HttpRead request(Request* out, const HttpServerOptions& limits,
                   const std::function<void()>& before_body);
  /// Reads the answer to a `head` or other request; chunks of the body go to `on_chunk`, false
  /// stops.
  HttpRead response(HttpResult* out, bool head, const HttpClientOptions& limits,
                    const std::function<bool(std::string_view)>& on_chunk, std::string* reason);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "Not Found" for 404.
const char* http_reason(int status);

}  // namespace wellspring
