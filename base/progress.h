#pragma once
// Progress of long work and tables, for people at a terminal and for logs.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace wellspring {

/// One line with rate and ETA, rewritten in place on a terminal (10 Hz at most), printed as a plain
/// line every 10 s otherwise. Writes to stderr. Not thread-safe.
class Progress {
 public:
  /// `total` in `unit`s ("tokens", "files", "B"); 0 = unknown. Work that is resumed begins at
  /// `start`.
  Progress(const std::string& what, int64_t total, const std::string& unit, int64_t start = 0);
  /// For work whose end becomes known on the way.
  void set_total(int64_t total);
  ~Progress();
  /// `note` is shown behind the figures ("loss 3.21").
  void update(int64_t done, const std::string& note = "");
  /// Prints a line of its own; the figures go on below it.
  void message(const std::string& line);
  void finish(const std::string& note = "");

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Column-aligned table (widths in terminal columns: CJK counts two); numbers right-aligned; cut to
/// the terminal's width when stdout is one.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  void row(std::vector<std::string> cells);
  /// Columns that go, the first first, where the table is too wide and they say the same in each row.
  void may_drop(std::vector<size_t> columns) { droppable_ = std::move(columns); }
  std::string text() const;
  /// Cut to `limit` columns; 0: to none.
  std::string text(int limit) const;
  std::string markdown() const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> droppable_;
};

/// Set by SIGINT/SIGTERM once install_stop_signals() was called; long loops poll it between steps.
/// A second SIGINT ends the process at once with status 130.
void install_stop_signals();
/// 0, or the signal that asked to stop.
int stop_requested();

}  // namespace wellspring
