#pragma once
// Lines that somebody types: in a terminal with editing and a history that is kept.

#include <atomic>
#include <memory>
#include <string>

namespace wellspring {

/// One thread; at most one at a time.
class LineReader {
 public:
  /// `terminal`: edited by libedit, if that is there (else it is said once); lines that were read are kept in `history`,
  /// a file that is made readable to its owner alone ("": nowhere). Otherwise lines come from standard input as they are.
  /// `interrupted`: what the handler of SIGINT sets.
  LineReader(bool terminal, std::string history, std::atomic<bool>& interrupted);
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  enum class Got { line, interrupt, end };
  /// Shows `sign` in a terminal. An interrupt is Ctrl-C in a terminal, also one that came before the call and is still in
  /// `interrupted` (taken back there): what was typed of the line is dropped.
  Got read(const std::string& sign, std::string& line);

 private:
  struct Editor;
  const bool terminal_;
  std::atomic<bool>& interrupted_;
  std::unique_ptr<Editor> editor_;  // null: plain
};

/// Where chat's history is kept: $XDG_STATE_HOME/wellspring/chat_history, else in ~/.local/state; "" without a HOME.
std::string chat_history_file();

}  // namespace wellspring
