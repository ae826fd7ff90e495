#include "cluster/link/link.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

enum Type : uint8_t { kMessage = 'M', kOpen = 'O', kData = 'D', kEnd = 'E', kTaken = 'A', kReset = 'X' };
constexpr int64_t kWindow = 256 << 10;       // bytes a side may have unread
constexpr size_t kMostQueued = 64 << 20;     // bytes waiting to be written: more ends the link
constexpr size_t kPiece = 64 << 10;
constexpr size_t kMostChannels = 8192;  // open at once

std::string number_text(uint32_t n) {
  std::string out(4, '\0');
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(n >> (24 - 8 * i));
  return out;
}
uint32_t text_number(std::string_view s) {
  uint32_t n = 0;
  for (size_t i = 0; i < 4 && i < s.size(); ++i) n = n << 8 | static_cast<unsigned char>(s[i]);
  return n;
}

}  // namespace

// Shared by the link and the channel's owner; either may go first.
struct Channel::Inside {
  std::mutex mutex;
  std::condition_variable changed;
  Link* link = nullptr;  // null: the link is gone
  uint32_t number = 0;
  std::deque<std::string> incoming;
  int64_t unread_here = 0, unread_there = 0;
  bool ended = false;     // the other side's direction
  bool finished = false;  // ours
  bool gone = false;
  std::string failure;

  /// The link forgets it: nothing is sent for it any more, and what comes is dropped.
  void leave();
};

void Channel::Inside::leave() {
  if (!link) return;
  link->forget(number);
  link = nullptr;
}

Channel::~Channel() { close(); }

bool Channel::write(std::string_view bytes) {
  while (!bytes.empty()) {
    std::unique_lock lock(in_->mutex);
    in_->changed.wait(lock, [&] { return in_->gone || in_->finished || in_->unread_there < kWindow; });
    if (!in_->link || in_->finished) return false;
    const std::string_view piece = bytes.substr(0, kPiece);
    in_->unread_there += static_cast<int64_t>(piece.size());
    in_->link->put(kData, in_->number, std::string(piece));
    bytes.remove_prefix(piece.size());
  }
  return true;
}

std::optional<std::string> Channel::read(double timeout) {
  std::unique_lock lock(in_->mutex);
  in_->changed.wait_for(lock, std::chrono::duration<double>(timeout), [&] {
    return !in_->incoming.empty() || in_->ended || in_->gone;
  });
  if (in_->incoming.empty()) return std::nullopt;
  std::string out = std::move(in_->incoming.front());
  in_->incoming.pop_front();
  in_->unread_here -= static_cast<int64_t>(out.size());
  if (in_->link) in_->link->put(kTaken, in_->number, number_text(static_cast<uint32_t>(out.size())));
  return out;
}

std::string Channel::read_all(double timeout, size_t most) {
  std::string all;
  while (all.size() < most) {
    auto part = read(timeout);
    if (!part) break;
    all += *part;
  }
  return all;
}

bool Channel::over() const {
  std::lock_guard lock(in_->mutex);
  return in_->incoming.empty() && (in_->ended || in_->gone);
}

bool Channel::closing() const {
  std::lock_guard lock(in_->mutex);
  return in_->ended || in_->gone;
}

std::string Channel::failure() const {
  std::lock_guard lock(in_->mutex);
  return in_->failure;
}

void Channel::finish() {
  std::lock_guard lock(in_->mutex);
  if (!in_->link || in_->finished) return;
  in_->finished = true;
  in_->link->put(kEnd, in_->number, "");
  if (in_->ended) in_->leave();
}

void Channel::close(const std::string& reason) {
  std::lock_guard lock(in_->mutex);
  if (in_->link) {
    in_->link->put(kReset, in_->number, reason);
    in_->leave();
  }
  in_->gone = in_->finished = true;
  in_->changed.notify_all();
}

Link::Link(std::shared_ptr<HttpDuplex> duplex, Handlers handlers, bool dialled)
    : frames_(std::move(duplex)), handlers_(std::move(handlers)), next_channel_(dialled ? 1 : 2) {
  writer_ = std::thread([this] { write_loop(); });
}

Link::~Link() {
  close();
  writer_.join();
}

void Link::put(uint8_t type, uint32_t channel, std::string payload) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  queued_ += payload.size() + kFrameHeader;
  outgoing_.push_back({type, channel, std::move(payload)});
  if (queued_ > kMostQueued) {  // the other side takes nothing
    closed_ = true;
    frames_.close();
  }
  work_.notify_one();
}

void Link::write_loop() {
  while (true) {
    std::vector<Frame> batch;
    {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [&] { return closed_ || !outgoing_.empty(); });
      if (closed_) return;
      batch.assign(std::make_move_iterator(outgoing_.begin()),
                   std::make_move_iterator(outgoing_.end()));
      outgoing_.clear();
      queued_ = 0;
    }
    if (!frames_.send_all(batch)) return close();
  }
}

