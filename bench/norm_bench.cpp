// Times norms, gates, rotary, dropout, embedding and AdamW for bench/norm.py. Reads lines
//   OPERATOR forward|both f32|bf16 ROWS WIDTH seconds OUTPUT
// from standard input and answers with the median seconds of a call (both: forward and backward),
// having written the results of one call to OUTPUT (f32, raw: the result, then the gradients; "-"
// for none). Inputs follow from the element's index alone.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "ops/activation.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/norm.h"
#include "ops/optimizer.h"
#include "ops/rotary.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

constexpr int64_t kVocabulary = 50257;  // of the embedding
constexpr int64_t kHead = 64;           // width of a head

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median_seconds(double budget, const std::function<void()>& f) {
  f();
  std::vector<double> times;
  for (double end = now() + budget; now() < end || times.size() < 3;) {
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

// Element i of input n is in [-1, 1).
Tensor input(const Shape& shape, uint32_t n, DType dtype = DType::f32) {
  std::vector<float> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(hashed(static_cast<uint32_t>(i), n) >> 8) / 8388608.0f - 1.0f;
  return Tensor::from(x, shape, dtype);
}

struct Case {
  Tensors inputs;               // those that get gradients, and others
  size_t leaves = 0;            // how many of them get gradients
  std::function<Tensor()> run;  // one forward call
};

Case make_norm(const std::string& op, const Shape& shape, DType dtype) {
  const Tensor x = input(shape, 0, dtype), y = input(shape, 1, dtype);
  const Tensor w = input({shape[1]}, 2), b = input({shape[1]}, 3);
  if (op == "rms_norm") return {{x, w}, 2, [=] { return rms_norm(x, w); }};
  if (op == "layer_norm") return {{x, w, b}, 3, [=] { return layer_norm(x, w, b); }};
  return {{x, y, w}, 3, [=] { return std::get<1>(add_rms_norm(x, y, w)); }};
}

Case make_case(const std::string& op, int64_t rows, int64_t width, DType dtype) {
  const Shape shape{rows, width};
  const Tensor x = input(shape, 0, dtype);
  if (op == "swiglu") return {{x}, 1, [=] { return swiglu(x); }};
  if (op == "dropout") return {{x}, 1, [=] { return dropout(x, 0.1, 1); }};
  if (op == "rotary") {
    const Tensor heads =
        x.as_strided({1, rows, width / kHead, kHead}, {rows * width, width, kHead, 1}, 0);
    const Tensor cos = input({rows, kHead / 2}, 2), sin = input({rows, kHead / 2}, 3);
    return {{heads}, 1, [=] { return rotary(heads, cos, sin); }};
  }
  if (op == "embedding") {
    const Tensor table = input({kVocabulary, width}, 0, dtype);
    std::vector<int32_t> ids(rows);
    for (int64_t i = 0; i < rows; ++i)
      ids[i] = static_cast<int32_t>(hashed(static_cast<uint32_t>(i), 9) % kVocabulary);
    const Tensor places = Tensor::from(ids, {rows});
    return {{table}, 1, [=] { return embedding(table, places, DType::f32); }};
  }
  return make_norm(op, shape, dtype);
}

void write_values(std::ofstream& file, const Tensor& t) {
  const std::vector<float> v = t.to_vector<float>();
  file.write(reinterpret_cast<const char*>(v.data()),
             static_cast<std::streamsize>(v.size() * sizeof(float)));
}

double time_case(const Case& c, bool both, double budget, const std::string& output) {
  std::ofstream file;
  if (output != "-") file.open(output, std::ios::binary);
  for (size_t i = 0; both && i < c.leaves; ++i) c.inputs[i].set_requires_grad(true);
  const Tensor result = c.run();
  if (output != "-") write_values(file, result);
  if (!both) return median_seconds(budget, [&] { c.run(); });
  const Tensor seed = input(result.shape(), 5, result.dtype());
  const auto clear = [&] {
    for (size_t i = 0; i < c.leaves; ++i) c.inputs[i].set_grad({});
  };
  backward(result, seed);
  for (size_t i = 0; output != "-" && i < c.leaves; ++i) write_values(file, c.inputs[i].grad());
  return median_seconds(budget, [&] { clear(), backward(c.run(), seed); });
}

double time_adamw(int64_t count, bool copies, double budget, const std::string& output) {
  const Tensor p = input({count}, 0), g = input({count}, 1), m = Tensor::zeros({count}),
               v = Tensor::zeros({count});
  const Tensor copy = copies ? Tensor::empty({count}, DType::bf16) : Tensor();
  AdamwOptions o;
  o.weight_decay = 0.1;
  const auto step = [&] { adamw_(p, g, m, v, copy, o), ++o.step; };
  for (int i = 0; i < 3; ++i) step();
  std::ofstream file;
  if (output != "-") file.open(output, std::ios::binary), write_values(file, p);
  return median_seconds(budget, step);
}

void answer(const std::string& line) {
  std::istringstream words(line);
  std::string op, pass, dtype, output;
  int64_t rows = 0, width = 0;
  double budget = 0, seconds = 0;
  words >> op >> pass >> dtype >> rows >> width >> budget >> output;
  if (op == "adamw") {
    seconds = time_adamw(rows * width, dtype == "bf16", budget, output);
  } else {
    seconds =
        time_case(make_case(op, rows, width, *parse_dtype(dtype)), pass == "both", budget, output);
  }
  std::cout << seconds << std::endl;
}

}  // namespace
}  // namespace wellspring

int main() {
  for (std::string line; std::getline(std::cin, line);) wellspring::answer(line);
}
