// `wellspring job exec`: bytes between a client's channel and a command beside a job's tasks.

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <future>

#include "base/error.h"
#include "base/frames.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/link/terminal.h"
#include "cluster/node/beside.h"
#include "cluster/node/daemon.h"

namespace wellspring::cluster {
namespace {

bool tell(Channel& channel, TerminalFrame type, std::string_view text) {
  std::string bytes;
  append_frame(bytes, static_cast<uint8_t>(type), 0, text);
  return channel.write(bytes);
}

// Writes all of it, as long as the command takes it and the client is there.
void feed(Channel& channel, Beside& beside, std::string_view bytes, const std::atomic<bool>& done) {
  while (!bytes.empty() && beside.input() >= 0 && !done && !channel.closing()) {
    pollfd wait{beside.input(), POLLOUT, 0};
    if (::poll(&wait, 1, 100) <= 0) continue;
    const ssize_t n = ::write(beside.input(), bytes.data(), bytes.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) return;  // it does not read any more: what comes is dropped
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void take_input(Channel& channel, Beside& beside, const std::atomic<bool>& done) {
  FrameParser parser(1 << 20);
  bool ended = false;
  while (!done && !channel.closing()) {
    const auto part = channel.read(0.1);
    // A terminal has no end of input, only a key that means it, which who reads by the key takes for
    // another one: pressed until the command has ended.
    if (ended) beside.end_input();
    if (!part) continue;
    parser.feed(*part);
    while (auto frame = parser.next()) {
      switch (static_cast<TerminalFrame>(frame->type)) {
        case TerminalFrame::input: feed(channel, beside, frame->payload, done); break;
        case TerminalFrame::input_end:
          beside.end_input();
          ended = beside.terminal();
          break;
        case TerminalFrame::size: {
          int rows = 0, columns = 0;
          if (std::sscanf(frame->payload.c_str(), "%5d %5d", &rows, &columns) == 2) beside.resize(rows, columns);
          break;
        }
        default: throw Error(Fault::data, "the client sends what only a node says");
      }
    }
  }
}

// What is there now; false when the client takes nothing any more. `open` becomes false at the end.
bool pass_on(Channel& channel, int fd, TerminalFrame type, bool& open, bool& moved) {
  char buffer[32 << 10];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return open = false, true;  // a terminal that nobody has open gives an error
  moved = true;
  return tell(channel, type, {buffer, static_cast<size_t>(n)});
}

// Until the command has ended and all that it wrote is on its way, or the client goes.
std::optional<Beside::End> give_output(Channel& channel, Beside& beside, const std::atomic<bool>& stopping) {
  std::optional<Beside::End> end;
  bool output = true, error = beside.error() >= 0;
  while (!stopping && !channel.closing()) {
    pollfd waits[3] = {{output ? beside.output() : -1, POLLIN, 0},
                       {error ? beside.error() : -1, POLLIN, 0},
                       {end ? -1 : beside.control(), POLLIN, 0}};
    ::poll(waits, 3, end ? 0 : 100);
    bool moved = false;
    if (output && waits[0].revents &&
        !pass_on(channel, beside.output(), TerminalFrame::output, output, moved))
      return std::nullopt;
    if (error && waits[1].revents && !pass_on(channel, beside.error(), TerminalFrame::error, error, moved))
      return std::nullopt;
    // What it left running may hold the streams for ever: what is there when it ends is all.
    if (end && !moved) return end;
    if (!end && waits[2].revents) end = beside.ended();
  }
  return std::nullopt;
}

}  // namespace

void NodeDaemon::on_own_thread(const std::function<void()>& f) {
  auto work = std::make_shared<std::packaged_task<void()>>(f);
  auto result = work->get_future();
  {
    std::lock_guard lock(mutex_);
    if (stopping_) throw Error(Fault::try_again, "the node daemon is stopping: try again");
    calls_.push_back(work);
  }
  wake();
  result.get();
}

void NodeDaemon::serve_exec(Channel& channel, const Json& what) {
  std::optional<Beside::End> end;
  try {
    CommandBeside command;
    command.rank = what.value("rank", 0), command.command = what.value("command", "");
    command.terminal = what.value("terminal", 0) != 0;
    command.rows = what.value("rows", 24), command.columns = what.value("columns", 80);
    const std::string token = what.at("token");
    std::unique_ptr<Beside> beside;
    on_own_thread([&] { beside = executions_->beside(token, command); });
    beside->start();
    std::atomic<bool> done{false};
    std::string wrong;
    std::thread in([&] {
      try {
        take_input(channel, *beside, done);
      } catch (const std::exception& e) {
        wrong = e.what();
        channel.close(wrong);
      }
    });
    end = give_output(channel, *beside, stopping_);
    done = true;
    in.join();
  } catch (const std::exception& e) {
    end = Beside::End{126, e.what()};
  }
  if (!end) return channel.close("the command was ended");
  tell(channel, TerminalFrame::ended, str(end->status, " ", end->reason));
  channel.finish();
}

}  // namespace wellspring::cluster
