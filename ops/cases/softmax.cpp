// Softmax and its logarithm.
#include "ops/softmax.h"

#include "ops/cases.h"
#include "ops/cases/published.h"

namespace wellspring {
namespace {

using Function = Tensor (*)(const Tensor&, int, std::optional<DType>);

void softmax_cases(CaseList& cases, Function f, bool log) {
  const auto add = [&](std::string name, const CaseInput& input, int dim,
                       std::optional<DType> dtype = {}) -> OperatorCase& {
    OperatorCase& c = cases.add(std::move(name), {input}, [=](const Tensors& in) -> Tensors {
      return {f(in[0], dim, dtype)};
    });
    return c.f64();
  };
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (int layout = 0; layout < 6; ++layout)
      for (int d : {0, 1, -1})
        add(std::string(name_of(t)) + " layout " + std::to_string(layout) + " over " +
                std::to_string(d),
            random_input({3, 7, 41}, t).with(static_cast<Layout>(layout)), d);
  published::reductions(cases, published::kFloats, Fill::normal, false,
                        [f](const Tensor& x, std::optional<int> d) { return f(x, *d, {}); });
  add("large values", random_input({4, 100}).scaled(60), -1).no_gradient();
  add("long row", random_input({2, 5003}), -1).within(log ? 1e-5 : 1e-7, 1e-5);
  add("long column", random_input({5003, 3}), 0).within(log ? 1e-5 : 1e-7, 1e-5);
  add("strips", random_input({2, 5, 131}, DType::bf16), 1);
  add("one", random_input({5, 1}), -1);
  add("0-d", random_input({}), 0);
  add("empty", random_input({3, 0}), -1);
  add("no rows", random_input({0, 3}), -1);
  add("narrower", random_input({4, 50}), -1, DType::bf16).no_gradient();
  add("wider", random_input({4, 50}, DType::bf16), -1, DType::f32).no_gradient();
  for (int d : {0, 1})
    add("odd " + std::to_string(d), random_input({90, 90}, DType::f32, Fill::odd), d).no_gradient();
  for (const Shape& shape : {Shape{1024, 1024}, Shape{4096, 4096}, Shape{512, 50257}})
    for (DType t : {DType::f32, DType::bf16})
      cases
          .time(std::string(name_of(t)) + " " + shape.text(), {random_input(shape, t)},
                [=](const Tensors& in) -> Tensors { return {f(in[0], -1, {})}; })
          .moves(2.0 * static_cast<double>(shape.numel()) * static_cast<double>(size_of(t)))
          .backward_too();
  cases
      .time("f32 over 0", {random_input({1024, 1024})},
            [=](const Tensors& in) -> Tensors { return {f(in[0], 0, {})}; })
      .moves(8.0 * 1024 * 1024);
}

}  // namespace

WS_CASES(softmax) { softmax_cases(cases, softmax, false); }
WS_CASES(log_softmax) { softmax_cases(cases, log_softmax, true); }

}  // namespace wellspring
