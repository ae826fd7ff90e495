#pragma once
// Frames over an upgraded connection: u32 length of the payload (big endian), u8 type, u32 channel
// (big endian), payload. What types and channels mean is for the user to say.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/http.h"

namespace wellspring {

struct Frame {
  uint8_t type = 0;
  uint32_t channel = 0;
  std::string payload;
};

constexpr size_t kFrameHeader = 9;
constexpr size_t kMaxFramePayload = 16 << 20;  // bytes

/// Appends the frame's bytes to `out`. The payload is at most kMaxFramePayload (WS_CHECK).
void append_frame(std::string& out, uint8_t type, uint32_t channel, std::string_view payload);

/// Takes bytes in any pieces and gives whole frames. Not thread-safe.
class FrameParser {
 public:
  explicit FrameParser(size_t max_payload = kMaxFramePayload) : max_payload_(max_payload) {}
  void feed(std::string_view bytes) { bytes_ += bytes; }
  /// The next whole frame, or nullopt when more bytes are needed. Error(Fault::data) when a frame
  /// announces more than max_payload: nothing after it can be read.
  std::optional<Frame> next();
  /// Bytes of a frame that is not whole yet.
  size_t pending() const { return bytes_.size() - start_; }

 private:
  size_t max_payload_;
  std::string bytes_;
  size_t start_ = 0;
};

/// Frames in both directions. Any thread may send; one thread at a time receives.
class FrameLink {
 public:
  explicit FrameLink(std::shared_ptr<HttpDuplex> duplex, size_t max_payload = kMaxFramePayload);
  /// Closes the connection.
  ~FrameLink();
  FrameLink(const FrameLink&) = delete;
  FrameLink& operator=(const FrameLink&) = delete;

  /// False when the link has ended or takes nothing any more; receive() then gives what had come
  /// before it ends, too. True says that the bytes are on their way, not that they arrived. A
  /// payload above kMaxFramePayload is a bug of the caller (WS_CHECK).
  bool send(uint8_t type, uint32_t channel, std::string_view payload);
  /// Several in one write, in their order and with no other frame between them.
  bool send_all(const std::vector<Frame>& frames);
  /// The next frame; nullopt after `timeout` seconds (0: only what is here already) or when the
  /// link has ended: closed() tells which. A frame that is too big closes the link. After an
  /// orderly end (the other side's, or HttpServer::stop()) a last frame may still be sent.
  std::optional<Frame> receive(double timeout);
  /// Whether the other side, close() or an error has ended it, and all whole frames were received.
  bool closed() const;
  /// Why it is closed, for a log line: "closed by the other side", ...; "" while it is open.
  std::string reason() const;
  /// Ends the link; wakes a thread that receives. From any thread.
  void close();
  HttpDuplex& duplex() { return *duplex_; }

 private:
  bool write(std::string_view bytes);
  void end(const std::string& why, bool close = true);

  std::shared_ptr<HttpDuplex> duplex_;
  FrameParser parser_;
  mutable std::mutex mutex_;  // of the two below
  std::string reason_;
  bool ended_ = false;
};

}  // namespace wellspring
