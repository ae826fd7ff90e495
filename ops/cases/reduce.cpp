// Reductions.
#include <algorithm>

#include "ops/cases/reduce_cases.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"

namespace wellspring {
namespace {
using namespace reduce_cases;
}  // namespace

WS_CASES(sum) {
  const Reduction f = [](const Tensor& x, const Dims& d, bool k) { return sum(x, d, k); };
  reduction_cases(cases, kTypes, f, true);
  odd_cases(cases, f);
  cases.add("nothing", {random_input({0, 4})},
            [](const Tensors& in) -> Tensors { return {sum(in[0], {0})}; });
  cases
      .add("wider", {random_input({30, 40}, DType::bf16)},
           [](const Tensors& in) -> Tensors {
             return {sum(in[0], {0}, false, DType::f32), sum(in[0], {}, false, DType::f64)};
           })
      .sums(1200);
  cases
      .add("narrower", {random_input({30, 40})},
           [](const Tensors& in) -> Tensors {
             return {sum(in[0], {0}, false, DType::bf16), sum(in[0], {}, false, DType::i32)};
           })
      .sums(1200)
      .no_gradient();
  speed_cases(cases, f);
}

WS_CASES(mean) {
  const Reduction f = [](const Tensor& x, const Dims& d, bool k) { return mean(x, d, k); };
  reduction_cases(cases, kFloats, f, true);
  odd_cases(cases, f);
  cases
      .add("nothing", {random_input({0, 4})},
           [](const Tensors& in) -> Tensors { return {mean(in[0], {0})}; })
      .no_gradient();
  for (DType t : kTypes)
    if (!is_float(t))
      cases
          .add("of " + std::string(name_of(t)), {random_input({30, 4}, t)},
               [](const Tensors& in) -> Tensors { return {mean(in[0], {0}, false, DType::f32)}; })
          .sums(30);
  cases
      .add("wider", {random_input({30, 40}, DType::bf16)},
           [](const Tensors& in) -> Tensors {
             return {mean(in[0], {0}, false, DType::f32), mean(in[0], {}, false, DType::f64)};
           })
      .sums(30);
  speed_cases(cases, f);
}

WS_CASES(prod) {
  cases
      .add("other dtypes", {random_input({5, 7}), ids_input({5, 7}, 1, 3, DType::i32)},
           [](const Tensors& in) -> Tensors {
             return {prod(in[0], {0}, false, DType::f64), prod(in[1], {1}, true, DType::f32),
                     prod(in[1], {1}, false, DType::i32)};
           })
      .sums(40);
  // Many factors leave every range: only the small shapes are checked in all layouts.
  for (DType t : kTypes)
    for (Layout layout : kLayouts)
      for (int d : {0, 1})
        cases
            .add(
                std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(layout)) +
                    " over " + std::to_string(d),
                {random_input({5, 7}, t, is_float(t) ? Fill::positive : Fill::normal).with(layout)},
                [d](const Tensors& in) -> Tensors { return {prod(in[0], {d})}; })
            .sums(40)
            .f64();
  cases
      .add("keepdim", {random_input({5, 7})},
           [](const Tensors& in) -> Tensors {
             return {prod(in[0], {0, 1}, true)};
           })
      .f64();
  cases.add("zeros", {ids_input({40, 3}, -1, 3, DType::f32)},
            [](const Tensors& in) -> Tensors { return {prod(in[0], {1})}; });
  CaseInput zeros = ids_input({40, 3}, -1, 3, DType::f64);
  zeros.gradient = true;
  cases
      .add("zeros with gradient", {zeros},
           [](const Tensors& in) -> Tensors { return {prod(in[0], {1})}; })
      .f64();
  cases.add("nothing", {random_input({0, 4})},
            [](const Tensors& in) -> Tensors { return {prod(in[0], {0})}; });
  cases.add("0-d", {random_input({})}, [](const Tensors& in) -> Tensors { return {prod(in[0])}; })
      .f64();
}

WS_CASES(var) {
  const Reduction f = [](const Tensor& x, const Dims& d, bool k) {
    const bool one = x.numel() == 1 || (d == Dims{1} && x.shape() == Shape{1, 1});
    return var(x, d, one ? 0 : 1, k);
  };
  reduction_cases(cases, kFloats, f, true);
  cases
      .add("odd", {random_input({70, 70}, DType::f32, Fill::odd)},
           [](const Tensors& in) -> Tensors { return {var(in[0], {1})}; })
      .no_gradient();
  cases
      .add("one of one", {random_input({3, 1})},
           [](const Tensors& in) -> Tensors { return {var(in[0], {1})}; })
      .no_gradient();
  cases
      .add("far from zero", {random_input({3, 1000}).scaled(1e-2)},
           [](const Tensors& in) -> Tensors { return {var(in[0], {1}, 0)}; })
      .f64();
  speed_cases(cases, f);
}

