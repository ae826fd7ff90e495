#include "train/checkpoint.h"

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr int kVersion = 1;

// Removes a half-written folder whatever ends the writing.
struct Temporary {
  std::string path;
  ~Temporary() {
    try {
      if (exists(path)) remove_all(path);
    } catch (const Error&) {
      // It is removed by the next prune_checkpoints().
    }
  }
};

}  // namespace

void save_checkpoint(RunFolder& run, const Decoder& model, const AdamW& optimizer,
                     const TrainState& state, const std::string& tokenizer) {
  Temporary temporary{run.temporary_checkpoint()};
  if (exists(temporary.path)) remove_all(temporary.path);
  SaveOptions options;
  options.tokenizer_from = tokenizer;
  save_decoder(model, temporary.path, options);
  write_safetensors(join_path(temporary.path, "optimizer.safetensors"), optimizer.state(),
                    {{"format", "wellspring"}});
  Json json = {{"version", kVersion},
               {"step", state.step},
               {"seconds", state.seconds},
               {"random", {{"seed", state.seed}, {"step", state.step}}},
               {"data", parse_json(state.data, "data position")},
               {"plan", parse_json(state.plan, "plan")}};
  write_file_atomic(join_path(temporary.path, "state.json"), to_text(json, 1) + "\n");
  run.publish_checkpoint(temporary.path, state.step);
}

TrainState read_train_state(const std::string& checkpoint) {
  const std::string path = join_path(checkpoint, "state.json");
  Json json = read_json(path);
  auto wrong = [&](const std::string& field) {
    throw Error(Fault::data, str(path, ": field '", field, "' is missing or of another type"));
  };
  if (!json.is_object() || json.value("version", Json()) != kVersion) wrong("version");
  if (!json.contains("step") || !json["step"].is_number_integer()) wrong("step");
  if (!json.contains("seconds") || !json["seconds"].is_number()) wrong("seconds");
  if (!json.contains("random") || !json["random"].is_object() ||
      !json["random"].value("seed", Json()).is_number_integer())
    wrong("random");
  if (!json.contains("data") || !json["data"].is_object()) wrong("data");
  if (!json.contains("plan") || !json["plan"].is_array()) wrong("plan");
  TrainState state;
  state.step = json["step"];
  state.seconds = json["seconds"];
  state.seed = json["random"]["seed"];
  state.data = to_text(json["data"]);
  state.plan = to_text(json["plan"]);
  return state;
}

void restore_optimizer(const std::string& checkpoint, const TrainState& state, AdamW& optimizer) {
  optimizer.restore(Safetensors(join_path(checkpoint, "optimizer.safetensors")), state.step);
}

}  // namespace wellspring
