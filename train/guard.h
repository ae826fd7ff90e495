#pragma once
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

namespace wellspring {

/// Watches loss and gradient norm. A value that is not finite, or a loss that stays above the
/// running median by `spike_factor` times the running deviation for `patience` steps, is reported.
class TrainingGuard {
 public:
  struct Options {
    double spike_factor = 8;  // in median absolute deviations; 0 switches spikes off
    double least_rise = 0.5;  // nats above the median that a spike has at least
    int patience = 3;         // steps in a row
    int window = 64;          // steps looked back; spikes are judged once it is half full
  };
  explicit TrainingGuard(Options options) : options_(options) {}

  /// What is wrong at this step ("loss is nan"), or nothing.
  std::optional<std::string> check(int64_t step, double loss, double gradient_norm);
  /// The step with which the present rise of the loss began; nothing while the loss is as usual.
  std::optional<int64_t> rise() const { return high_ ? std::optional(first_high_) : std::nullopt; }

 private:
  Options options_;
  std::deque<double> recent_;
  int high_ = 0;            // steps in a row
  int64_t first_high_ = 0;  // the first of them
};

}  // namespace wellspring
