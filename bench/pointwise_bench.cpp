// Times pointwise operators for bench/pointwise.py. Reads one case per line from standard input:
//   forward|backward|row OPERATOR f32|bf16 N seconds OUTPUT
// (row: the second operand is one row of N, broadcast) and answers with the median seconds of a
// call on [N, N] tensors, having written the result of one call, or the first operand's gradient,
// to OUTPUT (as f32;
// "-" for none). The inputs follow from the element's index alone.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>

#include "base/error.h"
#include "bench/timing.h"
#include "ops/pointwise.h"
#include "ops/pointwise_call.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

// Element i of input n: a hash to [0.25, 4.25).
Tensor input(const Shape& shape, DType dtype, uint32_t n) {
  std::vector<float> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i) {
    uint32_t h = (static_cast<uint32_t>(i) + n * 0x9e3779b9u) * 2654435761u;
    h = (h ^ (h >> 15)) * 2246822519u;
    h ^= h >> 13;
    x[i] = static_cast<float>(h >> 8) / 4194304.0f + 0.25f;
  }
  return Tensor::from(x, shape, dtype);
}

Tensor call(const PointwiseOp& op, const Tensors& x) {
  const auto with = [&](std::initializer_list<Operand> operands) {
    return op.params ? pointwise(op, operands, {op.defaults[0]}) : pointwise(op, operands, {});
  };
  return op.operands == 1   ? with({x[0]})
         : op.operands == 2 ? with({x[0], x[1]})
                            : with({x[0], x[1], x[2]});
}

double answer(std::istringstream& line) {
  std::string what, name, dtype_name, output;
  int64_t n;
  double seconds;
  line >> what >> name >> dtype_name >> n >> seconds >> output;
  const auto dtype = parse_dtype(dtype_name);
  const PointwiseOp* op = nullptr;
  for (const PointwiseOp* o : pointwise_operators())
    if (o->name == name) op = o;
  WS_CHECK(op && dtype && !output.empty(), "unknown operator or dtype, or too few words");
  Tensors x;
  for (int i = 0; i < op->operands; ++i) {
    x.push_back(input(what == "row" && i == 1 ? Shape{n} : Shape{n, n}, *dtype, i));
    if (op->masks >> i & 1) x[i] = lt(x[i], 2.0);
  }
  Tensor result;
  double time;
  if (what == "backward") {
    for (const Tensor& t : x) t.set_requires_grad(true);
    const Tensor y = call(*op, x), g = input({n, n}, *dtype, 7);
    time = median_seconds(seconds, [&] {
      for (const Tensor& t : x) t.set_grad({});
      backward(y, g, true);
    });
    result = x[0].grad();
  } else {
    time = median_seconds(seconds, [&] { result = call(*op, x); });
  }
  if (output != "-") write_values(output, result.to_vector<float>());
  return time;
}

}  // namespace
}  // namespace wellspring

int main() { return wellspring::answer_lines(std::cin, std::cout, wellspring::answer); }
