#pragma once
// What the programs of bench/ share: time, and answering a script.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <istream>
#include <ostream>
#include <sstream>
#include <string>
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

/// Writes numbers to a file as f32.
inline void write_values(const std::string& file, const std::vector<float>& values) {
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(float)));
}

/// Answers each line of `in` with a line of `out`: what answer(words) gives.
template <class F>
int answer_lines(std::istream& in, std::ostream& out, F&& answer) {
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    out << answer(words) << std::endl;
  }
  return 0;
}

}  // namespace wellspring
