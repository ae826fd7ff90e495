// Picking by index.
#include "ops/index.h"

#include "ops/cases.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};
constexpr DType kFloats[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

template <class Add>
void layouts(std::span<const DType> types, Add add) {
  for (DType t : types)
    for (int layout = 0; layout < 6; ++layout)
      for (int d : {0, 1, 2})
        add(std::string(name_of(t)) + " layout " + std::to_string(layout) + " dim " +
                std::to_string(d),
            t, static_cast<Layout>(layout), d);
}

Shape with(Shape shape, int dim, int64_t n) {
  shape[dim] = n;
  return shape;
}

const Shape kShape{4, 6, 37};

// Sums in place are rounded after each addition; the reference rounds once.
void round_often(OperatorCase& c, DType t) {
  if (t == DType::bf16) c.within(0.03, 0.03);
  if (t == DType::f16) c.within(0.004, 0.004);
}

}  // namespace

WS_CASES(index_select) {
  layouts(kTypes, [&](std::string name, DType t, Layout layout, int d) {
    cases
        .add(name,
             {random_input(kShape, t).with(layout),
              ids_input({9}, 0, kShape[d], d ? DType::i64 : DType::i32)},
             [d](const Tensors& in) -> Tensors { return {index_select(in[0], d, in[1])}; })
        .sums(9);
  });
  cases
      .add("gaps in the index", {random_input({5, 3}), ids_input({40}, 0, 5).with(Layout::gaps)},
           [](const Tensors& in) -> Tensors { return {index_select(in[0], 0, in[1])}; })
      .sums(40);
  cases.add("no index", {random_input({5, 3}), ids_input({0}, 0, 5)},
            [](const Tensors& in) -> Tensors { return {index_select(in[0], -2, in[1])}; });
  cases
      .add("many", {random_input({300, 130}), ids_input({2000}, 0, 300)},
           [](const Tensors& in) -> Tensors { return {index_select(in[0], 0, in[1])}; })
      .sums(30);
  cases
      .time("f32 rows of 768", {random_input({50257, 768}), ids_input({4096}, 0, 50257)},
            [](const Tensors& in) -> Tensors { return {index_select(in[0], 0, in[1])}; })
      .moves(8.0 * 4096 * 768);
  cases
      .time("f32 columns", {random_input({1024, 1024}), ids_input({1024}, 0, 1024, DType::i64)},
            [](const Tensors& in) -> Tensors { return {index_select(in[0], 1, in[1])}; })
      .moves(8.0 * 1024 * 1024);
}

WS_CASES(index_add_) {
  layouts(kTypes, [&](std::string name, DType t, Layout layout, int d) {
    OperatorCase& c = cases.add(
        name,
        {random_input(kShape, t), ids_input({9}, 0, kShape[d], DType::i64),
         random_input(with(kShape, d, 9), t).with(layout)},
        [d](const Tensors& in) -> Tensors { return {index_add(in[0], d, in[1], in[2])}; });
    round_often(c.sums(9), t);
  });
  cases
      .add("many", {random_input({30, 700}), ids_input({400}, 0, 30), random_input({400, 700})},
           [](const Tensors& in) -> Tensors { return {index_add_(clone(in[0]), 0, in[1], in[2])}; })
      .sums(40);
  cases
      .add("into a transposed view",
           {random_input({30, 20}), ids_input({40}, 0, 20), random_input({40, 30})},
           [](const Tensors& in) -> Tensors {
             const Tensor base = clone(in[0]);
             index_add_(transpose(base, 0, 1), 0, in[1], in[2]);
             return {base};
           })
      .sums(40)
      .no_gradient();
  cases
      .time("f32 rows of 768",
            {random_input({8192, 768}), ids_input({4096}, 0, 8192), random_input({4096, 768})},
            [](const Tensors& in) -> Tensors { return {index_add_(in[0], 0, in[1], in[2])}; })
      .moves(12.0 * 4096 * 768);
}

WS_CASES(gather) {
  layouts(kTypes, [&](std::string name, DType t, Layout layout, int d) {
    cases
        .add(name,
             {random_input(kShape, t).with(layout),
              ids_input(with({3, 5, 33}, d, 8), 0, kShape[d], d ? DType::i64 : DType::i32)},
             [d](const Tensors& in) -> Tensors { return {gather(in[0], d, in[1])}; })
        .sums(8);
  });
  cases
      .add("index layouts",
           {random_input({40, 50}), ids_input({40, 50}, 0, 40).with(Layout::transposed)},
           [](const Tensors& in) -> Tensors {
             return {gather(in[0], 0, in[1]), gather(in[0], 1, slice(in[1], 1, 3, 40, 2))};
           })
      .sums(50);
  cases
      .add("long", {random_input({40000}), ids_input({70001}, 0, 40000)},
           [](const Tensors& in) -> Tensors { return {gather(in[0], 0, in[1])}; })
      .sums(20);
  cases.add("no index", {random_input({5, 3}), ids_input({5, 0}, 0, 3)},
            [](const Tensors& in) -> Tensors { return {gather(in[0], 1, in[1])}; });
  for (int d : {0, 1})
    cases
        .time("f32 along " + std::to_string(d),
              {random_input({1024, 1024}), ids_input({1024, 1024}, 0, 1024, DType::i64)},
              [d](const Tensors& in) -> Tensors { return {gather(in[0], d, in[1])}; })
        .moves(16.0 * 1024 * 1024);
}

