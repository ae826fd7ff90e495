// Sorting and what rests on it.
#include "ops/sort.h"

#include "ops/cases.h"
#include "ops/pointwise.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};

using Choose = Tensors (*)(const Tensor&, int);

Tensors list(std::tuple<Tensor, Tensor> pair) { return {std::get<0>(pair), std::get<1>(pair)}; }

void choices(CaseList& cases, Choose choose, bool gradient = true) {
  // Differences need lines without equal elements.
  const auto input = [&](const Shape& shape, DType t, bool apart) {
    const CaseInput x = random_input(shape, t);
    return gradient && apart && (t == DType::f32 || t == DType::f64) ? x : x.constant();
  };
  for (const DType t : kTypes) {
    for (int layout = 0; layout < 6; ++layout)
      cases
          .add(std::string(name_of(t)) + " layout " + std::to_string(layout),
               {input({3, 8, 37}, t, static_cast<Layout>(layout) != Layout::expanded)
                    .with(static_cast<Layout>(layout))},
               [=](const Tensors& in) -> Tensors {
                 Tensors all = choose(in[0], 1);
                 for (const Tensor& r : choose(in[0], -1)) all.push_back(r);
                 return all;
               })
          .f64();
    cases
        .add(std::string(name_of(t)) + " odd", {random_input({4, 300}, t, Fill::odd)},
             [=](const Tensors& in) -> Tensors { return choose(in[0], 1); })
        .no_gradient();
    cases
        .add(std::string(name_of(t)) + " long", {random_input({2, 3000}, t)},
             [=](const Tensors& in) -> Tensors { return choose(in[0], 1); })
        .no_gradient();
  }
  cases.add("0-d", {input({}, DType::f32, true)},
            [=](const Tensors& in) -> Tensors { return choose(in[0], 0); });
  cases.add("no lines", {input({0, 9}, DType::f32, false)},
            [=](const Tensors& in) -> Tensors { return choose(in[0], 1); });
}

}  // namespace

WS_CASES(sort) {
  choices(cases, [](const Tensor& x, int d) -> Tensors {
    Tensors all = list(sort(x, d));
    for (const Tensor& r : list(sort(x, d, true))) all.push_back(r);
    return all;
  });
  for (const DType t : {DType::f32, DType::i64, DType::bf16})
    cases
        .add("alone " + std::string(name_of(t)), {random_input({600000}, t)},
             [](const Tensors& in) -> Tensors { return list(sort(in[0], 0)); })
        .no_gradient();
  for (const DType t : {DType::f32, DType::bf16, DType::i64, DType::u8})
    for (const int64_t n : {1024, 4096})
      cases
          .time(std::string(name_of(t)) + " " + Shape{n, n}.text(), {random_input({n, n}, t)},
                [](const Tensors& in) -> Tensors { return list(sort(in[0])); })
          .moves(static_cast<double>(n * n) * (2.0 * static_cast<double>(size_of(t)) + 8));
  cases
      .time("f32 [4096, 4096] dim 0", {random_input({4096, 4096})},
            [](const Tensors& in) -> Tensors { return list(sort(in[0], 0)); })
      .moves(4096.0 * 4096 * 16);
  cases
      .time("f32 [16777216]", {random_input({1 << 24})},
            [](const Tensors& in) -> Tensors { return list(sort(in[0])); })
      .moves((1 << 24) * 16.0);
}
WS_CASES(argsort) {
  choices(
      cases, [](const Tensor& x, int d) -> Tensors { return {argsort(x, d)}; }, false);
}
WS_CASES(msort) {
  choices(cases, [](const Tensor& x, int) -> Tensors { return {msort(x)}; });
}
WS_CASES(topk) {
  choices(cases, [](const Tensor& x, int d) -> Tensors {
    const int64_t n = x.dims() ? x.size(d) : 1;
    Tensors all = list(topk(x, std::min<int64_t>(3, n), d));
    for (const Tensor& r : list(topk(x, n, d))) all.push_back(r);
    for (const Tensor& r : list(topk(x, std::min<int64_t>(5, n), d, false))) all.push_back(r);
    return all;
  });
  cases
      .add("pieces", {random_input({2, 300000}), random_input({1, 300000}, DType::i8)},
           [](const Tensors& in) -> Tensors {
             Tensors all = list(topk(in[0], 100));
             for (const Tensor& r : list(topk(in[1], 7, 1, false))) all.push_back(r);
             return all;
           })
      .no_gradient();
  for (const DType t : {DType::f32, DType::bf16})
    for (const int64_t n : {1024, 4096})
      cases
          .time(std::string(name_of(t)) + " 50 of " + Shape{n, n}.text(), {random_input({n, n}, t)},
                [](const Tensors& in) -> Tensors { return list(topk(in[0], 50)); })
          .moves(static_cast<double>(n * n) * static_cast<double>(size_of(t)));
}
WS_CASES(kthvalue) {
  choices(cases, [](const Tensor& x, int d) -> Tensors {
    Tensors all = list(kthvalue(x, x.dims() ? std::min<int64_t>(3, x.size(d)) : 1, d));
    for (const Tensor& r : list(kthvalue(x, 1, d, true))) all.push_back(r);
    return all;
  });
}
WS_CASES(median) {
  choices(cases, [](const Tensor& x, int d) -> Tensors {
    Tensors all = list(median(x, d));
    if (x.numel()) all.push_back(median(x));
    return all;
  });
}
WS_CASES(searchsorted) {
  for (const DType t : kTypes)
    for (const bool right : {false, true})
      cases.add(std::string(name_of(t)) + (right ? " right" : " left"),
                {random_input({5, 30}, t).constant(), random_input({5, 9}, t).constant()},
                [=](const Tensors& in) -> Tensors {
                  const Tensor s = std::get<0>(sort(in[0]));
                  return {searchsorted(s, in[1], false, right),
                          searchsorted(select(s, 0, 2), in[1], true, right),
                          searchsorted(narrow(select(s, 0, 2), 0, 0, 0), in[1])};
                });
  cases.add(
      "odd",
      {random_input({70}, DType::f32, Fill::odd).constant(),
       random_input({300}, DType::f32, Fill::odd).constant()},
      [](const Tensors& in) -> Tensors { return {searchsorted(std::get<0>(sort(in[0])), in[1])}; });
}
WS_CASES(bucketize) {
  for (const DType t : kTypes)
    cases.add(
        name_of(t).data(),
        {random_input({5, 30}, t).constant(), random_input({9}, DType::f32).constant()},
        [=](const Tensors& in) -> Tensors { return {bucketize(in[0], std::get<0>(sort(in[1])))}; });
}
WS_CASES(unique) {
  for (const DType t : kTypes)
    cases.add(name_of(t).data(),
              {random_input({30, 10}, t).constant(), random_input({0}, t).constant()},
              [](const Tensors& in) -> Tensors {
                const Tensor whole = is_float(in[0].dtype()) ? round(in[0]) : in[0];
                auto [v, w, c] = unique(whole);
                auto [v0, w0, c0] = unique(in[1]);
                return {v, w, c, v0, w0, c0};
              });
}
WS_CASES(unique_consecutive) {
  for (const DType t : kTypes)
    cases.add(name_of(t).data(), {random_input({30, 10}, t).constant()},
              [](const Tensors& in) -> Tensors {
                const Tensor whole = is_float(in[0].dtype()) ? round(in[0]) : in[0];
                auto [v, w, c] = unique_consecutive(whole);
                return {v, w, c};
              });
}
WS_CASES(isin) {
  for (const DType t : kTypes)
    cases.add(name_of(t).data(),
              {random_input({7, 20}, t).constant(), random_input({6}, t).constant(),
               random_input({0}, t).constant()},
              [](const Tensors& in) -> Tensors {
                const bool real = is_float(in[0].dtype());
                const Tensor a = real ? round(in[0]) : in[0], b = real ? round(in[1]) : in[1];
                return {isin(a, b), isin(a, b, true), isin(a, in[2])};
              });
}
WS_CASES(bincount) {
  for (const DType t : {DType::i64, DType::i32, DType::i16, DType::i8, DType::u8})
    cases
        .add(name_of(t).data(),
             {ids_input({200}, 0, 9, t), random_input({200}).constant(),
              random_input({200}, DType::f64).constant()},
             [](const Tensors& in) -> Tensors {
               return {bincount(in[0]), bincount(in[0], {}, 20), bincount(in[0], in[1].detach()),
                       bincount(in[0], in[2].detach())};
             })
        .sums(50)
        .no_gradient();
}

