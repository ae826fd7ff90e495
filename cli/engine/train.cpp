// wellspring train: a run from its configuration to a model.

#include <cstdio>

#include "base/args.h"
#include "base/config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/threads.h"
#include "train/run_folder.h"
#include "train/trainer.h"

namespace wellspring {
namespace {

struct Line {
  std::string file, out, preset;
  std::vector<std::string> settings;
  bool resume = false, json = false;
};

// The configuration of the newest attempt of a run folder.
std::string last_configuration(const std::string& out) {
  const std::string attempts = join_path(out, "attempts");
  int64_t last = 0;
  if (is_directory(attempts))
    for (const std::string& name : list_directory(attempts))
      if (auto n = parse_int(name); n && exists(join_path(join_path(attempts, name), "run.yaml")))
        last = std::max(last, *n);
  if (last == 0) throw Error(Fault::usage, str(out, " holds no run to resume; give RUN.yaml"));
  return join_path(join_path(attempts, str(last)), "run.yaml");
}

Config read_configuration(Line& line) {
  if (!line.file.empty() && !line.preset.empty())
    throw Error(Fault::usage, "give RUN.yaml or --preset, not both");
  if (!line.preset.empty()) {
    if (line.out.empty()) line.out = "runs/train-" + line.preset;
    return Config::parse(preset(line.preset), str("preset ", line.preset));
  }
  if (line.file.empty()) {
    if (!line.resume || line.out.empty())
      throw Error(Fault::usage, "give RUN.yaml, or --preset NAME, or --resume --out DIR");
    return Config::read(last_configuration(line.out));
  }
  if (line.out.empty()) {
    std::string name = base_name(line.file);
    line.out = "runs/train-" + name.substr(0, name.find('.'));
  }
  return Config::read(line.file);
}

Json to_json(const TrainResult& r, const std::string& out) {
  Json held_out = Json::object();
  for (const HeldOutScore& s : r.held_out)
    held_out[s.name] = {{"documents", s.documents},
                        {"tokens", s.tokens},
                        {"bytes", s.bytes},
                        {"nats", s.nats},
                        {"bits_per_byte", s.bits_per_byte()}};
  return {{"run", out},
          {"state", r.stopped ? "stopped" : "finished"},
          {"step", r.step},
          {"tokens", r.tokens},
          {"seconds", r.seconds},
          {"tokens_per_second", r.tokens_per_second},
          {"gemm_share", r.gemm_share},
          {"loss", r.loss},
          {"held_out", held_out},
          {"checkpoint", r.checkpoint},
          {"report", r.report}};
}

}  // namespace
}  // namespace wellspring

extern "C" int wellspring_command_train(int argc, char** argv) {
  using namespace wellspring;
  Line line;
  std::vector<std::string> names;
  for (auto& [name, text] : presets()) names.push_back(name);
  Args args("wellspring train",
            "Train a model as RUN.yaml says. Ctrl-C or SIGTERM writes a checkpoint and leaves with "
            "status 75; "
            "a second Ctrl-C leaves at once.");
  args.positional("RUN.yaml", &line.file, "what to train (train/presets/demo.yaml shows the keys)",
                  false);
  args.option("--out", &line.out, "DIR",
              "run folder (runs/train-NAME, after RUN.yaml or the preset)");
  args.option("--set", &line.settings, "KEY=VALUE", "change a key, e.g. train.steps=100");
  args.option("--preset", &line.preset, "NAME",
              str("a configuration that comes with the program: ", join(names, ", ")));
  args.flag("--resume", &line.resume,
            "go on from the run folder's newest checkpoint (or begin, when there is none)");
  args.flag("--json", &line.json, "print the result as JSON");
  args.example("wellspring train run.yaml --out runs/first --set train.max_seconds=600");
  if (!args.parse(argc, argv)) return 0;
  Config config = read_configuration(line);
  for (const std::string& setting : line.settings) config.set(setting);
  const TrainOptions options = TrainOptions::read(config);
  install_stop_signals();
  const TrainResult result = train(options, line.out, line.resume);
  if (line.json)
    std::printf("%s\n", to_text(to_json(result, line.out), 2).c_str());
  else
    std::printf("checkpoint: %s\nreport: %s\n", result.checkpoint.c_str(), result.report.c_str());
  if (!result.stopped) return 0;
  std::fprintf(stderr, "stopped at step %ld; go on with: wellspring train --resume --out %s\n",
               static_cast<long>(result.step), line.out.c_str());
  return static_cast<int>(Fault::try_again);
}
