// Tensors from numbers, and triangles. The first input shows the dtype.
#include "ops/creation.h"

#include "ops/cases.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};

template <class Run>
void each_type(CaseList& cases, Run run) {
  for (const DType t : kTypes)
    for (const Shape& shape : {Shape{}, Shape{0, 4}, Shape{3, 70}, Shape{70001}})
      cases
          .add(std::string(name_of(t)) + " " + shape.text(), {random_input(shape, t)},
               [run](const Tensors& in) -> Tensors { return run(in[0]); })
          .no_gradient();
}

template <class Run>
void time_it(CaseList& cases, Run run) {
  for (const DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " [4096, 4096]", {},
              [=](const Tensors&) -> Tensors {
                return {run(Shape{4096, 4096}, t)};
              })
        .moves(4096.0 * 4096 * static_cast<double>(size_of(t)));
}

}  // namespace

WS_CASES(empty) {
  each_type(cases, [](const Tensor& x) -> Tensors { return {zero_(empty(x.shape(), x.dtype()))}; });
}
WS_CASES(empty_like) {
  each_type(cases, [](const Tensor& x) -> Tensors {
    return {zero_(empty_like(x)), zero_(empty_like(x, DType::i16))};
  });
}
WS_CASES(full) {
  each_type(cases, [](const Tensor& x) -> Tensors {
    return {full(x.shape(), 3, x.dtype()), full(x.shape(), true), full(x.shape(), -7),
            full(x.shape(), 2.5)};
  });
  time_it(cases, [](const Shape& s, DType t) { return full(s, 1.5, t); });
}
WS_CASES(full_like) {
  each_type(cases, [](const Tensor& x) -> Tensors {
    return {full_like(x, 1), full_like(x, 2.5, DType::f64)};
  });
}
WS_CASES(zeros) {
  each_type(cases, [](const Tensor& x) -> Tensors { return {zeros(x.shape(), x.dtype())}; });
  time_it(cases, [](const Shape& s, DType t) { return zeros(s, t); });
}
WS_CASES(zeros_like) {
  each_type(cases, [](const Tensor& x) -> Tensors { return {zeros_like(x)}; });
}
WS_CASES(ones) {
  each_type(cases, [](const Tensor& x) -> Tensors { return {ones(x.shape(), x.dtype())}; });
}
WS_CASES(ones_like) {
  each_type(cases, [](const Tensor& x) -> Tensors { return {ones_like(x)}; });
}
WS_CASES(fill) {
  for (const DType t : kTypes)
    cases
        .add(name_of(t).data(), {random_input({5, 9}, t), random_input({}, t)},
             [](const Tensors& in) -> Tensors {
               return {fill(in[0].detach(), in[1]), fill(in[0].detach(), 1)};
             })
        .no_gradient();
  cases.add("value", {random_input({5, 9}).constant(), random_input({})},
            [](const Tensors& in) -> Tensors { return {fill(in[0], in[1])}; });
}
WS_CASES(arange) {
  for (const DType t : kTypes) {
    if (t == DType::boolean) continue;
    cases.add(name_of(t).data(), {random_input({2}, t).constant()}, [t](const Tensors&) -> Tensors {
      return {arange(100, t),     arange(3, 40, 3, t),     arange(40, 3, -7, t),
              arange(5, 5, 1, t), arange(0.5, 9, 0.75, t), arange(1.0, 0.0, -0.25, t)};
    });
  }
  cases.add("by kind", {random_input({2}).constant()}, [](const Tensors&) -> Tensors {
    return {arange(7), arange(7.5), arange(-3, 3), arange(0, 70001, 2),
            arange(int64_t{1} << 40, (int64_t{1} << 40) + 9)};
  });
  for (const DType t : {DType::f32, DType::i64})
    cases
        .time(std::string(name_of(t)) + " of 16777216", {},
              [=](const Tensors&) -> Tensors { return {arange(16777216, t)}; })
        .moves(16777216.0 * static_cast<double>(size_of(t)));
}
WS_CASES(linspace) {
  for (const DType t : kTypes) {
    if (t == DType::boolean) continue;
    cases.add(name_of(t).data(), {random_input({2}, t).constant()}, [t](const Tensors&) -> Tensors {
      return {linspace(1, 100, 34, t), linspace(9, 0, 4, t), linspace(5, 7, 1, t),
              linspace(5, 7, 0, t)};
    });
  }
  cases.add("long", {random_input({2}).constant()},
            [](const Tensors&) -> Tensors { return {linspace(-1, 1, 70001)}; });
}
WS_CASES(logspace) {
  for (const DType t : {DType::f64, DType::f32})
    cases.add(name_of(t).data(), {random_input({2}, t).constant()}, [t](const Tensors&) -> Tensors {
      return {logspace(-2, 3, 20, 10, t), logspace(0, 8, 9, 2, t)};
    });
}
WS_CASES(eye) {
  for (const DType t : kTypes)
    cases.add(name_of(t).data(), {random_input({2}, t).constant()}, [t](const Tensors&) -> Tensors {
      return {eye(5, {}, t), eye(3, 7, t), eye(7, 3, t), eye(0, {}, t)};
    });
}

