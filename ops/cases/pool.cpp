// Cases of pooling.
#include "ops/pool.h"

#include "ops/cases.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

// Every dtype and layout of f(images).
template <class F>
void add_images(CaseList& cases, const Shape& shape, F f) {
  for (DType t : kTypes)
    for (Layout l :
         {Layout::packed, Layout::transposed, Layout::gaps, Layout::expanded, Layout::reversed}) {
      if (l != Layout::packed && t != DType::f32) continue;
      cases
          .add(std::string(name_of(t)) + " " + shape.text() + " layout " +
                   std::to_string(static_cast<int>(l)),
               {random_input(shape, t).with(l)},
               [=](const Tensors& in) -> Tensors { return f(in[0]); })
          .sums(16)
          .f64()
          // Equal values of 16 bits share a window, where the derivative is a choice.
          .gradient = size_of(t) > 2 && l != Layout::expanded;
    }
}

}  // namespace

WS_CASES(max_pool2d_with_indices) {
  add_images(cases, {2, 3, 9, 11}, [](const Tensor& x) -> Tensors {
    const auto [y, at] = max_pool2d_with_indices(x, {3, 2}, {2}, {1}, {1, 2}, true);
    return {y, at};
  });
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)) + " odd", {random_input({1, 2, 9, 9}, t, Fill::odd)},
             [](const Tensors& in) -> Tensors {
               const auto [y, at] = max_pool2d_with_indices(in[0], {3});
               return {y, at};
             })
        .no_gradient();
  for (DType t : {DType::f32, DType::bf16})
    for (int64_t stride : {1, 2, 3})  // rows that fill vectors, and ends that do not
      cases
          .add(std::string(name_of(t)) + " wide, stride " + std::to_string(stride),
               {random_input({1, 2, 6, 75}, t, Fill::odd)},
               [=](const Tensors& in) -> Tensors {
                 const auto [y, at] = max_pool2d_with_indices(in[0], {2, 3}, {stride}, {1}, {1, 2});
                 return {y, at};
               })
          .no_gradient();
}
WS_CASES(max_pool2d) {
  add_images(cases, {2, 3, 8, 9}, [](const Tensor& x) -> Tensors { return {max_pool2d(x, {2})}; });
  add_images(cases, {3, 8, 9},
             [](const Tensor& x) -> Tensors { return {max_pool2d(x, {3}, {1}, {1})}; });
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " 8x64x112x112, 3x3/2",
              {random_input({8, 64, 112, 112}, t)},
              [](const Tensors& in) -> Tensors { return {max_pool2d(in[0], {3}, {2}, {1})}; })
        .moves(8.0 * 64 * 112 * 112 * 1.25 * static_cast<double>(size_of(t)))
        .backward_too();
}
WS_CASES(max_pool1d) {
  add_images(cases, {2, 3, 20},
             [](const Tensor& x) -> Tensors { return {max_pool1d(x, {3}, {2}, {1})}; });
}
WS_CASES(avg_pool2d) {
  for (bool with_padding : {false, true})
    add_images(cases, {2, 3, 9, with_padding ? 11 : 12}, [=](const Tensor& x) -> Tensors {
      return {avg_pool2d(x, {3, 2}, {2}, {1}, true, with_padding)};
    });
  add_images(cases, {3, 9, 11}, [](const Tensor& x) -> Tensors {
    return {avg_pool2d(x, {3}, {}, {0}, false, true, 5)};
  });
}
WS_CASES(avg_pool1d) {
  add_images(cases, {2, 3, 20},
             [](const Tensor& x) -> Tensors { return {avg_pool1d(x, {3}, {2}, {1})}; });
}
WS_CASES(adaptive_avg_pool2d) {
  add_images(cases, {2, 3, 9, 11}, [](const Tensor& x) -> Tensors {
    return {adaptive_avg_pool2d(x, {4, 3})};
  });
  add_images(cases, {2, 3, 7, 7},
             [](const Tensor& x) -> Tensors { return {adaptive_avg_pool2d(x, {1})}; });
}
WS_CASES(adaptive_avg_pool1d) {
  add_images(cases, {3, 20},
             [](const Tensor& x) -> Tensors { return {adaptive_avg_pool1d(x, {6})}; });
}
WS_CASES(adaptive_max_pool2d) {
  add_images(cases, {2, 3, 9, 11}, [](const Tensor& x) -> Tensors {
    const auto [y, at] = adaptive_max_pool2d(x, {4, 3});
    return {y, at};
  });
}

}  // namespace wellspring
