// Cases of the named losses.
#include "ops/cases.h"
#include "ops/loss.h"
#include "ops/softmax.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16};
constexpr const char* kReductions[] = {"none", "mean", "sum"};

// Scores and targets (-1 is ignored) of each form, with and without weights of the classes.
template <class F>
void add_classes(CaseList& cases, F run) {
  struct Form {
    Shape scores, targets;
  };
  for (DType t : kTypes)
    for (const Form& f : {Form{{9, 12}, {9}}, Form{{12}, {}}, Form{{3, 5, 4}, {3, 4}},
                          Form{{2, 5, 3, 4}, {2, 3, 4}}})
      for (const char* reduction : kReductions)
        for (bool weights : {false, true}) {
          const int64_t classes = f.scores.size() > 1 ? f.scores[1] : f.scores[0];
          const CaseInput w =
              weights ? random_input({classes}, t, Fill::positive).constant() : no_input();
          const int64_t low = f.targets.size() ? -1 : 0;
          cases
              .add(std::string(name_of(t)) + " " + f.scores.text() + " " + reduction +
                       (weights ? " weights" : ""),
                   {random_input(f.scores, t), ids_input(f.targets, low, classes, DType::i64), w},
                   [=](const Tensors& in) -> Tensors { return run(in, reduction); })
              .sums(24)
              .f64();
        }
}

// Two operands that are compared term by term.
template <class F>
void add_terms(CaseList& cases, Fill x, Fill y, F run) {
  for (DType t : kTypes)
    for (const char* reduction : kReductions)
      for (Layout l : {Layout::packed, Layout::transposed, Layout::gaps})
        cases
            .add(std::string(name_of(t)) + " " + reduction + " layout " +
                     std::to_string(static_cast<int>(l)),
                 {random_input({7, 30}, t, x).with(l), random_input({7, 30}, t, y)},
                 [=](const Tensors& in) -> Tensors { return {run(in[0], in[1], reduction)}; })
            .sums(210)
            .f64()
            // Differences say nothing across an edge, where values of 16 bits often lie.
            .gradient = size_of(t) > 2;
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " mean [4096, 4096]",
              {random_input({4096, 4096}, t, x), random_input({4096, 4096}, t, y)},
              [=](const Tensors& in) -> Tensors { return {run(in[0], in[1], "mean")}; })
        .moves(2.0 * 4096 * 4096 * static_cast<double>(size_of(t)))
        .backward_too();
}

}  // namespace

WS_CASES(nll_loss_nd) {
  add_classes(cases, [](const Tensors& in, const char* reduction) -> Tensors {
    return {nll_loss_nd(in[0], in[1], in[2], reduction, -1)};
  });
  cases
      .add("all ignored", {random_input({4, 20}), ids_input({4}, -1, 0)},
           [](const Tensors& in) -> Tensors { return {nll_loss_nd(in[0], in[1], {}, "mean", -1)}; })
      .no_gradient();
  cases
      .add("odd", {random_input({9, 7}, DType::f32, Fill::odd), ids_input({9}, -1, 7)},
           [](const Tensors& in) -> Tensors { return {nll_loss_nd(in[0], in[1], {}, "none", -1)}; })
      .no_gradient();
}
WS_CASES(nll_loss_forward) {
  add_classes(cases, [](const Tensors& in, const char* reduction) -> Tensors {
    const auto [loss, total] = nll_loss_forward(in[0], in[1], in[2], reduction, -1);
    return {loss, total};
  });
}
WS_CASES(nll_loss) {
  for (const char* reduction : kReductions)
    cases.add(std::string("weights ") + reduction,
              {random_input({9, 12}), ids_input({9}, -1, 12),
               random_input({12}, DType::f32, Fill::positive).constant()},
              [=](const Tensors& in) -> Tensors {
                return {nll_loss(in[0], in[1], in[2], reduction, -1)};
              });
}
WS_CASES(cross_entropy_loss) {
  for (double smoothing : {0.0, 0.2})
    add_classes(cases, [=](const Tensors& in, const char* reduction) -> Tensors {
      return {cross_entropy_loss(in[0], in[1], in[2], reduction, -1, smoothing)};
    });
  for (DType t : kTypes)
    for (const char* reduction : kReductions)
      for (double smoothing : {0.0, 0.3})
        cases
            .add(std::string(name_of(t)) + " probabilities " + reduction + " " +
                     std::to_string(smoothing),
                 {random_input({5, 6, 3}, t), random_input({5, 6, 3}, t, Fill::fraction),
                  random_input({6}, t, Fill::positive).constant()},
                 [=](const Tensors& in) -> Tensors {
                   return {cross_entropy_loss(in[0], in[1], in[2], reduction, -100, smoothing)};
                 })
            .sums(90)
            .f64();
}

WS_CASES(mse_loss) {
  add_terms(cases, Fill::normal, Fill::normal,
            [](const Tensor& x, const Tensor& y, const char* r) { return mse_loss(x, y, r); });
}
WS_CASES(l1_loss) {
  add_terms(cases, Fill::normal, Fill::normal,
            [](const Tensor& x, const Tensor& y, const char* r) { return l1_loss(x, y, r); });
}
WS_CASES(huber_loss) {
  add_terms(cases, Fill::normal, Fill::normal, [](const Tensor& x, const Tensor& y, const char* r) {
    return huber_loss(x, y, r, 0.7);
  });
}
WS_CASES(smooth_l1_loss) {
  for (double beta : {0.7, 0.0})
    add_terms(cases, Fill::normal, Fill::normal,
              [=](const Tensor& x, const Tensor& y, const char* r) {
                return smooth_l1_loss(x, y, r, beta);
              });
}
WS_CASES(soft_margin_loss) {
  add_terms(cases, Fill::normal, Fill::normal, [](const Tensor& x, const Tensor& y, const char* r) {
    return soft_margin_loss(x, y, r);
  });
}
WS_CASES(binary_cross_entropy) {
  add_terms(cases, Fill::fraction, Fill::fraction,
            [](const Tensor& x, const Tensor& y, const char* r) {
              return binary_cross_entropy(x, y, Tensor::full({30}, 0.75, x.dtype()), r);
            });
}
WS_CASES(binary_cross_entropy_with_logits) {
  add_terms(
      cases, Fill::normal, Fill::fraction, [](const Tensor& x, const Tensor& y, const char* r) {
        return binary_cross_entropy_with_logits(x, y, {}, Tensor::full({30}, 1.75, x.dtype()), r);
      });
  add_terms(cases, Fill::normal, Fill::fraction,
            [](const Tensor& x, const Tensor& y, const char* r) {
              return binary_cross_entropy_with_logits(x, y, {}, {}, r);
            });
}
WS_CASES(kl_div) {
  for (bool log_target : {false, true})
    add_terms(cases, Fill::normal, log_target ? Fill::normal : Fill::positive,
              [=](const Tensor& x, const Tensor& y, const char* r) {
                return kl_div(x, y, r, log_target);
              });
  cases
      .add("batchmean", {random_input({7, 30}), random_input({7, 30}, DType::f32, Fill::positive)},
           [](const Tensors& in) -> Tensors { return {kl_div(in[0], in[1], "batchmean")}; })
      .sums(210);
}
WS_CASES(margin_ranking_loss) {
  add_terms(cases, Fill::normal, Fill::normal, [](const Tensor& x, const Tensor& y, const char* r) {
    return margin_ranking_loss(x, y, Tensor::full({30}, -1, x.dtype()), 0.3, r);
  });
}

}  // namespace wellspring
