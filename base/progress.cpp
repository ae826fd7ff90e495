#include "base/progress.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {

int terminal_width(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool can_rewrite_lines(int fd) {
  const char* term = std::getenv("TERM");
  return ::isatty(fd) && term && std::string_view(term) != "dumb";
}

double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

std::string amount(double n, const std::string& unit) {
  return unit == "B" ? human_bytes(n) : human_count(n);
}

}  // namespace

struct Progress::Impl {
  std::string what, unit;
  int64_t total, start, done;
  bool terminal = can_rewrite_lines(STDERR_FILENO);
  bool finished = false;
  double begin = now(), shown = terminal ? 0 : now();
  std::deque<std::pair<double, int64_t>> samples;  // of the last 20 s, for the rate

  double rate(double at) const {
    if (samples.empty() || at - samples.front().first < 1e-3) return 0;
    return static_cast<double>(done - samples.front().second) / (at - samples.front().first);
  }

  std::string line(double at, const std::string& note) const {
    std::string out = what + ": ";
    auto d = static_cast<double>(done), t = static_cast<double>(total);
    if (total > 0) {
      out +=
          str(static_cast<int64_t>(100 * d / t), "% (", amount(d, unit), " of ", amount(t, unit));
    } else {
      out += str("(", amount(d, unit));
    }
    out += unit == "B" ? ")" : str(" ", unit, ")");
    if (double r = rate(at); r > 0) {
      out += str(", ", amount(r, unit), "/s");
      if (total > done) out += str(", ", human_duration((t - d) / r), " left");
    }
    if (!note.empty()) out += str(", ", note);
    return out;
  }

  void show(std::string text, bool last) {
    if (terminal) {
      text = str("\r", cut_to_width(text, terminal_width(STDERR_FILENO) - 1), "\x1b[K",
                 last ? "\n" : "");
    } else {
      text += '\n';
    }
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }
};

Progress::Progress(const std::string& what, int64_t total, const std::string& unit, int64_t start)
    : impl_(std::make_unique<Impl>()) {
  impl_->what = what;
  impl_->total = total;
  impl_->start = impl_->done = start;
  impl_->unit = unit;
  impl_->samples.emplace_back(impl_->begin, start);
}

void Progress::set_total(int64_t total) { impl_->total = total; }

Progress::~Progress() {
  // An exception may be on its way: end the rewritten line, so that its message gets one of its
  // own.
  if (!impl_->finished && impl_->terminal && impl_->shown > 0) std::fputc('\n', stderr);
}

void Progress::update(int64_t done, const std::string& note) {
  impl_->done = done;
  double at = now();
  if (at - impl_->shown < (impl_->terminal ? 0.1 : 10.0)) return;
  impl_->shown = at;
  impl_->show(impl_->line(at, note), false);
  impl_->samples.emplace_back(at, done);
  while (impl_->samples.size() > 2 && at - impl_->samples.front().first > 20)
    impl_->samples.pop_front();
}

void Progress::message(const std::string& line) {
  std::string out = str(impl_->terminal ? "\r\x1b[K" : "", line, "\n");
  std::fwrite(out.data(), 1, out.size(), stderr);
  std::fflush(stderr);
}

void Progress::finish(const std::string& note) {
  double took = now() - impl_->begin;
  auto d = static_cast<double>(impl_->done - impl_->start);
  std::string out = str(impl_->what, ": ", amount(d, impl_->unit),
                        impl_->unit == "B" ? "" : " " + impl_->unit, " in ", human_duration(took));
  if (took > 0 && d > 0) out += str(", ", amount(d / took, impl_->unit), "/s");
  if (!note.empty()) out += str(", ", note);
  impl_->show(out, true);
  impl_->finished = true;
}

namespace {

// "12.3", "-4%", "12.3 MB", "1.2x": a number with at most a short unit behind it.
bool looks_numeric(const std::string& cell) {
  size_t end = cell.find_first_not_of("+-0123456789.eE");
  std::string_view unit;
  if (end != cell.npos) unit = trim(std::string_view(cell).substr(end));
  if (unit.find_first_of("0123456789") != unit.npos || unit.size() > 8) return false;
  return parse_double(trim(std::string_view(cell).substr(0, end))).has_value();
}

std::string pad(const std::string& cell, int width, bool right) {
  std::string space(static_cast<size_t>(std::max(0, width - display_width(cell))), ' ');
  return right ? space + cell : cell + space;
}

}  // namespace

Table::Table(std::vector<std::string> header) : header_(std::move(header)) {}

void Table::row(std::vector<std::string> cells) {
  WS_CHECK(cells.size() == header_.size(), "a table's row has a cell per column");
  rows_.push_back(std::move(cells));
}

std::string Table::text() const { return text(::isatty(STDOUT_FILENO) ? terminal_width(STDOUT_FILENO) : 0); }

std::string Table::text(int limit) const {
  std::vector<int> widths;
  std::vector<bool> right;
  for (size_t c = 0; c < header_.size(); ++c) {
    int width = display_width(header_[c]);
    bool numbers = !rows_.empty();
    for (const auto& cells : rows_) {
      width = std::max(width, display_width(cells[c]));
      numbers = numbers && (cells[c].empty() || cells[c] == "-" || looks_numeric(cells[c]));
    }
    widths.push_back(width);
    right.push_back(numbers);
  }
  std::vector<bool> dropped(header_.size());
  int total = -2;
  for (int width : widths) total += width + 2;
  for (size_t c : droppable_) {
    if (limit <= 0 || total <= limit) break;
    if (std::ranges::any_of(rows_, [&](const auto& cells) { return cells[c] != rows_[0][c]; })) continue;
    dropped[c] = true;
    total -= widths[c] + 2;
  }
  std::string out;
  auto add = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t c = 0; c < cells.size(); ++c)
      if (!dropped[c]) line += (line.empty() ? "" : "  ") + pad(cells[c], widths[c], right[c]);
    while (line.ends_with(' ')) line.pop_back();
    out += (limit > 0 ? cut_to_width(line, limit) : line) + "\n";
  };
  add(header_);
  std::vector<std::string> rule;
  for (int width : widths) rule.emplace_back(static_cast<size_t>(width), '-');
  add(rule);
  for (const auto& cells : rows_) add(cells);
  return out;
}

std::string Table::markdown() const {
  auto line = [](const std::vector<std::string>& cells) {
    std::string out = "|";
    for (std::string cell : cells) {
      for (size_t at = 0; (at = cell.find('|', at)) != cell.npos; at += 2) cell.insert(at, "\\");
      out += str(" ", cell, " |");
    }
    return out + "\n";
  };
  std::string out = line(header_) + line(std::vector<std::string>(header_.size(), "---"));
  for (const auto& cells : rows_) out += line(cells);
  return out;
}

namespace {

std::atomic<int> g_stop{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_stop(int signal) {
  if (signal == SIGINT && g_stop.load() == SIGINT) ::_exit(130);
  g_stop.store(signal);
}

}  // namespace

void install_stop_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

int stop_requested() { return g_stop.load(std::memory_order_relaxed); }

}  // namespace wellspring
