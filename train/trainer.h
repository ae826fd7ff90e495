#pragma once
// The loop around a model. Two levels:
//   gradients()   one batch forward and backward, in micro-batches; with AdamW a whole step
//   train()       a run: data, schedule, evaluation, checkpoints, run folder, report

#include <cstdint>
#include <string>
#include <vector>

#include "models/decoder/model.h"
#include "train/adamw.h"
#include "train/held_out.h"
#include "train/options.h"

namespace wellspring {

/// Mean loss in nats of ids and targets i32 [B, T] (-100: not predicted), and its gradients, added
/// to what the parameters hold. B is cut into micro-batches of `micro_batch` rows, which weigh the
/// same (so every row should predict as many tokens). Dropout is a function of (seed, step,
/// micro-batch, place).
double gradients(const Decoder& model, const Tensor& ids, const Tensor& targets,
                 int64_t micro_batch, uint64_t seed = 0, int64_t step = 0);

/// One step: gradients clipped to a norm of `clip` (0: not), then AdamW at `rate`. `norm` is what
/// optimizer.gradient_norm() gave.
void clipped_step(AdamW& optimizer, double rate, double clip, double norm);

struct TrainResult {
  bool stopped = false;                // by a signal, with a checkpoint written
  int64_t step = 0, tokens = 0;        // of the whole run
  double seconds = 0;                  // in the loop, earlier attempts included
  double tokens_per_second = 0;        // of this attempt's steps
  double gemm_share = 0;               // of this attempt's steps
  double loss = 0;                     // of the last step
  std::vector<HeldOutScore> held_out;  // of the last evaluation
  std::string checkpoint, report;      // paths
};

/// Runs training in the run folder `out`. Without `resume` the folder must hold no checkpoint
/// (Error(Fault::usage)); with it the run goes on from its newest one, or begins when there is
/// none. Stops with a checkpoint when stop_requested(). Errors: Fault::data when a loss is not
/// finite or stays high, naming the step and the rows (details in attempts/N/bad_batch.json; the
/// step was not applied); Fault::io when the last checkpoint cannot be written (a checkpoint on the
/// way that fails is told and tried again at its next time). `quiet`: no progress on stderr.
TrainResult train(const TrainOptions& options, const std::string& out, bool resume,
                  bool quiet = false);

}  // namespace wellspring