WS_CASES(scatter_add_) {
  layouts(kTypes, [&](std::string name, DType t, Layout layout, int d) {
    const Shape shape = with({3, 5, 33}, d, 8);
    OperatorCase& c = cases.add(
        name,
        {random_input(kShape, t), ids_input(shape, 0, kShape[d], d ? DType::i64 : DType::i32),
         random_input(shape, t).with(layout)},
        [d](const Tensors& in) -> Tensors { return {scatter_add(in[0], d, in[1], in[2])}; });
    round_often(c.sums(8), t);
  });
  cases
      .add("strips",
           {random_input({30, 700}), ids_input({400, 700}, 0, 30), random_input({400, 700})},
           [](const Tensors& in) -> Tensors {
             return {scatter_add_(clone(in[0]), 0, in[1], in[2])};
           })
      .sums(40);
  cases
      .time("f32 along 1",
            {random_input({1024, 1024}), ids_input({1024, 1024}, 0, 1024, DType::i64),
             random_input({1024, 1024})},
            [](const Tensors& in) -> Tensors { return {scatter_add_(in[0], 1, in[1], in[2])}; })
      .moves(20.0 * 1024 * 1024);
}

WS_CASES(masked_fill) {
  for (DType t : kTypes)
    cases.add(name_of(t).data(),
              {random_input({4, 5, 37}, t), random_input({5, 37}, DType::boolean)},
              [](const Tensors& in) -> Tensors {
                return {masked_fill(in[0], in[1], 3), masked_fill_(mul(in[0], 1), in[1], -2.5)};
              });
  cases.add("layouts",
            {random_input({6, 40}).with(Layout::transposed),
             random_input({6, 40}, DType::boolean).with(Layout::expanded)},
            [](const Tensors& in) -> Tensors { return {masked_fill(in[0], in[1], -3)}; });
  cases.add("empty", {random_input({0, 3}), random_input({3}, DType::boolean)},
            [](const Tensors& in) -> Tensors { return {masked_fill(in[0], in[1], 1)}; });
  cases
      .add("a tensor's value",
           {random_input({4, 30}), random_input({30}, DType::boolean), random_input({})},
           [](const Tensors& in) -> Tensors {
             return {masked_fill(in[0], in[1], in[2]), masked_fill_(mul(in[0], 1), in[1], in[2])};
           })
      .sums(120)
      .f64();
}

namespace {

// Index tensors of x [4, 6, 37] in different places; negative ones, masks, all.
Tensors places_of(int which, const Tensor& a, const Tensor& b) {
  const Tensor mask = gt(sum(a, {0}), 2);  // [6]
  switch (which) {
    case 0:
      return {a};
    case 1:
      return {Tensor(), b};
    case 2:
      return {a, Tensor(), sub(b, 4)};
    case 3:
      return {select(a, 0, 0), b};
    case 4:
      return {Tensor(), mask};
    case 5:
      return {unsqueeze(select(a, 0, 1), 1), Tensor(), unsqueeze(select(b, 0, 0), 0)};
    case 6:
      return {expand(unsqueeze(gt(select(a, 0, 0), 1), 0), {4, 6})};
    default:
      return {Tensor(), select(a, 0, 0), select(b, 0, 1)};
  }
}

}  // namespace

WS_CASES(index) {
  for (const DType t : kTypes)
    for (int which = 0; which < 8; ++which)
      cases
          .add(std::string(name_of(t)) + " form " + std::to_string(which),
               {random_input(kShape, t), ids_input({3, 6}, 0, 4),
                ids_input({3, 6}, 0, 6, DType::i64)},
               [which](const Tensors& in) -> Tensors {
                 return {index(in[0], places_of(which, in[1], in[2]))};
               })
          .sums(9)
          .f64();
  for (int layout = 1; layout < 6; ++layout)
    cases
        .add("layout " + std::to_string(layout),
             {random_input(kShape).with(static_cast<Layout>(layout)), ids_input({3, 6}, 0, 4),
              ids_input({3, 6}, 0, 6, DType::i64)},
             [](const Tensors& in) -> Tensors {
               return {index(in[0], places_of(0, in[1], in[2])),
                       index(in[0], places_of(2, in[1], in[2]))};
             })
        .sums(9)
        .f64();
  cases.add("nothing", {random_input({4, 0, 3}), ids_input({2}, 0, 4), ids_input({0}, 0, 4)},
            [](const Tensors& in) -> Tensors {
              return {index(in[0], std::span(&in[1], 1)), index(in[0], std::span(&in[2], 1))};
            });
  cases
      .time("f32 rows of 768",
            {random_input({50257, 768}), ids_input({4096}, 0, 50257, DType::i64)},
            [](const Tensors& in) -> Tensors { return {index(in[0], std::span(&in[1], 1))}; })
      .moves(8.0 * 4096 * 768);
}

