// Norms, variance with mean, logsumexp.
#include <cmath>

#include "ops/cases/reduce_cases.h"
#include "ops/reduce.h"

namespace wellspring {
using namespace reduce_cases;

WS_CASES(vector_norm) {
  for (double order : {2.0, 1.0, 0.0, HUGE_VAL, -HUGE_VAL, 3.0, 0.5, -1.5}) {
    const Reduction f = [order](const Tensor& x, const Dims& d, bool k) {
      return vector_norm(x, order, d, k);
    };
    const bool usual = order == 2;
    for (DType t : kFloats)
      for (Layout layout : kLayouts)
        for (const Dims& dims : {Dims{}, Dims{0}, Dims{0, 2}}) {
          if (!usual && (layout != Layout::gaps || dims.size() == 1)) continue;
          cases
              .add(
                  "order " + std::to_string(order) + " " + std::string(name_of(t)) + " layout " +
                      std::to_string(static_cast<int>(layout)) + " " + text(dims),
                  {random_input({3, 5, 37}, t, usual ? Fill::normal : Fill::positive).with(layout)},
                  [=](const Tensors& in) -> Tensors { return {f(in[0], dims, false)}; })
              .sums(40)
              .f64()
              .gradient = order != 0 && !(std::isinf(order) && size_of(t) < 4) &&
                          !(std::isinf(order) && layout == Layout::expanded);
        }
    if (usual || order == 1 || std::isinf(order)) odd_cases(cases, f);
  }
  cases
      .add("zeros", {random_input({4, 30}).scaled(0)},
           [](const Tensors& in) -> Tensors {
             return {vector_norm(in[0], 2, {1}), vector_norm(in[0], 3, {1}),
                     vector_norm(in[0], 1, {0})};
           })
      .no_gradient();
  cases.add("nothing", {random_input({0, 4})}, [](const Tensors& in) -> Tensors {
    return {vector_norm(in[0], 2, {0}), vector_norm(in[0], 1, {0}), vector_norm(in[0], 3, {0})};
  });
  cases
      .add("keepdim and dtype", {random_input({30, 40}, DType::bf16)},
           [](const Tensors& in) -> Tensors {
             return {vector_norm(in[0], 2, {1}, true, DType::f32)};
           })
      .sums(40);
  speed_cases(cases, [](const Tensor& x, const Dims& d, bool) { return vector_norm(x, 2, d); });
}

WS_CASES(var_mean) {
  for (DType t : kFloats)
    for (Layout layout : kLayouts)
      for (const Dims& dims : {Dims{}, Dims{0}, Dims{2}, Dims{0, 2}})
        for (int64_t correction : {0, 1})
          cases
              .add(std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(layout)) +
                       " " + text(dims) + " correction " + std::to_string(correction),
                   {random_input({3, 5, 37}, t).with(layout)},
                   [=](const Tensors& in) -> Tensors {
                     const auto [v, m] = var_mean(in[0], dims, correction, correction == 0);
                     return {v, m};
                   })
              .sums(40)
              .f64();
  cases
      .add("one element", {random_input({3, 1})},
           [](const Tensors& in) -> Tensors {
             const auto [v, m] = var_mean(in[0], {1});
             return {v, m};
           })
      .no_gradient();
  speed_cases(cases,
              [](const Tensor& x, const Dims& d, bool) { return std::get<0>(var_mean(x, d)); });
}

WS_CASES(stddev) {
  for (DType t : kFloats)
    for (Layout layout : kLayouts)
      for (const Dims& dims : {Dims{}, Dims{0}, Dims{2}, Dims{0, 2}}) {
        if (layout == Layout::expanded && dims.size() == 1) continue;  // nothing deviates
        cases
            .add(std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(layout)) +
                     " " + text(dims),
                 {random_input({3, 5, 37}, t).with(layout)},
                 [=](const Tensors& in) -> Tensors {
                   return {stddev(in[0], dims, 0, dims.size() == 2)};
                 })
            .sums(40)
            .f64();
      }
  cases
      .add("without deviation", {random_input({3, 1})},
           [](const Tensors& in) -> Tensors { return {stddev(in[0], {1}, 0)}; })
      .no_gradient();
}

WS_CASES(std_mean) {
  for (DType t : kFloats)
    cases
        .add(std::string(name_of(t)), {random_input({30, 40}, t)},
             [](const Tensors& in) -> Tensors {
               const auto [s, m] = std_mean(in[0], {0});
               return {s, m};
             })
        .sums(40)
        .f64();
}

WS_CASES(logsumexp) {
  const Reduction f = [](const Tensor& x, const Dims& d, bool k) { return logsumexp(x, d, k); };
  reduction_cases(cases, kTypes, f, true);
  odd_cases(cases, f);
  speed_cases(cases, f);
}

WS_CASES(count_nonzero) {
  reduction_cases(
      cases, kTypes, [](const Tensor& x, const Dims& d, bool) { return count_nonzero(x, d); },
      false);
}

}  // namespace wellspring