WS_CASES(amax) {
  const Reduction f = [](const Tensor& x, const Dims& d, bool k) { return amax(x, d, k); };
  reduction_cases(cases, kTypes, f, false);
  odd_cases(cases, f);
  cases
      .add("gradient", {random_input({9, 30}, DType::f64)},
           [](const Tensors& in) -> Tensors {
             return {amax(in[0], {1}), amax(in[0], {0}, true)};
           })
      .f64();
  speed_cases(cases, f);
}

WS_CASES(amin) {
  const Reduction f = [](const Tensor& x, const Dims& d, bool k) { return amin(x, d, k); };
  reduction_cases(cases, kTypes, f, false);
  odd_cases(cases, f);
  cases
      .add("gradient", {random_input({9, 30}, DType::f64)},
           [](const Tensors& in) -> Tensors {
             return {amin(in[0], {1}), amin(in[0], {0}, true)};
           })
      .f64();
}

WS_CASES(any) {
  const Reduction f = [](const Tensor& x, const Dims& d, bool k) { return any(x, d, k); };
  reduction_cases(cases, kTypes, f, false);
  odd_cases(cases, f);
  cases.add("few are set", {ids_input({300, 40}, -30, 2, DType::i32)},
            [](const Tensors& in) -> Tensors { return {any(relu(in[0]), {1})}; });
}

WS_CASES(all) {
  const Reduction f = [](const Tensor& x, const Dims& d, bool k) { return all(x, d, k); };
  reduction_cases(cases, kTypes, f, false);
  odd_cases(cases, f);
  cases.add("few are zero", {ids_input({300, 40}, 0, 80, DType::i16)},
            [](const Tensors& in) -> Tensors {
              return {all(in[0], {1}), all(in[0], {0})};
            });
}

namespace {

// Over one dimension or all elements; ties on purpose.
void place_cases(CaseList& cases,
                 const std::function<Tensors(const Tensor&, std::optional<int>)>& f) {
  const auto add = [&](std::string name, const CaseInput& input, std::optional<int> dim) {
    cases.add(std::move(name), {input}, [=](const Tensors& in) { return f(in[0], dim); })
        .no_gradient();
  };
  for (DType t : kTypes)
    for (Layout layout : kLayouts)
      for (int d : {0, 1, 2})
        add(std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(layout)) +
                " over " + std::to_string(d),
            random_input({3, 5, 37}, t).with(layout), d);
  for (DType t : {DType::f64, DType::f32, DType::bf16})
    for (int d : {0, 1})
      add("odd " + std::string(name_of(t)) + " over " + std::to_string(d),
          random_input({70, 75}, t, Fill::odd), d);
  for (const Shape& shape :
       {Shape{70001}, Shape{1300, 19}, Shape{3, 1100}, Shape{700, 3}, Shape{2, 5000}}) {
    add("whole " + shape.text(), random_input(shape).with(Layout::gaps), {});
    add("ties " + shape.text(), ids_input(shape, 0, 4, DType::bf16), 0);
    add("ties last " + shape.text(), ids_input(shape, 0, 4, DType::f32), -1);
  }
  add("0-d", random_input({}), {});
  add("0-d over 0", random_input({}), 0);
  add("no outputs", random_input({0, 4}), 1);
}

}  // namespace

WS_CASES(argmax) {
  published::reductions(cases, published::kTypes, Fill::normal, true,
                        [](const Tensor& x, std::optional<int> d) { return argmax(x, d); });
  place_cases(cases, [](const Tensor& x, std::optional<int> dim) -> Tensors {
    return {argmax(x, dim), argmax(x, dim, true)};
  });
  speed_cases(cases, [](const Tensor& x, const Dims& d, bool k) {
    return argmax(x, d.empty() ? std::optional<int>() : d[0], k);
  });
}

WS_CASES(argmin) {
  published::reductions(cases, published::kTypes, Fill::normal, true,
                        [](const Tensor& x, std::optional<int> d) { return argmin(x, d); });
  place_cases(cases,
              [](const Tensor& x, std::optional<int> dim) -> Tensors { return {argmin(x, dim)}; });
}

WS_CASES(max) {
  place_cases(cases, [](const Tensor& x, std::optional<int> dim) -> Tensors {
    const auto [values, at] = max(x, dim.value_or(0));
    return {values, at};
  });
  for (int d : {0, 1})
    cases
        .add("gradient " + std::to_string(d), {random_input({9, 30}, DType::f64)},
             [d](const Tensors& in) -> Tensors { return {std::get<0>(max(in[0], d, true))}; })
        .f64();
}

WS_CASES(min) {
  place_cases(cases, [](const Tensor& x, std::optional<int> dim) -> Tensors {
    const auto [values, at] = min(x, dim.value_or(0), true);
    return {values, at};
  });
  cases
      .add("gradient", {random_input({9, 30}, DType::f64)},
           [](const Tensors& in) -> Tensors { return {std::get<0>(min(in[0], 1))}; })
      .f64();
}

}  // namespace wellspring
