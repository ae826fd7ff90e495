// The speed half of check.h.

#include <algorithm>
#include <cstring>

#include "base/threads.h"
#include "base/time.h"
#include "ops/check.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

// Median seconds of repeated runs: two warm ones, then at least 7 or 0.3 s.
template <class F>
double median_seconds(F&& run) {
  run(), run();
  std::vector<double> seconds;
  Stopwatch all;
  while (seconds.size() < 7 || (all.seconds() < 0.3 && seconds.size() < 2000)) {
    Stopwatch one;
    run();
    seconds.push_back(one.seconds());
    if (all.seconds() > 3) break;
  }
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return seconds[seconds.size() / 2];
}

// The greater of the rates of our matrix product of 1024^3 and of multiply-adds in registers alone.
double gemm_rate(DType dtype) {
  static KernelRef product("matmul"), peak("multiply_add_peak");
  constexpr int64_t kSize = 1024, kSteps = 1 << 20;
  Tensor a = Tensor::full({kSize, kSize}, 0.5, dtype), b = Tensor::full({kSize, kSize}, 0.5, dtype);
  Tensor c = Tensor::empty({kSize, kSize});
  const double one = median_seconds([&] { launch(product, {c}, {a, b, Tensor()}, {false}); });
  Tensor flops = Tensor::empty({threads()}, DType::f64);
  const double two = median_seconds([&] {
    launch(peak, {flops}, {}, {kSteps, dtype == DType::bf16});
  });
  double done = 0;
  for (double f : flops.to_vector<double>()) done += f;
  return 1e-9 * std::max(2.0 * kSize * kSize * kSize / one, done / two);
}

}  // namespace

std::vector<SpeedResult> time_operator(std::string_view op) {
  std::vector<SpeedResult> results;
  const CaseList list = cases_of(op);
  for (const OperatorCase& c : list.all()) {
    if (!c.timed) continue;
    Tensors inputs = make_inputs(op, c);
    SpeedResult r;
    r.op = op, r.name = c.name, r.pass = "forward";
    {
      NoGrad no_grad;
      r.seconds = median_seconds([&] { c.run(inputs); });
    }
    r.gigabytes = c.bytes / r.seconds * 1e-9;
    r.gigaflops = c.flops / r.seconds * 1e-9;
    results.push_back(r);
    if (!c.time_backward) continue;
    for (size_t i = 0; i < inputs.size(); ++i)
      if (c.inputs[i].gradient && inputs[i].defined() && is_float(inputs[i].dtype()))
        inputs[i].set_requires_grad(true);
    Tensors outs = c.run(inputs);
    Tensor ones = Tensor::full(outs[0].shape(), 1, outs[0].dtype());
    r.pass = "backward";
    r.seconds = median_seconds([&] {
      backward(outs[0], ones, true);
      for (const Tensor& t : inputs)
        if (t.defined()) t.set_grad({});
    });
    r.gigabytes = r.gigaflops = 0;
    results.push_back(r);
  }
  return results;
}

Roof measure_roof() {
  constexpr int64_t kBytes = int64_t{64} << 20, kPart = int64_t{1} << 20;
  Tensor from = Tensor::zeros({kBytes}, DType::u8), to = Tensor::zeros({kBytes}, DType::u8);
  Roof roof;
  double s = median_seconds([&] {
    parallel_for(kBytes / kPart, [&](int64_t i) {
      std::memcpy(to.data_as<char>() + i * kPart, from.data_as<char>() + i * kPart, kPart);
    });
  });
  roof.gigabytes = 2.0 * kBytes / s * 1e-9;
  roof.gigaflops_f32 = gemm_rate(DType::f32);
  roof.gigaflops_bf16 = gemm_rate(DType::bf16);
  return roof;
}

}  // namespace wellspring
