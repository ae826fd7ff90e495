// Times linear_cross_entropy, forward and backward, for bench/loss.py. Reads lines
//   loss|gemms|peak f32|bf16 ROWS WIDTH CLASSES seconds OUTPUT
// from standard input and answers: loss, the median seconds of a call, having written loss, dx and
// the first 1000 rows of dweight to OUTPUT (f32, raw; "-" for none); gemms, those of its three
// matrix products alone, with all logits stored; peak, the bytes by which the process's resident
// memory rose during its first call. Inputs follow from the element's index alone.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "ops/loss.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median_seconds(double budget, const std::function<void()>& f) {
  std::vector<double> times;
  for (double end = now() + budget; now() < end || times.empty();) {
    const double begin = now();
    f();
    times.push_back(now() - begin);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

uint32_t hashed(uint32_t i, uint32_t n) {
  uint32_t h = (i + n * 0x9e3779b9u) * 2654435761u;
  h = (h ^ (h >> 15)) * 2246822519u;
  return h ^ (h >> 13);
}

// Element i of input n is in [-size, size).
Tensor input(const Shape& shape, uint32_t n, DType dtype, float size) {
  std::vector<float> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] =
        size * (static_cast<float>(hashed(static_cast<uint32_t>(i), n) >> 8) / 8388608.0f - 1.0f);
  return Tensor::from(x, shape, dtype);
}

// A field of /proc/self/status, in bytes.
int64_t status_of(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;)
    if (word == field + ":" && file >> word) return std::stoll(word) * 1024;
  return 0;
}

struct Problem {
  Tensor x, weight, targets;

  Problem(DType dtype, int64_t rows, int64_t width, int64_t classes)
      : x(input({rows, width}, 0, dtype, 1)), weight(input({classes, width}, 1, dtype, 0.1f)) {
    std::vector<int32_t> t(rows);
    for (int64_t i = 0; i < rows; ++i)
      t[i] = static_cast<int32_t>(hashed(static_cast<uint32_t>(i), 2) % classes);
    targets = Tensor::from(t, {rows});
    x.set_requires_grad(true), weight.set_requires_grad(true);
  }
  Tensor run() const {
    x.set_grad({}), weight.set_grad({});
    const Tensor loss = linear_cross_entropy(x, weight, targets);
    backward(loss);
    return loss;
  }
};

void write_results(const Problem& p, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  const int64_t rows = std::min<int64_t>(1000, p.weight.size(0));
  const Tensor loss = p.run(), head = p.weight.grad().as_strided({rows, p.weight.size(1)},
                                                                 {p.weight.size(1), 1}, 0);
  for (const Tensor& t : {loss, p.x.grad(), head}) {
    const std::vector<float> v = t.to_vector<float>();
    file.write(reinterpret_cast<const char*>(v.data()),
               static_cast<std::streamsize>(v.size() * sizeof(float)));
  }
}

double time_gemms(const Problem& p, double budget) {
  static KernelRef matmul("matmul");
  const Tensor x = p.x.detach(), w = p.weight.detach();
  const int64_t N = x.size(0), D = x.size(1), V = w.size(0);
  const Tensor logits = Tensor::full({N, V}, 1e-4, x.dtype()),
               dx = Tensor::empty({N, D}, x.dtype());
  const Tensor dw = Tensor::empty({V, D});
  return median_seconds(budget, [&] {
    launch(matmul, {logits}, {x, w.as_strided({D, V}, {1, D}, 0), Tensor()}, {false});
    launch(matmul, {dx}, {logits, w, Tensor()}, {false});
    launch(matmul, {dw}, {logits.as_strided({V, N}, {1, V}, 0), x, Tensor()}, {false});
  });
}

double answer(const std::string& line) {
  std::istringstream words(line);
  std::string what, dtype, output;
  int64_t rows = 0, width = 0, classes = 0;
  double budget = 0;
  words >> what >> dtype >> rows >> width >> classes >> budget >> output;
  const Problem p(*parse_dtype(dtype), rows, width, classes);
  if (what == "gemms") return time_gemms(p, budget);
  if (what == "peak") {
    const int64_t before = status_of("VmRSS");
    std::ofstream("/proc/self/clear_refs") << 5;  // the peak counts from here
    p.run();
    return static_cast<double>(status_of("VmHWM") - before);
  }
  if (output != "-") write_results(p, output);
  return median_seconds(budget, [&] { p.run(); });
}

}  // namespace
}  // namespace wellspring

int main() {
  for (std::string line; std::getline(std::cin, line);)
    std::cout << wellspring::answer(line) << std::endl;
}
