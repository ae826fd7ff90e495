// Times reductions, softmax, copies and picking for bench/reduce.py. Reads one case per line from
// standard input:
//   WHAT f32|bf16 N seconds OUTPUT
// and answers with the median seconds of a call on [N, N] tensors, having written the result of one
// call to OUTPUT (as f32; "-" for none). The inputs follow from the element's index alone.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>

#include "base/error.h"
#include "bench/inputs.h"
#include "bench/timing.h"
#include "ops/index.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

struct Inputs {
  Tensor x, y, places, list;
};

const std::map<std::string, std::function<Tensor(const Inputs&)>> kCases{
    {"sum", [](const Inputs& in) { return sum(in.x); }},
    {"sum_0", [](const Inputs& in) { return sum(in.x, {0}); }},
    {"sum_1", [](const Inputs& in) { return sum(in.x, {1}); }},
    {"mean_1", [](const Inputs& in) { return mean(in.x, {1}); }},
    {"var_1", [](const Inputs& in) { return var(in.x, {1}); }},
    {"amax_1", [](const Inputs& in) { return amax(in.x, {1}); }},
    {"argmax_0", [](const Inputs& in) { return argmax(in.x, 0); }},
    {"argmax_1", [](const Inputs& in) { return argmax(in.x, 1); }},
    {"softmax_1", [](const Inputs& in) { return softmax(in.x, 1); }},
    {"softmax_0", [](const Inputs& in) { return softmax(in.x, 0); }},
    {"log_softmax_1", [](const Inputs& in) { return log_softmax(in.x, 1); }},
    {"transpose", [](const Inputs& in) { return clone(transpose(in.x, 0, 1)); }},
    {"clone", [](const Inputs& in) { return clone(in.x); }},
    {"convert",
     [](const Inputs& in) {
       return to(in.x, in.x.dtype() == DType::f32 ? DType::bf16 : DType::f32);
     }},
    {"cat_0",
     [](const Inputs& in) {
       return cat(Tensors{in.x, in.y}, 0);
     }},
    {"cat_1",
     [](const Inputs& in) {
       return cat(Tensors{in.x, in.y}, 1);
     }},
    {"index_select", [](const Inputs& in) { return index_select(in.x, 0, in.list); }},
    {"gather_0", [](const Inputs& in) { return gather(in.x, 0, in.places); }},
    {"gather_1", [](const Inputs& in) { return gather(in.x, 1, in.places); }},
};

double answer(std::istringstream& line) {
  std::string what, dtype_name, output;
  int64_t n;
  double seconds;
  line >> what >> dtype_name >> n >> seconds >> output;
  const auto dtype = parse_dtype(dtype_name);
  const bool back = what == "softmax_backward";
  const auto found = kCases.find(what);
  WS_CHECK(dtype && !output.empty() && (back || found != kCases.end()),
           "unknown case, or too few words");
  const Inputs in{hashed_input({n, n}, *dtype, 0), hashed_input({n, n}, *dtype, 1),
                  hashed_places({n, n}, n), hashed_places({n}, n)};
  Tensor result;
  double time;
  if (back) {
    in.x.set_requires_grad(true);
    const Tensor y = softmax(in.x, 1);
    time = median_seconds(seconds, [&] {
      in.x.set_grad({});
      backward(y, in.y, true);
    });
    result = in.x.grad();
  } else {
    time = median_seconds(seconds, [&] { result = found->second(in); });
  }
  if (output != "-") write_values(output, result.to_vector<float>());
  return time;
}

}  // namespace
}  // namespace wellspring

int main() { return wellspring::answer_lines(std::cin, std::cout, wellspring::answer); }
