#include "ops/embedding.h"

#include "ops/cases.h"

namespace wellspring {
namespace {

WS_CASES(embedding) {
  const auto run = [](const Tensors& in) -> Tensors { return {embedding(in[0], in[1])}; };
  const auto to_f32 = [](const Tensors& in) -> Tensors {
    return {embedding(in[0], in[1], DType::f32)};
  };
  const auto to_bf16 = [](const Tensors& in) -> Tensors {
    return {embedding(in[0], in[1], DType::bf16)};
  };
  const auto twice = [](const Tensors& in) -> Tensors {
    return {embedding(in[0], in[1]), embedding(in[0], in[2])};
  };
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16}) {
    // What padding and frequencies do to the gradient is no derivative: see embedding_test.cpp.
    cases
        .add(std::string(name_of(t)) + " padding and frequency",
             {random_input({11, 13}, t).constant(), ids_input({4, 9}, 0, 11)},
             [](const Tensors& in) -> Tensors {
               return {embedding(in[0], in[1], 3), embedding(in[0], in[1], -1, true)};
             })
        .no_gradient();
    if (t == DType::f64 || t == DType::f16)
      cases.add(std::string(name_of(t)), {random_input({11, 13}, t), ids_input({4, 9}, 0, 11)}, run)
          .sums(12)
          .f64();
  }
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    for (int64_t width : {1, 16, 37, 70})
      cases
          .add(type + " width " + std::to_string(width),
               {random_input({11, width}, t), ids_input({4, 9}, 0, 11)}, run)
          .sums(12);
    cases.add(type + " i64", {random_input({300, 20}, t), ids_input({50}, 0, 300, DType::i64)}, run)
        .sums(4);
    cases.add(type + " one id", {random_input({5, 20}, t), ids_input({}, 0, 5)}, run);
    cases.add(type + " many of one", {random_input({3, 24}, t), ids_input({900}, 1, 2)}, run)
        .sums(60);
    cases.add(type + " no ids", {random_input({5, 20}, t), ids_input({0}, 0, 5)}, run);
    cases.add(type + " no width", {random_input({5, 0}, t), ids_input({4}, 0, 5)}, run);
    cases.add(type + " odd", {random_input({8, 40}, t, Fill::odd), ids_input({20}, 0, 8)}, run)
        .no_gradient();
    cases
        .add(type + " used twice",
             {random_input({9, 33}, t), ids_input({20}, 0, 9), ids_input({7}, 0, 9)}, twice)
        .sums(12);
    cases.add(type + " to f32", {random_input({9, 33}, t), ids_input({20}, 0, 9)}, to_f32).sums(8);
    cases.add(type + " to bf16", {random_input({9, 33}, t), ids_input({20}, 0, 9)}, to_bf16)
        .sums(8);
  }
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases
        .add("layout " + std::to_string(static_cast<int>(l)),
             {random_input({7, 20}).with(l), ids_input({3, 5}, 0, 7).with(l)}, run)
        .sums(8);
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " 4096 of [50257, 768]",
              {random_input({50257, 768}, t), ids_input({4096}, 0, 50257)}, run)
        .moves(2.0 * 4096 * 768 * static_cast<double>(size_of(t)))
        .backward_too();
}

}  // namespace
}  // namespace wellspring
