#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace wellspring {

double Schedule::at(int64_t step) const {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (kind == "constant") return peak;
  if (kind == "wsd") {
    int64_t left = steps - step;
    if (left > decay_steps) return peak;
    double share =
        static_cast<double>(std::max<int64_t>(left, 0)) / static_cast<double>(decay_steps);
    return peak * (final_share + (1 - final_share) * share);
  }
  double done = static_cast<double>(step - warmup) /
                static_cast<double>(std::max<int64_t>(steps - warmup, 1));
  double wave = 0.5 * (1 + std::cos(std::numbers::pi * std::min(done, 1.0)));
  return peak * (final_share + (1 - final_share) * wave);
}

}  // namespace wellspring
