#pragma once
// The cases that reductions share.

#include <algorithm>
#include <span>
#include <string>

#include "ops/cases.h"
#include "ops/cases/published.h"

namespace wellspring::reduce_cases {

inline constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                                   DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};
inline constexpr DType kFloats[] = {DType::f64, DType::f32, DType::bf16, DType::f16};
inline constexpr Layout kLayouts[] = {Layout::packed, Layout::transposed, Layout::gaps,
                                      Layout::offset, Layout::expanded,   Layout::reversed};

using Dims = std::vector<int>;
using Reduction = std::function<Tensor(const Tensor&, const Dims&, bool)>;

inline std::string text(const Dims& dims) {
  std::string out = "over";
  for (int d : dims) out += " " + std::to_string(d);
  return out;
}

// Every dtype, layout and choice of dimensions; sizes around a vector, a strip and a piece.
inline void reduction_cases(CaseList& cases, std::span<const DType> types, const Reduction& f,
                            bool gradient, Fill fill = Fill::normal) {
  const auto add = [&](std::string name, const CaseInput& input, const Dims& dims,
                       bool keepdim = false) {
    int64_t count = 1;
    for (int d = 0; d < input.shape.size(); ++d)
      if (dims.empty() || std::find(dims.begin(), dims.end(), d) != dims.end())
        count *= input.shape[d];
    OperatorCase& c = cases.add(std::move(name), {input}, [=](const Tensors& in) -> Tensors {
      return {f(in[0], dims, keepdim)};
    });
    c.sums(count).f64();
    if (!gradient) c.no_gradient();
  };
  for (DType t : types)
    for (Layout layout : kLayouts)
      for (const Dims& dims : {Dims{}, Dims{0}, Dims{2}, Dims{0, 2}})
        add(std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(layout)) + " " +
                text(dims),
            random_input({3, 5, 37}, t, fill).with(layout), dims);
  std::span<const DType> sets = published::kFloats;
  if (types.size() > 4) sets = published::kTypes;
  published::reductions(cases, sets, fill, true, [f](const Tensor& x, std::optional<int> d) {
    return f(x, d ? Dims{*d} : Dims{}, false);
  });
  add("keepdim", random_input({3, 5, 37}, DType::f32, fill), {0, 1}, true);
  add("one element", random_input({1, 1}, DType::f32, fill), {1});
  add("0-d", random_input({}, DType::f32, fill), {});
  add("no outputs", random_input({0, 4}, DType::f32, fill), {1});
  add("few along", random_input({700, 3}, DType::f32, fill), {1});
  add("few across", random_input({700, 3}, DType::f32, fill), {0});
  add("strips", random_input({9, 1100}, DType::f32, fill), {0});
  for (const char* name : {"long", "long bf16"}) {
    const DType t = name[4] ? DType::bf16 : DType::f32;
    add(name, random_input({70001}, t, fill), {0});
    add(std::string(name) + " rows", random_input({2, 1300, 19}, t, fill), {1});
    add(std::string(name) + " pieces", random_input({40000, 2}, t, fill), {0, 1});
    add(std::string(name) + " of rows", random_input({900, 3, 41}, t, fill), {0, 2});
  }
}

inline void odd_cases(CaseList& cases, const Reduction& f) {
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (int d : {0, 1})
      cases
          .add("odd " + std::string(name_of(t)) + " " + std::to_string(d),
               {random_input({70, 70}, t, Fill::odd).scaled(0.1)},
               [=](const Tensors& in) -> Tensors { return {f(in[0], {d}, false)}; })
          .sums(70)
          .no_gradient();
}

inline void speed_cases(CaseList& cases, const Reduction& f) {
  for (int64_t n : {1024, 4096})
    for (DType t : {DType::f32, DType::bf16})
      for (const Dims& dims : {Dims{}, Dims{0}, Dims{1}})
        cases
            .time(std::string(name_of(t)) + " " + std::to_string(n) + " " + text(dims),
                  {random_input({n, n}, t)},
                  [=](const Tensors& in) -> Tensors { return {f(in[0], dims, false)}; })
            .moves(static_cast<double>(n * n) * static_cast<double>(size_of(t)));
}

}  // namespace wellspring::reduce_cases