WS_CASES(aminmax) {
  choices(cases, [](const Tensor& x, int d) -> Tensors {
    Tensors all = list(aminmax(x, d, true));
    if (x.numel())
      for (const Tensor& r : list(aminmax(x))) all.push_back(r);
    return all;
  });
}
WS_CASES(quantile) {
  for (const DType t : {DType::f64, DType::f32})
    for (const Layout l : {Layout::packed, Layout::transposed, Layout::gaps})
      cases
          .add(std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(l)),
               {random_input({4, 37}, t).with(l)},
               [](const Tensors& in) -> Tensors {
                 return {quantile(in[0], 0.3, 1),
                         quantile(in[0], 0.5),
                         quantile(in[0], 1, 0, true),
                         quantile(in[0], 0.77, -1, true, "lower"),
                         quantile(in[0], 0.77, 1, false, "higher"),
                         quantile(in[0], 0.77, 1, false, "nearest"),
                         quantile(in[0], 0.77, 1, false, "midpoint")};
               })
          .f64();
  cases
      .add("odd", {random_input({20, 9}, DType::f32, Fill::odd)},
           [](const Tensors& in) -> Tensors { return {quantile(in[0], 0.4, 1, false, "lower")}; })
      .no_gradient();
}
WS_CASES(histc) {
  for (const DType t : {DType::f64, DType::f32})
    cases.add(name_of(t).data(), {random_input({40, 37}, t).constant()},
              [](const Tensors& in) -> Tensors {
                return {histc(in[0], 10), histc(in[0], 7, -1, 1), histc(in[0], 3, 50, 60)};
              });
}
WS_CASES(mode) {
  for (const DType t : kTypes)
    for (const Layout l : {Layout::packed, Layout::transposed})
      cases.add(std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(l)),
                {random_input({4, 6, 37}, t).with(l).constant()}, [](const Tensors& in) -> Tensors {
                  const Tensor x = is_float(in[0].dtype()) ? round(in[0]) : in[0];
                  Tensors all = list(mode(x));
                  for (const Tensor& r : list(mode(x, 1, true))) all.push_back(r);
                  return all;
                });
  cases
      .add("gradient", {random_input({4, 9})},
           [](const Tensors& in) -> Tensors { return {std::get<0>(mode(in[0]))}; })
      .f64();
}

}  // namespace wellspring
