#pragma once
// A command beside the tasks of an attempt (`wellspring job exec`): the attempt's launcher starts it,
// in the container and with the rights of the tasks; here are the other ends of its streams.

#include <memory>
#include <optional>
#include <string>

namespace wellspring::cluster {

struct CommandBeside {
  int rank = 0;                // with this task's environment, on its cores
  std::string command;         // for /bin/sh -c; empty: the user's shell
  bool terminal = false;
  int rows = 24, columns = 80;  // of the terminal
};

/// Made by Executions::beside(); then any one thread's. Destroying it ends a command that still runs.
class Beside {
 public:
  /// Listens in `folder` (the spool) under `name`. `owner`: user id of the terminal; < 0: ours.
  Beside(const std::string& folder, const std::string& name, CommandBeside command, int64_t owner);
  ~Beside();
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

  /// Waits for the launcher and hands the command over. Error(Fault::io) when it does not come.
  void start();

  /// Our ends, not blocking; with a terminal the same one, and no error().
  int input() const { return input_; }
  int output() const { return output_; }
  int error() const { return error_; }
  /// Readable when ended() has something to say.
  int control() const { return control_; }
  /// The command reads the end of its input. A terminal has none: a Ctrl-D is written.
  void end_input();
  bool terminal() const { return command_.terminal; }
  void resize(int rows, int columns);

  struct End {
    int status = 0;      // 128 + signal
    std::string reason;  // "" when it ran to its end
  };
  /// How it ended; nullopt while it runs.
  std::optional<End> ended();

 private:
  void make_streams(int there[3]);

  const std::string path_;
  const CommandBeside command_;
  const int64_t owner_;
  int listener_ = -1, control_ = -1, input_ = -1, output_ = -1, error_ = -1;
};

}  // namespace wellspring::cluster
