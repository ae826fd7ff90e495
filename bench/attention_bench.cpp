// Times the attention kernels for bench/attention.py. Reads one case per line from standard input:
//   forward|backward|decode f32|bf16 B T S H Hk D seconds OUTPUT
// and answers with the median seconds of a call, having written the results of one call to OUTPUT
// (raw, in the order o, or dq dk dv; "-" for none). The inputs follow from the element's index
// alone.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "base/threads.h"
#include "bench/timing.h"
#include "ops/attention.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

// Element i of input n: a hash to [-1, 1).
Tensor input(const Shape& shape, DType dtype, uint32_t n) {
  std::vector<float> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i) {
    uint32_t h = (static_cast<uint32_t>(i) + n * 0x9e3779b9u) * 2654435761u;
    h = (h ^ (h >> 15)) * 2246822519u;
    h ^= h >> 13;
    x[i] = static_cast<float>(h >> 8) / 8388608.0f - 1.0f;
  }
  return Tensor::from(x, shape, dtype);
}

void write(std::ofstream& file, const Tensor& t) {
  const auto values = t.to_vector<float>();
  file.write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

int run() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what, type, output;
    int64_t B, T, S, H, Hk, D;
    double seconds;
    words >> what >> type;
    words >> B >> T >> S >> H >> Hk >> D >> seconds >> output;
    const std::optional<DType> dtype = parse_dtype(type);
    if (!words || !dtype) {
      std::cerr << "attention_bench: cannot read the case '" << line << "'\n";
      return 64;
    }
    std::vector<Tensor> results;
    double time;
    if (what == "backward") {
      static KernelRef forward("attention"), backward("attention_backward");
      const Tensor qkv = input({B, T, H + 2 * Hk, D}, *dtype, 0),
                   out = input({B, T, H, D}, *dtype, 1);
      const Tensor grad = Tensor::empty(qkv.shape(), *dtype);
      const Tensor o = Tensor::empty({B, T, H, D}, *dtype), lse = Tensor::empty({B, H, T});
      const auto part = [&](const Tensor& t, int64_t from, int64_t n) {
        return t.as_strided({B, T, n, D}, t.strides(), from * D);
      };
      const Tensor q = part(qkv, 0, H), k = part(qkv, H, Hk), v = part(qkv, H + Hk, Hk);
      launch(forward, {o, lse}, {q, k, v, Tensor()}, {true, 0.0});
      results = {part(grad, 0, H), part(grad, H, Hk), part(grad, H + Hk, Hk)};
      time = median_seconds(seconds, [&] {
        launch(backward, {results[0], results[1], results[2]}, {out, q, k, v, o, lse}, {true, 0.0});
      });
    } else if (T == S) {
      const Tensor qkv = input({B, T, H + 2 * Hk, D}, *dtype, 0);
      results = {Tensor()};
      time = median_seconds(seconds, [&] { results[0] = attention_qkv(qkv, H, Hk); });
    } else {
      const Tensor q = input({B, T, H, D}, *dtype, 0), k = input({B, S, Hk, D}, *dtype, 1),
                   v = input({B, S, Hk, D}, *dtype, 2);
      results = {Tensor()};
      time = median_seconds(seconds, [&] { results[0] = attention(q, k, v); });
    }
    if (output != "-") {
      std::ofstream file(output, std::ios::binary);
      for (const Tensor& t : results) write(file, t);
    }
    std::cout << time << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace wellspring

int main() { return wellspring::run(); }
