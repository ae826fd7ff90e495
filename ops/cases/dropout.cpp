#include "ops/dropout.h"

#include "ops/cases.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

WS_CASES(dropout) {
  const auto with = [](double p, uint64_t offset) {
    return [=](const Tensors& in) -> Tensors {
      return {dropout(in[0], p, 0x1234567890abcdef, offset)};
    };
  };
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    for (int64_t n : {1, 16, 63, 64, 65, 500})
      cases.add(type + " of " + std::to_string(n), {random_input({n}, t)}, with(0.3, 0));
    for (uint64_t offset :
         {uint64_t{1}, uint64_t{130}, (uint64_t{1} << 40) + 63, ~uint64_t{0} - 100})
      cases.add(type + " offset " + std::to_string(offset), {random_input({7, 30}, t)},
                with(0.5, offset));
    cases.add(type + " nothing", {random_input({3, 50}, t)}, with(0, 0));
    cases.add(type + " nearly all", {random_input({3, 50}, t)}, with(0.999, 0));
    cases.add(type + " empty", {random_input({0, 5}, t)}, with(0.1, 0));
    cases.add(type + " 0-d", {random_input({}, t)}, with(0.1, 0));
    cases.add(type + " odd", {random_input({9, 74}, t, Fill::odd)}, with(0.1, 0)).no_gradient();
    cases.add(type + " tiles", {random_input({70001}, t)}, with(0.1, 5)).no_gradient();
  }
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases.add("layout " + std::to_string(static_cast<int>(l)), {random_input({5, 37}).with(l)},
              with(0.4, 3));
  for (DType t : {DType::f64, DType::f16})
    cases.add(std::string(name_of(t)), {random_input({7, 130}, t)}, with(0.3, 5)).f64();
  for (const Shape& shape : {Shape{1024, 768}, Shape{4096, 4096}})
    for (DType t : {DType::f32, DType::bf16})
      cases
          .time(std::string(name_of(t)) + " " + shape.text(), {random_input(shape, t)},
                with(0.1, 0))
          .moves(2.0 * static_cast<double>(shape.numel()) * static_cast<double>(size_of(t)))
          .backward_too();
}

WS_CASES(dropout_train) {
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (double p : {0.0, 0.3, 1.0})
      for (bool train : {true, false})
        cases
            .add(std::string(name_of(t)) + " " + std::to_string(p) + (train ? "" : " off"),
                 {random_input({7, 130}, t)},
                 [=](const Tensors& in) -> Tensors {
                   const Tensor changed = clone(in[0]);
                   dropout_train_(changed, p, train, 0x1234567890abcdef, 5);
                   return {dropout_train(in[0], p, train, 0x1234567890abcdef, 5), changed};
                 })
            .f64();
}
WS_CASES(native_dropout) {
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (double p : {0.0, 0.3, 1.0})
      for (bool train : {true, false})
        cases
            .add(std::string(name_of(t)) + " " + std::to_string(p) + (train ? "" : " off"),
                 {random_input({7, 130}, t).with(train ? Layout::packed : Layout::transposed)},
                 [=](const Tensors& in) -> Tensors {
                   const auto [y, mask] = native_dropout(in[0], p, train, 0x1234567890abcdef, 5);
                   return {y, mask};
                 })
            .f64();
}
WS_CASES(native_dropout_backward) {
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    cases
        .add(std::string(name_of(t)),
             {random_input({7, 30}, t), ids_input({7, 30}, 0, 2, DType::boolean)},
             [](const Tensors& in) -> Tensors {
               return {native_dropout_backward(in[0], in[1], 1.25)};
             })
        .f64();
}

}  // namespace
}  // namespace wellspring
