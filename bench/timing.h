#pragma once
// What the programs of bench/ time with.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace wellspring {

/// Seconds on a clock that never goes back.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The median time of a call of f(), in seconds: one call to warm up, then for `budget` seconds,
/// three calls at least.
template <class F>
double median_seconds(double budget, F&& f) {
  f();
  std::vector<double> times;
  for (const double end = now() + budget; now() < end || times.size() < 3;) {
    const double begin = now();
    f();
    times.push_back(now() - begin);
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

}  // namespace wellspring
