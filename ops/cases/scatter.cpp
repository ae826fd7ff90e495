// Writing by index and by mask.
#include "ops/scatter.h"

#include "ops/cases.h"
#include "ops/creation.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "ops/sort.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};
const Shape kShape{4, 6, 37};

Shape with(Shape shape, int dim, int64_t n) {
  shape[dim] = n;
  return shape;
}

// Every dtype, every layout of the source, each dimension: run(x, dim, index, source).
template <class Run>
void by_place(CaseList& cases, Run run, Fill fill = Fill::normal) {
  for (const DType t : kTypes)
    for (int layout = 0; layout < 6; ++layout)
      for (const int d : {0, 1, 2}) {
        const Shape shape = with({3, 5, 33}, d, 8);
        // Equal indices meet in one place: no derivative there.
        cases
            .add(std::string(name_of(t)) + " layout " + std::to_string(layout) + " dim " +
                     std::to_string(d),
                 {random_input(kShape, t, fill),
                  ids_input(shape, 0, kShape[d], d ? DType::i64 : DType::i32),
                  random_input(shape, t, fill).with(static_cast<Layout>(layout))},
                 [=](const Tensors& in) -> Tensors { return run(in[0], d, in[1], in[2]); })
            .sums(9)
            .within(-1, t == DType::bf16 ? 0.06 : -1)
            .no_gradient();
      }
}

}  // namespace

