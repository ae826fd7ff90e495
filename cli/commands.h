#pragma once
// The table of subcommands.

#include <string>
#include <vector>

namespace wellspring {

/// A subcommand. `run` is null for those whose code lies in libwellspring_engine.so, as
/// extern "C" int wellspring_command_NAME(int argc, char** argv).
struct Command {
  const char* name;
  const char* summary;
  int (*run)(int argc, char** argv);
};

const std::vector<Command>& commands();

/// Runs `command`; argv[0] is the command's name. Loads the engine library when it is needed:
/// Error(Fault::missing) when it, or the command in it, is not there.
int run_command(const Command& command, int argc, char** argv);

}  // namespace wellspring
