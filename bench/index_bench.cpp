// Times indexing, rearranging, creating, sorting, scanning and drawing for bench/index.py. Reads
// one case per line from standard input:
//   WHAT f32|bf16 N seconds OUTPUT
// and answers with the median seconds of a call on [N, N] tensors, having written the result of one
// call to OUTPUT (as f32; "-" for none). The inputs follow from the element's index alone.
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>

#include "base/error.h"
#include "bench/inputs.h"
#include "bench/timing.h"
#include "ops/arrange.h"
#include "ops/creation.h"
#include "ops/index.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/random.h"
#include "ops/scan.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "ops/sort.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

struct Inputs {
  Tensor x, y, places, list, mask, row;
  Shape shape() const { return x.shape(); }
  int64_t n() const { return x.size(0); }
  DType dtype() const { return x.dtype(); }
};

using Case = Tensor (*)(const Inputs&);
const std::map<std::string, Case> kCases{
    {"full", [](const Inputs& in) { return full(in.shape(), 1.5, in.dtype()); }},
    {"zeros", [](const Inputs& in) { return zeros(in.shape(), in.dtype()); }},
    {"arange", [](const Inputs& in) { return arange(in.n() * in.n(), in.dtype()); }},
    {"triu", [](const Inputs& in) { return triu(in.x); }},
    {"outer", [](const Inputs& in) { return outer(in.row, in.row); }},
    {"mv", [](const Inputs& in) { return mv(in.x, in.row); }},
    {"flip",
     [](const Inputs& in) {
       return flip(in.x, {0, 1});
     }},
    {"roll", [](const Inputs& in) { return roll(in.x, {100}, {1}); }},
    {"repeat",
     [](const Inputs& in) {
       return repeat(narrow(in.x, 0, 0, in.n() / 4), {2, 2});
     }},
    {"repeat_interleave",
     [](const Inputs& in) { return repeat_interleave(narrow(in.x, 0, 0, in.n() / 2), 2, 0); }},
    {"pad",
     [](const Inputs& in) {
       return constant_pad_nd(in.x, {1, 1, 1, 1});
     }},
    {"pad_reflect",
     [](const Inputs& in) {
       return pad(unsqueeze(in.x, 0), {3, 3, 3, 3}, "reflect");
     }},
    {"hstack",
     [](const Inputs& in) {
       return hstack(Tensors{in.x, in.y});
     }},
    {"select_scatter", [](const Inputs& in) { return select_scatter(in.x, in.row, 0, 7); }},
    {"slice_scatter",
     [](const Inputs& in) {
       return slice_scatter(in.x, narrow(in.y, 0, 0, in.n() / 2), 0, 0, in.n() / 2);
     }},
    {"index_select", [](const Inputs& in) { return index_select(in.x, 0, in.list); }},
    {"index_select_1", [](const Inputs& in) { return index_select(in.x, 1, in.list); }},
    {"gather_0", [](const Inputs& in) { return gather(in.x, 0, in.places); }},
    {"gather_1", [](const Inputs& in) { return gather(in.x, 1, in.places); }},
    {"scatter_1", [](const Inputs& in) { return scatter(in.x, 1, in.places, in.y); }},
    {"scatter_add_0", [](const Inputs& in) { return scatter_add(in.x, 0, in.places, in.y); }},
    {"scatter_add_1", [](const Inputs& in) { return scatter_add(in.x, 1, in.places, in.y); }},
    {"index_add", [](const Inputs& in) { return index_add(in.x, 0, in.list, in.y); }},
    {"index", [](const Inputs& in) { return index(in.x, std::span(&in.list, 1)); }},
    {"index_put",
     [](const Inputs& in) {
       const Tensor at[] = {in.list};
       return index_put(in.x, at, in.y);
     }},
    {"index_put_add",
     [](const Inputs& in) {
       const Tensor at[] = {in.list};
       return index_put(in.x, at, in.y, true);
     }},
    {"masked_fill", [](const Inputs& in) { return masked_fill(in.x, in.mask, 3); }},
    {"masked_select", [](const Inputs& in) { return masked_select(in.x, in.mask); }},
    {"nonzero", [](const Inputs& in) { return nonzero(in.mask); }},
    {"cumsum_1", [](const Inputs& in) { return cumsum(in.x, 1); }},
    {"cumsum_0", [](const Inputs& in) { return cumsum(in.x, 0); }},
    {"cummax_1", [](const Inputs& in) { return std::get<0>(cummax(in.x, 1)); }},
    {"sort_1", [](const Inputs& in) { return std::get<0>(sort(in.x)); }},
    {"sort_0", [](const Inputs& in) { return std::get<0>(sort(in.x, 0)); }},
    {"topk50", [](const Inputs& in) { return std::get<0>(topk(in.x, 50)); }},
    {"rand", [](const Inputs& in) { return rand(in.shape(), in.dtype(), {}, 1); }},
    {"randn", [](const Inputs& in) { return randn(in.shape(), in.dtype(), {}, 1); }},
    {"exponential",
     [](const Inputs& in) { return exponential_(empty(in.shape(), in.dtype()), 1, 1); }},
    {"randint", [](const Inputs& in) { return randint(0, 1000, in.shape(), DType::i64, {}, 1); }},
    {"randperm", [](const Inputs& in) { return randperm(in.n() * in.n(), DType::i64, {}, 1); }},
    {"multinomial", [](const Inputs& in) { return multinomial(add(in.x, 2), 1, true, 1); }},
};

double answer(std::istringstream& line) {
  std::string what, dtype_name, output;
  int64_t n;
  double seconds;
  line >> what >> dtype_name >> n >> seconds >> output;
  const auto dtype = parse_dtype(dtype_name);
  const auto found = kCases.find(what);
  WS_CHECK(dtype && !output.empty() && found != kCases.end(), "unknown case, or too few words");
  // No case changes its inputs: they stay for the next one.
  static std::map<std::pair<DType, int64_t>, Inputs> made;
  Inputs& in = made[{*dtype, n}];
  if (!in.x.defined()) {
    const Tensor x = hashed_input({n, n}, *dtype, 0);
    in = {
        x,        hashed_input({n, n}, *dtype, 1), hashed_places({n, n}, n), hashed_places({n}, n),
        gt(x, 0), clone(select(x, 0, 3))};
  }
  NoGrad none;
  Tensor result;
  const double time = median_seconds(seconds, [&] { result = found->second(in); });
  if (output != "-") write_values(output, result.to_vector<float>());
  return time;
}

}  // namespace
}  // namespace wellspring

int main() { return wellspring::answer_lines(std::cin, std::cout, wellspring::answer); }