WS_CASES(scatter) {
  by_place(cases, [](const Tensor& x, int d, const Tensor& index, const Tensor& s) -> Tensors {
    const Tensor y = clone(transpose(x, 0, 2));  // into a transposed view
    scatter_(transpose(y, 0, 2), d, index, s);
    return {scatter(x, d, index, s), scatter(x, d, index, 1), y};
  });
  for (const int d : {0, 1})
    cases
        .add("places apart, dim " + std::to_string(d),
             {random_input({6, 9}), random_input({6, 9}).constant(), random_input({6, 9})},
             [d](const Tensors& in) -> Tensors {
               const Tensor index = narrow(argsort(in[1], d), d, 0, 4);
               return {scatter(in[0], d, index, in[2]), scatter(in[0], d, index, 2.5)};
             })
        .f64();
  cases
      .add("reduced", {random_input({6, 9}), ids_input({4, 9}, 0, 6), random_input({6, 9})},
           [](const Tensors& in) -> Tensors {
             return {scatter(in[0], 0, in[1], in[2], "add"),
                     scatter(in[0], 0, in[1], in[2], "multiply"),
                     scatter(in[0], 0, in[1], 3, "multiply"), scatter(in[0], 0, in[1], 3, "add")};
           })
      .sums(4)
      .f64();
  cases.add("0-d", {random_input({}), ids_input({}, 0, 1), random_input({})},
            [](const Tensors& in) -> Tensors { return {scatter(in[0], 0, in[1], in[2])}; });
  cases
      .time("f32 along 1",
            {random_input({4096, 4096}), ids_input({4096, 4096}, 0, 4096, DType::i64),
             random_input({4096, 4096})},
            [](const Tensors& in) -> Tensors { return {scatter_(in[0], 1, in[1], in[2])}; })
      .moves(16.0 * 4096 * 4096);
}
WS_CASES(scatter_reduce) {
  for (const char* how : {"sum", "prod", "mean", "amax", "amin"})
    for (const bool self : {true, false}) {
      const std::string name = std::string(how) + (self ? "" : " without self");
      for (const DType t : kTypes)
        for (const int d : {0, 1})
          cases
              .add(std::string(name_of(t)) + " " + name + " dim " + std::to_string(d),
                   {random_input({4, 6}, t, t == DType::i8 ? Fill::normal : Fill::positive),
                    ids_input({3, 5}, 0, 4), random_input({4, 6}, t, Fill::positive)},
                   [=](const Tensors& in) -> Tensors {
                     // Products and sums of what a byte holds.
                     const bool small = size_of(in[0].dtype()) == 1;
                     const Tensor x = small ? ne(in[0], 3) : in[0],
                                  s = small ? ne(in[2], 2) : in[2];
                     return {scatter_reduce(to(x, in[0].dtype()), d, in[1], to(s, in[0].dtype()),
                                            how, self)};
                   })
              .sums(6)
              .within(t == DType::bf16 ? 0.05 : -1, t == DType::bf16  ? 0.05
                                                    : t == DType::f16 ? 0.01
                                                                      : -1)
              .f64()
              .gradient = t == DType::f32 || t == DType::f64;
    }
  cases
      .add("products with zeros",
           {random_input({4, 6}), ids_input({5, 6}, 0, 4), random_input({5, 6}),
            random_input({5, 6}, DType::boolean)},
           [](const Tensors& in) -> Tensors {
             const Tensor s = mul(in[2], to(in[3], in[2].dtype()));
             return {scatter_reduce(in[0], 0, in[1], s, "prod"),
                     scatter_reduce(in[0], 0, in[1], s, "prod", false)};
           })
      .sums(5)
      .f64();
}
WS_CASES(index_copy) {
  for (const DType t : kTypes)
    for (int layout = 0; layout < 6; ++layout)
      for (const int d : {0, 1, 2})
        cases
            .add(std::string(name_of(t)) + " layout " + std::to_string(layout) + " dim " +
                     std::to_string(d),
                 {random_input(kShape, t),
                  random_input(with(kShape, d, 3), t).with(static_cast<Layout>(layout))},
                 [d](const Tensors& in) -> Tensors {
                   const Tensor index = Tensor::from(std::vector<int64_t>{3, 0, 2}, {3});
                   return {index_copy(in[0], d, index, in[1])};
                 })
            .f64();
  cases
      .add("the last stays", {random_input({5, 7}), random_input({3, 7})},
           [](const Tensors& in) -> Tensors {
             const Tensor index = Tensor::from(std::vector<int64_t>{2, 4, 2}, {3});
             return {index_copy(in[0], 0, index, in[1])};
           })
      .no_gradient();
}
WS_CASES(index_fill) {
  for (const DType t : kTypes)
    for (const int d : {0, 1, 2})
      cases
          .add(std::string(name_of(t)) + " dim " + std::to_string(d),
               {random_input(kShape, t), random_input({}, t)},
               [d](const Tensors& in) -> Tensors {
                 const Tensor index = Tensor::from(std::vector<int64_t>{3, 0, 2}, {3});
                 return {index_fill(in[0], d, index, 1), index_fill(in[0], d, index, in[1])};
               })
          .sums(700)
          .f64();
}

namespace {

template <class Run>
void parts(CaseList& cases, const Shape& part, Run run) {
  for (const DType t : kTypes)
    cases
        .add(name_of(t).data(), {random_input({5, 6, 7}, t), random_input(part, t)},
             [run](const Tensors& in) -> Tensors { return {run(in[0], in[1])}; })
        .f64();
  cases
      .add("layouts",
           {random_input({5, 6, 7}).with(Layout::transposed),
            random_input(part).with(Layout::expanded)},
           [run](const Tensors& in) -> Tensors { return {run(in[0], in[1])}; })
      .f64();
}

}  // namespace

