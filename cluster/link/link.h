#pragma once
// The connection between a node and its controller, and between a client's terminal and the
// controller: messages, and channels of bytes with flow control, over one upgraded connection.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/frames.h"
#include "base/json_fwd.h"

namespace wellspring::cluster {

class Link;

/// Two-way bytes within a link. Thread-safe; one reader and one writer at a time.
class Channel {
 public:
  ~Channel();
  /// Waits while the other side has much unread (256 KiB); false when the channel or link is gone.
  bool write(std::string_view bytes);
  /// The next bytes; nullopt at the end, when the link is gone, or after `timeout` seconds (over()
  /// tells which).
  std::optional<std::string> read(double timeout);
  /// All bytes up to the end, at most `most`.
  std::string read_all(double timeout, size_t most);
  /// Nothing more will come.
  bool over() const;
  /// Nothing more will come from the other side, though some of it may be unread.
  bool closing() const;
  /// Why it ended, when the other side said so; "" after a plain end.
  std::string failure() const;
  /// Ends our direction.
  void finish();
  /// Ends both, with a reason for the other side.
  void close(const std::string& reason = "");

 private:
  friend class Link;
  struct Inside;
  explicit Channel(std::shared_ptr<Inside> inside) : in_(std::move(inside)) {}
  std::shared_ptr<Inside> in_;
};

/// One end of a link. Messages are taken in order on the thread of run(); a handler must not block.
class Link {
 public:
  struct Handlers {
    std::function<void(const Json&)> message;
    /// The other side opened a channel for what `what` says; handle it on another thread.
    std::function<void(std::shared_ptr<Channel>, const Json& what)> opened;
  };
  Link(std::shared_ptr<HttpDuplex> duplex, Handlers handlers, bool dialled);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  /// Before run(): for a handler that knows its link.
  void set_message_handler(std::function<void(const Json&)> handler) {
    handlers_.message = std::move(handler);
  }
  /// Queues a message; never waits. Messages of a link that is closed go nowhere.
  void send(const Json& message);
  std::shared_ptr<Channel> open(const Json& what);
  /// Reads until the link is closed, or silent for so many seconds (asked for again and again: they may
  /// be agreed on over the link itself).
  void run(const std::function<double()>& silence);
  void close();
  bool closed() const;
  std::string reason() const { return frames_.reason(); }

 private:
  friend class Channel;
  void put(uint8_t type, uint32_t channel, std::string payload);
  void forget(uint32_t channel);
  void write_loop();
  void take(Frame frame);

  FrameLink frames_;
  Handlers handlers_;
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Frame> outgoing_;
  size_t queued_ = 0;  // bytes
  bool closed_ = false;
  uint32_t next_channel_;
  std::map<uint32_t, std::weak_ptr<Channel::Inside>> channels_;
  std::thread writer_;
};

}  // namespace wellspring::cluster
