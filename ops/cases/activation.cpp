#include "ops/activation.h"

#include "ops/cases.h"
#include "ops/pointwise.h"

namespace wellspring {
namespace {

WS_CASES(swiglu) {
  const auto run = [](const Tensors& in) -> Tensors { return {swiglu(in[0])}; };
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    for (int64_t width : {2, 30, 64, 134})
      cases.add(type + " width " + std::to_string(width), {random_input({2, 3, width}, t)}, run);
    cases.add(type + " empty", {random_input({0, 8}, t)}, run);
    cases.add(type + " no width", {random_input({3, 0}, t)}, run);
    cases.add(type + " one row", {random_input({86}, t)}, run);
    cases.add(type + " many rows", {random_input({700, 90}, t)}, run);
    cases.add(type + " odd", {random_input({3, 74}, t, Fill::odd)}, run).no_gradient();
    cases.add(type + " saturated", {random_input({5, 64}, t).scaled(40)}, run).sums(8);
  }
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases.add("layout " + std::to_string(static_cast<int>(l)), {random_input({5, 38}).with(l)},
              run);
  for (const Shape& shape : {Shape{1024, 6144}, Shape{4096, 2752}})
    for (DType t : {DType::f32, DType::bf16})
      cases.time(std::string(name_of(t)) + " " + shape.text(), {random_input(shape, t)}, run)
          .moves(1.5 * static_cast<double>(shape.numel()) * static_cast<double>(size_of(t)))
          .backward_too();
}

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

WS_CASES(gelu) {
  for (const char* form : {"none", "tanh"})
    for (DType t : kTypes)
      cases
          .add(std::string(name_of(t)) + " " + form, {random_input({5, 33}, t)},
               [=](const Tensors& in) -> Tensors {
                 const Tensor changed = mul(in[0], 1);
                 gelu_(changed, form);
                 return {gelu(in[0], form), changed};
               })
          .f64();
}
WS_CASES(gelu_and_mul) {
  for (const char* form : {"none", "tanh"})
    for (DType t : kTypes)
      cases
          .add(std::string(name_of(t)) + " " + form,
               {random_input({5, 33}, t), random_input({5, 33}, t)},
               [=](const Tensors& in) -> Tensors { return {gelu_and_mul(in[0], in[1], form)}; })
          .f64();
}
WS_CASES(prelu) {
  for (DType t : kTypes)
    for (const auto& [x, w] : {std::pair(Shape{3, 4, 5}, Shape{4}), std::pair(Shape{7}, Shape{1}),
                               std::pair(Shape{3, 4}, Shape{1})})
      cases
          .add(std::string(name_of(t)) + " " + x.text(), {random_input(x, t), random_input(w, t)},
               [](const Tensors& in) -> Tensors { return {prelu(in[0], in[1])}; })
          .f64()
          .sums(60);
}
WS_CASES(rrelu) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)), {random_input({5, 33}, t)},
             [](const Tensors& in) -> Tensors { return {rrelu(in[0])}; })
        .f64();
}
WS_CASES(glu) {
  for (DType t : kTypes)
    for (int dim : {0, 1, -1})
      cases
          .add(std::string(name_of(t)) + " " + std::to_string(dim), {random_input({4, 6, 34}, t)},
               [=](const Tensors& in) -> Tensors { return {glu(in[0], dim)}; })
          .f64();
}

}  // namespace
}  // namespace wellspring
