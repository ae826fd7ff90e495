#pragma once
// What a run does: the keys of RUN.yaml.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/loader.h"
#include "models/decoder/config.h"
#include "tensor/chip.h"
#include "tensor/dtype.h"
#include "train/adamw.h"
#include "train/guard.h"
#include "train/schedule.h"

namespace wellspring {

class Config;

struct TrainOptions {
  uint64_t seed = 1;      // of weights, order of data, dropout, samples
  std::string tokenizer;  // folder that checkpoints get it from; empty: none (tokens are bytes)
  std::vector<MixPart> train, eval;
  int32_t eos = 0;    // separates documents
  std::string start;  // model folder that the weights come from; empty: drawn from `seed`
  DecoderConfig model;
  Device device;             // that the model computes on
  DType dtype = DType::f32;  // of matrix products
  int64_t sequence = 512, batch = 8, micro_batch = 8;
  int64_t steps = 0;         // at most; 0: as many as fit into max_seconds
  double max_seconds = 0;    // 0: no limit
  Schedule schedule;         // its steps follow from the two above while running
  double decay_share = 0.2;  // of all steps, where the wsd schedule decays
  AdamwSettings optimizer;
  double clip = 1;  // most norm of all gradients; 0: no clipping
  TrainingGuard::Options guard;
  int64_t eval_every = 0, eval_tokens = 0;  // 0: only at the end; all held-out tokens
  int64_t checkpoint_every = 0;             // steps; 0: only at the end and when stopped
  int64_t keep = 2;                         // checkpoints
  std::vector<std::string> samples;
  int64_t sample_tokens = 60;
  std::string resolved;  // all of it as YAML, defaults filled in

  /// Reads every key and refuses others: Error(Fault::config) naming file, line and the nearest
  /// known key. Opens the datasets: model.vocab and model.eos default to theirs. `dtype: auto` is
  /// bf16 where the device multiplies it natively and f32 elsewhere. Paths are relative to the
  /// working folder.
  static TrainOptions read(Config& config);
};

/// Names and YAML texts of the presets that the program carries: train/presets/NAME.yaml.
std::vector<std::pair<std::string, std::string>> presets();
/// One of them. Error(Fault::usage) naming the known ones.
std::string preset(const std::string& name);

}  // namespace wellspring
