// Times matrix products for bench/matmul.py. Reads one case per line from standard input:
//   NN|NT|TN f32|bf16 f32|bf16 M N K seconds OUTPUT
// (layouts of A and B, their dtype, that of the result) and answers with the median seconds of a
// call, having written the result of one call to OUTPUT (raw f32; "-": not). "linear|backward
// f32|bf16 f32|bf16 M N K ..." times x [M, K] with weight [N, K] and bias, or the gradients of all
// three (the second dtype is not used). The inputs follow from the element's index alone.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>

#include "bench/timing.h"
#include "ops/matmul.h"
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

Tensor matrix(int64_t rows, int64_t columns, bool turned, DType dtype, uint32_t n) {
  if (!turned) return input({rows, columns}, dtype, n);
  return input({columns, rows}, dtype, n).as_strided({rows, columns}, {1, rows}, 0);
}

struct Case {
  std::string what;
  DType in, out;
  int64_t m, n, k;
  double seconds;
};

// The result, and in `time` the median seconds.
Tensor run_case(const Case& c, double& time) {
  if (c.what == "linear" || c.what == "backward") {
    const Tensor x = input({c.m, c.k}, c.in, 0), w = input({c.n, c.k}, c.in, 1),
                 b = input({c.n}, c.in, 2);
    Tensor y;
    if (c.what == "linear") {
      time = median_seconds(c.seconds, [&] { y = linear(x, w, b); });
      return y;
    }
    for (const Tensor& t : {x, w, b}) t.set_requires_grad(true);
    const Tensor out = input({c.m, c.n}, c.in, 3);
    y = linear(x, w, b);
    time = median_seconds(c.seconds, [&] {
      for (const Tensor& t : {x, w, b}) t.set_grad({});
      backward(y, out, true);
    });
    return w.grad();
  }
  static KernelRef kernel("matmul");
  const Tensor a = matrix(c.m, c.k, c.what[0] == 'T', c.in, 0);
  const Tensor b = matrix(c.k, c.n, c.what[1] == 'T', c.in, 1);
  const Tensor y = Tensor::empty({c.m, c.n}, c.out);
  time = median_seconds(c.seconds, [&] { launch(kernel, {y}, {a, b, Tensor()}, {false}); });
  return y;
}

int run() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string in, out, output;
    Case c;
    words >> c.what >> in >> out >> c.m >> c.n >> c.k >> c.seconds >> output;
    const auto in_type = parse_dtype(in), out_type = parse_dtype(out);
    if (!words || !in_type || !out_type) {
      std::cerr << "matmul_bench: cannot read the case '" << line << "'\n";
      return 64;
    }
    c.in = *in_type, c.out = *out_type;
    double time = 0;
    const Tensor y = run_case(c, time);
    if (output != "-") {
      const auto values = y.to_vector<float>();
      std::ofstream(output, std::ios::binary)
          .write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    }
    std::cout << time << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace wellspring

int main() { return wellspring::run(); }
