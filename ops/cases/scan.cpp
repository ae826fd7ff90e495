// Running sums, products and extremes.
#include "ops/scan.h"

#include "ops/cases.h"
#include "ops/cases/published.h"
#include "ops/pointwise.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};

using Scan = Tensors (*)(const Tensor&, int);

// smooth: derivatives by differences hold with equal elements, too.
void scans(CaseList& cases, std::span<const DType> types, Scan scan, Fill fill, int64_t length,
           bool smooth) {
  const Shape shape{4, 9, 37};
  for (const DType t : types)
    for (int layout = 0; layout < 6; ++layout)
      for (const int d : {0, 1, -1}) {
        OperatorCase& c = cases
                              .add(std::string(name_of(t)) + " layout " + std::to_string(layout) +
                                       " dim " + std::to_string(d),
                                   {random_input(shape, t, fill).with(static_cast<Layout>(layout))},
                                   [=](const Tensors& in) -> Tensors { return scan(in[0], d); })
                              .sums(length)
                              .f64();
        if (!smooth && (static_cast<Layout>(layout) == Layout::expanded ||
                        (t != DType::f32 && t != DType::f64)))
          c.no_gradient();
      }
  for (const Shape& s : {Shape{}, Shape{0}, Shape{3, 0}, Shape{1}, Shape{5, 1}})
    cases
        .add("shape " + s.text(), {random_input(s, DType::f32, fill)},
             [=](const Tensors& in) -> Tensors { return scan(in[0], -1); })
        .f64();
}

template <class Run>
void time_it(CaseList& cases, Run run) {
  for (const DType t : {DType::f32, DType::bf16})
    for (const int d : {1, 0})
      cases
          .time(std::string(name_of(t)) + " [4096, 4096] dim " + std::to_string(d),
                {random_input({4096, 4096}, t)},
                [=](const Tensors& in) -> Tensors { return {run(in[0], d)}; })
          .moves(2.0 * 4096 * 4096 * static_cast<double>(size_of(t)));
}

constexpr DType kFloats[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

}  // namespace

WS_CASES(cumsum) {
  published::reductions(cases, published::kTypes, Fill::normal, false,
                        [](const Tensor& x, std::optional<int> d) { return cumsum(x, *d); });
  scans(
      cases, kTypes, [](const Tensor& x, int d) -> Tensors { return {cumsum(x, d)}; }, Fill::normal,
      40, true);
  cases
      .add("other dtypes", {random_input({9, 30}), random_input({9, 30}, DType::i32)},
           [](const Tensors& in) -> Tensors {
             return {cumsum(in[0], 1, DType::f64), cumsum(in[1], 0, DType::f32),
                     cumsum(in[1], 1, DType::i32), cumsum(in[0], 1, DType::i64)};
           })
      .sums(30);
  cases
      .add("in place", {random_input({9, 30})},
           [](const Tensors& in) -> Tensors {
             return {cumsum_(clone(in[0]), 1), cumsum_(clone(in[0]), 0, DType::f64)};
           })
      .sums(30);
  cases
      .add("pieces", {random_input({2, 140000})},
           [](const Tensors& in) -> Tensors { return {cumsum(in[0], 1)}; })
      .sums(1000)
      .no_gradient();
  cases
      .add("odd", {random_input({9, 70}, DType::f32, Fill::odd)},
           [](const Tensors& in) -> Tensors {
             return {cumsum(in[0], 1), cumsum(in[0], 0)};
           })
      .within(1e33, 1e-5)
      .no_gradient();
  cases
      .add("more dimensions after", {random_input({3, 4, 5, 6}).with(Layout::transposed)},
           [](const Tensors& in) -> Tensors { return {cumsum(in[0], 1)}; })
      .sums(4);
  time_it(cases, [](const Tensor& x, int d) { return cumsum(x, d); });
  cases
      .time("f32 [67108864]", {random_input({1 << 26})},
            [](const Tensors& in) -> Tensors { return {cumsum(in[0], 0)}; })
      .moves(8.0 * (1 << 26));
}
WS_CASES(cumprod) {
  scans(
      cases, kFloats, [](const Tensor& x, int d) -> Tensors { return {cumprod(x, d)}; },
      Fill::positive, 40, true);
  for (const DType t : std::span(kTypes).subspan(4))  // products that i64 holds
    cases.add(name_of(t).data(), {random_input({5, 8}, t, Fill::positive)},
              [](const Tensors& in) -> Tensors {
                return {cumprod(in[0], 1), cumprod(in[0], 0)};
              });
  cases
      .add("zeros", {random_input({8, 12}), random_input({8, 12}, DType::boolean)},
           [](const Tensors& in) -> Tensors {
             return {cumprod(mul(in[0], to(in[1], in[0].dtype())), 1), cumprod_(clone(in[0]), 0)};
           })
      .sums(12)
      .f64();
  time_it(cases, [](const Tensor& x, int d) { return cumprod(x, d); });
}
WS_CASES(cummax) {
  scans(
      cases, kTypes,
      [](const Tensor& x, int d) -> Tensors {
        auto [v, p] = cummax(x, d);
        return {v, p};
      },
      Fill::normal, 1, false);
  cases
      .add("odd", {random_input({9, 70}, DType::f32, Fill::odd)},
           [](const Tensors& in) -> Tensors {
             auto [v, p] = cummax(in[0], 1);
             return {v, p};
           })
      .no_gradient();
  time_it(cases, [](const Tensor& x, int d) { return std::get<0>(cummax(x, d)); });
}
WS_CASES(cummin) {
  scans(
      cases, kTypes,
      [](const Tensor& x, int d) -> Tensors {
        auto [v, p] = cummin(x, d);
        return {v, p};
      },
      Fill::normal, 1, false);
  cases
      .add("odd", {random_input({9, 70}, DType::f32, Fill::odd)},
           [](const Tensors& in) -> Tensors {
             auto [v, p] = cummin(in[0], 1);
             return {v, p};
           })
      .no_gradient();
}
WS_CASES(logcumsumexp) {
  scans(
      cases, kFloats, [](const Tensor& x, int d) -> Tensors { return {logcumsumexp(x, d)}; },
      Fill::normal, 10, true);
  cases
      .add("far apart", {random_input({9, 70}).scaled(300)},
           [](const Tensors& in) -> Tensors { return {logcumsumexp(in[0], 1)}; })
      .no_gradient();
}

}  // namespace wellspring
