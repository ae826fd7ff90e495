// Cases of resizing by the nearest element.
#include "ops/resize.h"

#include "ops/cases.h"

namespace wellspring {
namespace {

using List = std::vector<int64_t>;
using Resize = Tensor (*)(const Tensor&, const List&, const std::vector<double>&);

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::u8};

void add_cases(CaseList& cases, int spatial, Resize f) {
  const Shape shape = spatial == 1 ? Shape{2, 3, 7} : Shape{2, 3, 5, 7};
  const std::vector<List> sizes = spatial == 1
                                      ? std::vector<List>{{14}, {7}, {3}, {20}, {1}}
                                      : std::vector<List>{{10, 14}, {5, 7}, {3, 4}, {17, 9}};
  const std::vector<double> scales(spatial, 2.6);
  for (DType t : kTypes) {
    const std::string type(name_of(t));
    for (const List& size : sizes)
      cases
          .add(type + " to " + Shape(size).text(), {random_input(shape, t)},
               [=](const Tensors& in) -> Tensors { return {f(in[0], size, {})}; })
          .sums(16)
          .f64();
    cases
        .add(type + " scales", {random_input(shape, t)},
             [=](const Tensors& in) -> Tensors { return {f(in[0], {}, scales)}; })
        .sums(16)
        .f64();
  }
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases
        .add("layout " + std::to_string(static_cast<int>(l)), {random_input(shape).with(l)},
             [=](const Tensors& in) -> Tensors { return {f(in[0], {}, scales)}; })
        .sums(16)
        .f64();
}

}  // namespace

WS_CASES(upsample_nearest1d) { add_cases(cases, 1, upsample_nearest1d); }
WS_CASES(_upsample_nearest_exact1d) { add_cases(cases, 1, _upsample_nearest_exact1d); }
WS_CASES(_upsample_nearest_exact2d) { add_cases(cases, 2, _upsample_nearest_exact2d); }
WS_CASES(upsample_nearest2d) {
  add_cases(cases, 2, upsample_nearest2d);
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " 8x64x64x64 twice", {random_input({8, 64, 64, 64}, t)},
              [](const Tensors& in) -> Tensors {
                return {upsample_nearest2d(in[0], {128, 128})};
              })
        .moves(8.0 * 64 * 64 * 64 * 5 * static_cast<double>(size_of(t)))
        .backward_too();
}

}  // namespace wellspring
