#include "cli/commands.h"

#include <dlfcn.h>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {

// One line per command that needs no engine: its function stands in cli/NAME.cpp.
[[gnu::weak]] int command_text(int argc, char** argv);
[[gnu::weak]] int command_data(int argc, char** argv);
[[gnu::weak]] int command_cluster(int argc, char** argv);
[[gnu::weak]] int command_job(int argc, char** argv);
[[gnu::weak]] int command_bench(int argc, char** argv);

const std::vector<Command>& commands() {
  static constexpr auto kEngine = nullptr;  // cli/engine/NAME.cpp
  static const std::vector<Command> kCommands = {
      {"text", "tokenizers: train, encode, decode", command_text},
      {"data", "turn text into shards for training", command_data},
      {"train", "train a model as RUN.yaml says", kEngine},
      {"eval", "measure a model: bits per byte", kEngine},
      {"generate", "continue a prompt", kEngine},
      {"export", "write a model for other programs", kEngine},
      {"quantize", "write a model with weights of 8 or 4 bits", kEngine},
      {"chat", "talk with a model", kEngine},
      {"serve", "serve a model over HTTP (OpenAI's API)", kEngine},
      {"bench", "measure a server under load", command_bench},
      {"cluster", "run a cluster, and look after it", command_cluster},
      {"job", "submit jobs to a cluster and look after them", command_job},
      {"ops", "list, check and time the operators", kEngine},
  };
  return kCommands;
}

namespace {

constexpr const char* kLibrary = "libwellspring_engine.so";

using Run = int (*)(int, char**);

Run load(const std::string& name) {
  // Found through the program's run path (../lib beside bin/). Never closed: threads of its
  // libraries may still run at exit.
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = ::dlerror();
    throw Error(Fault::missing,
                str("'wellspring ", name, "' needs the engine library, which does ",
                    "not load: ", why ? why : "unknown reason",
                    ". Build it with ./dev build, or install it beside the program"));
  }
  void* symbol = ::dlsym(library, str("wellspring_command_", name).c_str());
  if (!symbol)
    throw Error(Fault::missing, str(kLibrary, " holds no command '", name,
                                    "': it is of another version than this program"));
  return reinterpret_cast<Run>(symbol);
}

}  // namespace

int run_command(const Command& command, int argc, char** argv) {
  Run run = command.run ? command.run : load(command.name);
  return run(argc, argv);
}

}  // namespace wellspring
