#pragma once
// Checkpoint folders: a Hugging Face model folder with f32 weights, plus optimizer.safetensors and
// state.json. Written beside its place, synced, then renamed: a kill leaves the previous one whole.

#include <cstdint>
#include <memory>
#include <string>

#include "base/json_fwd.h"
#include "models/decoder/model.h"
#include "train/adamw.h"
#include "train/run_folder.h"

namespace wellspring {

/// What a run needs besides weights and moments to go on as if nothing had happened. All randomness
/// is a function of the seed and the step.
struct TrainState {
  int64_t step = 0;    // steps done
  double seconds = 0;  // used for them, evaluations included
  uint64_t seed = 0;
  std::string data;  // Loader::position() as JSON
  std::string plan;  // StepPlan::to_json() as JSON
};

/// Writes and publishes checkpoints/step-N. On Error (a full disk, another owner) nothing that was
/// there has changed. `tokenizer` is the folder whose tokenizer files are copied ("": none).
void save_checkpoint(RunFolder& run, const Decoder& model, const AdamW& optimizer,
                     const TrainState& state, const std::string& tokenizer);

/// Reads state.json. Error(Fault::data) naming file and field.
TrainState read_train_state(const std::string& checkpoint);
/// Fills the moments from optimizer.safetensors.
void restore_optimizer(const std::string& checkpoint, const TrainState& state, AdamW& optimizer);

}  // namespace wellspring