void Link::forget(uint32_t channel) {
  std::lock_guard lock(mutex_);
  channels_.erase(channel);
}

void Link::send(const Json& message) { put(kMessage, 0, to_text(message)); }

std::shared_ptr<Channel> Link::open(const Json& what) {
  auto inside = std::make_shared<Channel::Inside>();
  inside->link = this;
  {
    std::lock_guard lock(mutex_);
    inside->number = next_channel_;
    next_channel_ += 2;
    if (closed_)
      inside->gone = true, inside->link = nullptr;
    else
      channels_[inside->number] = inside;
  }
  if (!inside->gone) put(kOpen, inside->number, to_text(what));
  return std::shared_ptr<Channel>(new Channel(std::move(inside)));
}

void Link::take(Frame frame) {
  if (frame.type == kMessage) {
    const Json message = parse_json(frame.payload, "a message");
    if (!message.is_object()) throw Error(Fault::data, "a message that is no object");
    if (handlers_.message) handlers_.message(message);
    return;
  }
  if (frame.type == kOpen) {
    auto inside = std::make_shared<Channel::Inside>();
    inside->link = this, inside->number = frame.channel;
    {
      std::lock_guard lock(mutex_);
      if (channels_.contains(frame.channel) || frame.channel % 2 == next_channel_ % 2)
        throw Error(Fault::data, "a channel was opened twice");
      if (channels_.size() >= kMostChannels)
        throw Error(Fault::data, str("more than ", kMostChannels, " channels are open"));
      channels_[frame.channel] = inside;
    }
    std::shared_ptr<Channel> channel(new Channel(std::move(inside)));
    const Json what = parse_json(frame.payload, "a channel's purpose");
    if (!what.is_object()) throw Error(Fault::data, "a channel's purpose that is no object");
    if (handlers_.opened)
      handlers_.opened(std::move(channel), what);
    else
      channel->close("nobody here opens channels");
    return;
  }
  std::shared_ptr<Channel::Inside> inside;
  {
    std::lock_guard lock(mutex_);
    const auto it = channels_.find(frame.channel);
    if (it != channels_.end() && !(inside = it->second.lock())) channels_.erase(it);
  }
  if (!inside) return;  // closed on this side a moment ago
  std::lock_guard lock(inside->mutex);
  switch (frame.type) {
    case kData:
      if (inside->ended) throw Error(Fault::data, "bytes came behind the end of a channel");
      // Who keeps to the window never has more on its way.
      inside->unread_here += static_cast<int64_t>(frame.payload.size());
      if (inside->unread_here >= kWindow + static_cast<int64_t>(kPiece))
        throw Error(Fault::data, "more came than was asked for");
      if (!inside->incoming.empty() && inside->incoming.back().size() + frame.payload.size() <= kPiece)
        inside->incoming.back() += frame.payload;
      else if (!frame.payload.empty())
        inside->incoming.push_back(std::move(frame.payload));
      break;
    case kTaken: inside->unread_there = std::max<int64_t>(0, inside->unread_there - text_number(frame.payload)); break;
    case kEnd: inside->ended = true; break;
    case kReset:
      inside->failure = frame.payload.substr(0, 4096);
      inside->ended = inside->gone = true;
      break;
    default: throw Error(Fault::data, str("unknown frame ", static_cast<int>(frame.type)));
  }
  if (inside->gone || (inside->ended && inside->finished)) inside->leave();
  inside->changed.notify_all();
}

void Link::run(const std::function<double()>& silence) {
  double heard = monotonic_seconds();
  while (!closed()) {
    auto frame = frames_.receive(std::min(1.0, silence()));
    if (!frame && !frames_.closed() && monotonic_seconds() - heard < silence()) continue;
    if (!frame) break;
    heard = monotonic_seconds();
    try {
      take(std::move(*frame));
    } catch (const std::exception& e) {  // also a message with a field of another type
      log_warning("link", "closed: ", e.what());
      break;
    }
  }
  close();
}

void Link::close() {
  std::map<uint32_t, std::weak_ptr<Channel::Inside>> channels;
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    channels.swap(channels_);
    work_.notify_all();
  }
  frames_.close();
  for (auto& [number, weak] : channels)
    if (const auto inside = weak.lock()) {
      std::lock_guard lock(inside->mutex);
      if (!inside->ended && inside->failure.empty()) inside->failure = "the connection was lost";
      inside->gone = inside->ended = true;
      inside->link = nullptr;
      inside->changed.notify_all();
    }
}

bool Link::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace wellspring::cluster