WS_CASES(index_put_) {
  for (const DType t : kTypes)
    for (int which = 0; which < 8; ++which)
      for (const bool add : {false, true}) {
        OperatorCase& c = cases.add(
            std::string(name_of(t)) + " form " + std::to_string(which) + (add ? " added" : ""),
            {random_input(kShape, t), ids_input({3, 6}, 0, 4), ids_input({3, 6}, 0, 6, DType::i64),
             random_input(Shape{37}, t)},
            [=](const Tensors& in) -> Tensors {
              const Tensors at = places_of(which, in[1], in[2]);
              if (which == 0 || which == 1 || which == 3) return {index_put(in[0], at, in[3], add)};
              return {index_put(in[0], at, select(in[3], 0, 5), add)};
            });
        c.sums(900).f64();
        if (t == DType::bf16) c.within(0.2, 0.05);
        if (t == DType::f16) c.within(0.02, 0.01);
        if (!add && which != 4 && which != 6) c.no_gradient();  // places that meet
      }
  cases
      .add("owners",
           {random_input({700, 60}), ids_input({50000}, 0, 700), ids_input({50000}, 0, 60),
            random_input({50000})},
           [](const Tensors& in) -> Tensors {
             const Tensors at{in[1], in[2]};
             return {index_put(in[0], at, in[3], true), index_put(in[0], at, in[3])};
           })
      .sums(20)
      .no_gradient();
  cases
      .add("wide slices", {random_input({7, 5000}), ids_input({9}, 0, 7), random_input({9, 5000})},
           [](const Tensors& in) -> Tensors {
             const Tensor at[] = {in[1]};
             return {index_put(in[0], at, in[2], true), index_put(in[0], at, in[2])};
           })
      .sums(9)
      .no_gradient();
  cases
      .time("f32 1048576 elements added",
            {random_input({4096, 4096}), ids_input({1 << 20}, 0, 4096, DType::i64),
             ids_input({1 << 20}, 0, 4096, DType::i64), random_input({1 << 20})},
            [](const Tensors& in) -> Tensors {
              const Tensor at[] = {in[1], in[2]};
              return {index_put_(in[0], at, in[3], true)};
            })
      .moves(28.0 * (1 << 20));
}

WS_CASES(take) {
  for (const DType t : kTypes)
    cases
        .add(name_of(t).data(),
             {random_input({5, 7}, t).with(Layout::transposed),
              ids_input({4, 9}, -35, 35, DType::i64), ids_input({}, 0, 35)},
             [](const Tensors& in) -> Tensors {
               return {take(in[0], in[1]), take(in[0], in[2])};
             })
        .sums(9)
        .f64();
}

WS_CASES(put_) {
  for (const DType t : kTypes) {
    OperatorCase& c = cases.add(
        name_of(t).data(),
        {random_input({5, 7}, t), ids_input({4, 9}, -35, 35, DType::i64), random_input({36}, t)},
        [](const Tensors& in) -> Tensors {
          const Tensor y = clone(transpose(in[0], 0, 1));
          put_(transpose(y, 0, 1), in[1], in[2], true);
          return {put_(clone(in[0]), in[1], in[2]), put_(clone(in[0]), in[1], in[2], true), y};
        });
    c.sums(9).no_gradient();
    if (t == DType::bf16) c.within(0.05, 0.03);
    if (t == DType::f16) c.within(0.01, 0.004);
  }
  cases
      .add("gradient", {random_input({5, 7}), random_input({4})},
           [](const Tensors& in) -> Tensors {
             const Tensor at = Tensor::from(std::vector<int64_t>{3, -1, 20, 8}, {2, 2});
             return {put_(clone(in[0]), at, in[1]), put_(clone(in[0]), at, in[1], true)};
           })
      .f64();
}

WS_CASES(take_along_dim) {
  for (const DType t : kTypes)
    cases
        .add(name_of(t).data(),
             {random_input({5, 1, 7}, t), ids_input({1, 4, 3}, 0, 7),
              ids_input({9}, 0, 35, DType::i64)},
             [](const Tensors& in) -> Tensors {
               return {take_along_dim(in[0], in[1], -1), take_along_dim(in[0], in[2])};
             })
        .sums(20)
        .f64();
}

}  // namespace wellspring
