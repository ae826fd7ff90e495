#include "base/frames.h"

#include "base/error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

void put_u32(std::string& out, uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(v >> shift);
}

uint32_t get_u32(const char* p) {
  uint32_t v = 0;
  for (int i = 0; i < 4; ++i) v = v << 8 | static_cast<unsigned char>(p[i]);
  return v;
}

}  // namespace

void append_frame(std::string& out, uint8_t type, uint32_t channel, std::string_view payload) {
  WS_CHECK(payload.size() <= kMaxFramePayload, "a frame's payload of at most 16 MiB");
  put_u32(out, static_cast<uint32_t>(payload.size()));
  out += static_cast<char>(type);
  put_u32(out, channel);
  out += payload;
}

std::optional<Frame> FrameParser::next() {
  if (pending() < kFrameHeader) return {};
  const char* at = bytes_.data() + start_;
  size_t size = get_u32(at);
  if (size > max_payload_)
    throw Error(Fault::data,
                str("a frame of ", size, " bytes: at most ", max_payload_, " may come"));
  if (pending() < kFrameHeader + size) return {};
  Frame out{static_cast<uint8_t>(at[4]), get_u32(at + 5), std::string(at + kFrameHeader, size)};
  start_ += kFrameHeader + size;
  // Moved to the front now and then, so that each byte is moved a few times at most.
  if (start_ == bytes_.size()) {
    bytes_.clear();
    start_ = 0;
  } else if (start_ > bytes_.size() / 2) {
    bytes_.erase(0, start_);
    start_ = 0;
  }
  return out;
}

FrameLink::FrameLink(std::shared_ptr<HttpDuplex> duplex, size_t max_payload)
    : duplex_(std::move(duplex)), parser_(max_payload) {}

FrameLink::~FrameLink() { close(); }

bool FrameLink::send(uint8_t type, uint32_t channel, std::string_view payload) {
  std::string bytes;
  bytes.reserve(kFrameHeader + payload.size());
  append_frame(bytes, type, channel, payload);
  return write(bytes);
}

bool FrameLink::send_all(const std::vector<Frame>& frames) {
  std::string bytes;
  for (const Frame& frame : frames) append_frame(bytes, frame.type, frame.channel, frame.payload);
  return write(bytes);
}

bool FrameLink::write(std::string_view bytes) {
  if (duplex_->write(bytes)) return true;
  std::lock_guard lock(mutex_);
  if (reason_.empty()) reason_ = "the other side takes nothing any more";
  return false;
}

std::optional<Frame> FrameLink::receive(double timeout) {
  double deadline = monotonic_seconds() + timeout;
  std::string room;
  while (true) {
    try {
      if (auto frame = parser_.next()) return frame;
    } catch (const Error& e) {
      end(e.what());
    }
    if (closed()) return {};
    if (room.empty()) room.resize(1 << 16);
    long n = duplex_->read(room.data(), room.size(), std::max(0.0, deadline - monotonic_seconds()));
    if (n > 0) {
      parser_.feed({room.data(), static_cast<size_t>(n)});
      continue;
    }
    if (n == HttpDuplex::kTimeout) return {};
    if (n == HttpDuplex::kBroken)
      end("the connection broke");
    else if (parser_.pending() > 0)
      end("the other side ended in the middle of a frame");
    else
      end("the other side ended it", false);
    return {};
  }
}

bool FrameLink::closed() const {
  std::lock_guard lock(mutex_);
  return ended_;
}

std::string FrameLink::reason() const {
  std::lock_guard lock(mutex_);
  return reason_;
}

void FrameLink::close() { end("closed by this side"); }

void FrameLink::end(const std::string& why, bool close) {
  {
    std::lock_guard lock(mutex_);
    if (reason_.empty()) reason_ = why;
    ended_ = true;
  }
  if (close) duplex_->close();
}

}  // namespace wellspring