namespace {

template <class Run>
void triangles(CaseList& cases, Run run) {
  for (const DType t : kTypes)
    for (const Shape& shape : {Shape{7, 40}, Shape{2, 3, 9, 5}, Shape{0, 4}, Shape{300, 200}})
      cases.add(std::string(name_of(t)) + " " + shape.text(), {random_input(shape, t)},
                [run](const Tensors& in) -> Tensors {
                  return {run(in[0], 0), run(in[0], 2), run(in[0], -3), run(in[0], 1 << 30)};
                });
  for (const Layout l : {Layout::transposed, Layout::gaps, Layout::expanded, Layout::reversed})
    cases.add("layout " + std::to_string(static_cast<int>(l)), {random_input({3, 9, 20}).with(l)},
              [run](const Tensors& in) -> Tensors { return {run(in[0], 1)}; });
  cases
      .add("odd", {random_input({20, 30}, DType::f32, Fill::odd)},
           [run](const Tensors& in) -> Tensors { return {run(in[0], 0)}; })
      .no_gradient();
  for (const DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " [4096, 4096]", {random_input({4096, 4096}, t)},
              [run](const Tensors& in) -> Tensors { return {run(in[0], 0)}; })
        .moves(1.5 * 4096 * 4096 * static_cast<double>(size_of(t)));
}

}  // namespace

WS_CASES(triu) {
  triangles(cases, [](const Tensor& x, int64_t k) { return triu(x, k); });
  cases.add("in place", {random_input({4, 6})},
            [](const Tensors& in) -> Tensors { return {triu_(clone(in[0]), 1)}; });
}
WS_CASES(tril) {
  triangles(cases, [](const Tensor& x, int64_t k) { return tril(x, k); });
  cases.add("in place", {random_input({4, 6})},
            [](const Tensors& in) -> Tensors { return {tril_(clone(in[0]), 1)}; });
}
WS_CASES(tril_indices) {
  for (const DType t : {DType::i64, DType::i32})
    cases.add(name_of(t).data(), {random_input({2}, t).constant()}, [t](const Tensors&) -> Tensors {
      return {tril_indices(4, 6, 0, t), tril_indices(6, 3, -2, t), tril_indices(0, 3, 0, t)};
    });
}
WS_CASES(triu_indices) {
  for (const DType t : {DType::i64, DType::i32})
    cases.add(name_of(t).data(), {random_input({2}, t).constant()}, [t](const Tensors&) -> Tensors {
      return {triu_indices(4, 6, 0, t), triu_indices(6, 3, -2, t), triu_indices(0, 3, 0, t)};
    });
}
WS_CASES(one_hot) {
  for (const DType t : {DType::i64, DType::i32})
    cases.add(name_of(t).data(), {ids_input({5, 7}, 0, 9, t)}, [](const Tensors& in) -> Tensors {
      return {one_hot(in[0], 9), one_hot(in[0])};
    });
}

}  // namespace wellspring
