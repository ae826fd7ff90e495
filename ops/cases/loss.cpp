#include "ops/loss.h"

#include "ops/cases.h"

namespace wellspring {
namespace {

// Targets in [-1, high), where -1 is the ignored one.
CaseInput some_ignored(int64_t n, int64_t high) { return ids_input({n}, -1, high); }

using Loss = Tensor (*)(const Tensor&, const Tensor&, int64_t);

void add_row_cases(CaseList& cases, Loss loss) {
  const auto run = [loss](const Tensors& in) -> Tensors { return {loss(in[0], in[1], -1)}; };
  const auto add = [&](std::string name, CaseInput rows, CaseInput targets) -> OperatorCase& {
    return cases.add(std::move(name), {std::move(rows), std::move(targets)}, run).sums(8);
  };
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    for (int64_t width : {1, 15, 64, 259})
      add(type + " width " + std::to_string(width), random_input({7, width}, t),
          some_ignored(7, width));
    add(type + " i64", random_input({9, 40}, t), ids_input({9}, 0, 40, DType::i64));
    add(type + " all ignored", random_input({4, 20}, t), ids_input({4}, -1, 0)).no_gradient();
    add(type + " no rows", random_input({0, 20}, t), ids_input({0}, 0, 20)).no_gradient();
    add(type + " many rows", random_input({900, 50}, t), some_ignored(900, 50));
    add(type + " large", random_input({9, 70}, t).scaled(300), some_ignored(9, 70))
        .within(1e-3, 4e-5);
    add(type + " odd", random_input({9, 70}, t, Fill::odd), some_ignored(9, 70)).no_gradient();
  }
  for (DType t : {DType::f64, DType::f16})
    add(std::string(name_of(t)), random_input({9, 40}, t), some_ignored(9, 40)).f64();
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    add("layout " + std::to_string(static_cast<int>(l)), random_input({5, 37}).with(l),
        some_ignored(5, 37).with(l));
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " [1024, 50257]",
              {random_input({1024, 50257}, t), ids_input({1024}, 0, 50257)}, run)
        .moves(1024.0 * 50257 * static_cast<double>(size_of(t)))
        .backward_too();
}

WS_CASES(cross_entropy) { add_row_cases(cases, cross_entropy); }
WS_CASES(nll_loss) { add_row_cases(cases, nll_loss); }

WS_CASES(linear_cross_entropy) {
  const auto plain = [](const Tensors& in) -> Tensors {
    return {linear_cross_entropy(in[0], in[1], in[2], 1, 1, -1, in.size() > 3 ? in[3] : Tensor())};
  };
  const auto with_scales = [](const Tensors& in) -> Tensors {
    return {linear_cross_entropy(in[0], in[1], in[2], 0.5, 3, -1)};
  };
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    const auto rows = [t](int64_t n, int64_t d) { return random_input({n, d}, t).scaled(0.3); };
    for (int64_t classes : {1, 17, 64, 300})
      cases
          .add(type + " classes " + std::to_string(classes),
               {rows(13, 24), rows(classes, 24), some_ignored(13, classes)}, plain)
          .sums(8);
    cases.add(type + " scales", {rows(9, 20), rows(33, 20), some_ignored(9, 33)}, with_scales)
        .sums(8);
    cases
        .add(type + " bias", {rows(9, 20), rows(33, 20), some_ignored(9, 33), random_input({33})},
             plain)
        .sums(8);
    cases.add(type + " all ignored", {rows(9, 20), rows(33, 20), ids_input({9}, -1, 0)}, plain)
        .no_gradient();
    cases.add(type + " no rows", {rows(0, 20), rows(33, 20), ids_input({0}, 0, 33)}, plain)
        .no_gradient();
    cases
        .add(type + " frozen head", {rows(9, 20), rows(33, 20).constant(), some_ignored(9, 33)},
             plain)
        .sums(8);
    cases
        .add(type + " frozen body", {rows(9, 20).constant(), rows(33, 20), some_ignored(9, 33)},
             plain)
        .sums(8);
  }
  // Three chunks of the 64 MiB of logits.
  cases
      .add("chunks",
           {random_input({40, 4}).scaled(0.5), random_input({1 << 20, 4}),
            ids_input({40}, 0, 1 << 20), random_input({1 << 20})},
           plain)
      .sums(8)
      .no_gradient();
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases
        .add("layout " + std::to_string(static_cast<int>(l)),
             {random_input({9, 20}).with(l), random_input({33, 20}).with(l),
              ids_input({9}, 0, 33).with(l)},
             plain)
        .sums(8);
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " [1024, 768] x [50257, 768]",
              {random_input({1024, 768}, t), random_input({50257, 768}, t).scaled(0.05),
               ids_input({1024}, 0, 50257)},
              plain)
        .computes(2.0 * 1024 * 768 * 50257);
}

}  // namespace
}  // namespace wellspring