WS_CASES(select_scatter) {
  parts(cases, {5, 7},
        [](const Tensor& x, const Tensor& s) { return select_scatter(x, s, 1, -2); });
  cases
      .time("f32 [4096, 4096]", {random_input({4096, 4096}), random_input({4096})},
            [](const Tensors& in) -> Tensors { return {select_scatter(in[0], in[1], 0, 7)}; })
      .moves(8.0 * 4096 * 4096);
}
WS_CASES(slice_scatter) {
  parts(cases, {5, 2, 7},
        [](const Tensor& x, const Tensor& s) { return slice_scatter(x, s, 1, 1, 5, 2); });
  cases
      .time("f32 [4096, 4096]", {random_input({4096, 4096}), random_input({2048, 4096})},
            [](const Tensors& in) -> Tensors { return {slice_scatter(in[0], in[1], 0, 0, 2048)}; })
      .moves(8.0 * 4096 * 4096);
}
WS_CASES(diagonal_scatter) {
  parts(cases, {6, 5},
        [](const Tensor& x, const Tensor& s) { return diagonal_scatter(x, s, 1, 0, 2); });
}

namespace {

template <class Run>
void masks(CaseList& cases, Run run, bool gradient = true) {
  for (const DType t : kTypes)
    for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{70}, Shape{9, 40}, Shape{300, 70}}) {
      const CaseInput x = random_input(shape, t), source = random_input(shape, t);
      cases
          .add(std::string(name_of(t)) + " " + shape.text(),
               {gradient ? x : x.constant(), random_input(shape, DType::boolean),
                gradient ? source : source.constant()},
               [run](const Tensors& in) -> Tensors { return run(in[0], in[1], in[2]); })
          .f64();
    }
}

}  // namespace

WS_CASES(nonzero) {
  masks(
      cases,
      [](const Tensor& x, const Tensor& m, const Tensor&) -> Tensors {
        return {nonzero(x), nonzero(m), nonzero(mul(x, to(m, x.dtype())))};
      },
      false);
  cases.add("three dimensions", {random_input({5, 6, 7}, DType::i32).with(Layout::transposed)},
            [](const Tensors& in) -> Tensors { return {nonzero(gt(in[0], 0))}; });
  for (const Shape& s : {Shape{1 << 24}, Shape{4096, 4096}})
    cases
        .time("bool " + s.text(), {random_input(s, DType::boolean)},
              [](const Tensors& in) -> Tensors { return {nonzero(in[0])}; })
        .moves((1 << 24) * (1 + 4.0 * s.size()));
}
WS_CASES(nonzero_numpy) {
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32,
                  DType::i16, DType::i8, DType::u8, DType::boolean})
    for (const Shape& shape : {Shape{3, 5}, Shape{}, Shape{0, 2}})
      cases
          .add(std::string(name_of(t)) + " " + shape.text(), {ids_input(shape, 0, 2, t)},
               [](const Tensors& in) -> Tensors { return nonzero_numpy(in[0]); })
          .no_gradient();
}
WS_CASES(masked_select) {
  for (const DType t : kTypes)
    for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{70}, Shape{9, 40}, Shape{300, 70}})
      cases
          .add(std::string(name_of(t)) + " " + shape.text(),
               {random_input(shape, t), random_input(shape, DType::boolean)},
               [](const Tensors& in) -> Tensors { return {masked_select(in[0], in[1])}; })
          .f64();
  cases
      .add("broadcast", {random_input({5, 1, 7}), random_input({6, 1}, DType::boolean)},
           [](const Tensors& in) -> Tensors { return {masked_select(in[0], in[1])}; })
      .sums(6)
      .f64();
  cases
      .time("f32 [4096, 4096]",
            {random_input({4096, 4096}), random_input({4096, 4096}, DType::boolean)},
            [](const Tensors& in) -> Tensors { return {masked_select(in[0], in[1])}; })
      .moves(7.0 * 4096 * 4096);
}
WS_CASES(masked_scatter) {
  masks(cases, [](const Tensor& x, const Tensor& m, const Tensor& s) -> Tensors {
    return {masked_scatter(x, m, s)};
  });
  cases
      .add("broadcast",
           {random_input({5, 6, 7}).with(Layout::transposed), random_input({6, 1}, DType::boolean),
            random_input({300})},
           [](const Tensors& in) -> Tensors { return {masked_scatter(in[0], in[1], in[2])}; })
      .f64();
}

}  // namespace wellspring
