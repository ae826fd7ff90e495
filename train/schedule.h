#pragma once
#include <cstdint>
#include <string>

namespace wellspring {

/// Learning-rate schedules as a pure function of the step.
///   cosine: linear warm-up, then half a cosine down to `final_share` of the peak.
///   wsd:    warm-up, stable, then a linear decay over the last `decay_steps` (Hu et al. 2024).
///   constant: warm-up, then flat.
struct Schedule {
  std::string kind = "cosine";
  double peak = 1e-3;
  double final_share = 0.1;
  int64_t warmup = 0, steps = 0, decay_steps = 0;

  /// Rate at step 0 .. steps - 1 (the first step already has 1/warmup of the peak).
  double at(int64_t step) const;
};

}  // namespace wellspring
