// Cases of the named forms of normalisation.
#include "ops/cases.h"
#include "ops/norm.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

using List = std::vector<int64_t>;

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

std::string named(DType t, const Shape& s, const char* more = "") {
  return std::string(name_of(t)) + " " + s.text() + " " + more;
}

// x normalised over its last dimensions, with weights of its dtype, of f32, or without any.
template <class F>
void add_rows(CaseList& cases, bool bias, F run, bool gradient = true) {
  struct Form {
    Shape x;
    List last;
  };
  for (DType t : kTypes)
    for (const Form& f : {Form{{5, 33}, {33}}, Form{{2, 3, 4, 10}, {4, 10}}, Form{{7}, {7}}})
      for (int weights : {0, 1, 2}) {
        const DType wt = weights == 2 && t != DType::f64 ? DType::f32 : t;
        const CaseInput w = weights ? random_input(Shape(f.last), wt) : no_input();
        std::vector<CaseInput> in = {random_input(f.x, t), w};
        if (bias) in.push_back(w);
        if (weights == 2) in[0] = in[0].with(Layout::transposed);
        cases
            .add(named(t, f.x,
                       !gradient      ? "all results"
                       : weights == 0 ? "plain"
                       : weights == 1 ? "own"
                                      : "f32"),
                 in, [=](const Tensors& in) -> Tensors { return run(in, f.last); })
            .sums(40)
            .f64()
            .gradient = gradient;
      }
}

// Images with as many channels as there are groups, and more.
template <class F>
void add_images(CaseList& cases, F run, bool gradient = true) {
  for (DType t : kTypes)
    for (const Shape& x : {Shape{2, 6, 5, 7}, Shape{3, 12, 33}, Shape{4, 6}, Shape{1, 6, 2, 3, 4}})
      for (bool weights : {false, true}) {
        const CaseInput w = weights ? random_input({x[1]}, t) : no_input();
        cases
            .add(named(t, x,
                       !gradient ? "all results"
                       : weights ? "weights"
                                 : "plain"),
                 {random_input(x, t).with(weights ? Layout::gaps : Layout::packed), w, w},
                 [=](const Tensors& in) -> Tensors { return run(in); })
            .sums(80)
            .f64()
            .gradient = gradient;
      }
}

}  // namespace

WS_CASES(native_layer_norm) {
  add_rows(cases, true, [](const Tensors& in, const List& last) -> Tensors {
    return {std::get<0>(native_layer_norm(in[0], last, in[1], in[2], 1e-5))};
  });
  add_rows(
      cases, true,
      [](const Tensors& in, const List& last) -> Tensors {
        const auto [y, mean, rstd] = native_layer_norm(in[0], last, in[1], in[2], 1e-5);
        return {y, mean, rstd};
      },
      false);
}
WS_CASES(skip_layer_norm) {
  add_rows(cases, true, [](const Tensors& in, const List& last) -> Tensors {
    return {skip_layer_norm(in[0], in[0], last, in[1], in[2])};
  });
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(named(t, {4096, 768}),
              {random_input({4096, 768}, t), random_input({4096, 768}, t), random_input({768}),
               random_input({768})},
              [](const Tensors& in) -> Tensors {
                return {skip_layer_norm(in[0], in[1], {768}, in[2], in[3])};
              })
        .moves(3.0 * 4096 * 768 * static_cast<double>(size_of(t)));
}
WS_CASES(skip_rms_norm) {
  add_rows(cases, false, [](const Tensors& in, const List& last) -> Tensors {
    return {skip_rms_norm(in[0], in[0], last, in[1])};
  });
}
// The forms with normalized_shape of operators that have cases elsewhere.
WS_CASES(layer_norm) {
  for (DType t : {DType::f32, DType::bf16})
    cases
        .add(named(t, {2, 3, 4, 10}, "over two dimensions"),
             {random_input({2, 3, 4, 10}, t), random_input({4, 10}, t), random_input({4, 10}, t)},
             [](const Tensors& in) -> Tensors {
               return {layer_norm(in[0], {4, 10}, in[1], in[2])};
             })
        .sums(40);
}
WS_CASES(rms_norm) {
  for (DType t : {DType::f32, DType::bf16})
    cases
        .add(named(t, {2, 3, 4, 10}, "over two dimensions"),
             {random_input({2, 3, 4, 10}, t), random_input({4, 10}, t)},
             [](const Tensors& in) -> Tensors {
               return {rms_norm(in[0], {4, 10}, in[1])};
             })
        .sums(40);
}

WS_CASES(group_norm) {
  for (int64_t groups : {1, 2, 6})
    add_images(cases, [=](const Tensors& in) -> Tensors {
      return {group_norm(in[0], groups, in[1], in[2])};
    });
  for (DType t : {DType::f32, DType::bf16}) {
    cases.add(named(t, {0, 6, 4}), {random_input({0, 6, 4}, t), no_input(), no_input()},
              [](const Tensors& in) -> Tensors { return {group_norm(in[0], 2)}; });
    cases
        .time(named(t, {16, 128, 64, 64}),
              {random_input({16, 128, 64, 64}, t), random_input({128}), random_input({128})},
              [](const Tensors& in) -> Tensors { return {group_norm(in[0], 32, in[1], in[2])}; })
        .moves(2.0 * 16 * 128 * 64 * 64 * static_cast<double>(size_of(t)))
        .backward_too();
  }
}
WS_CASES(native_group_norm) {
  for (bool all : {false, true})
    add_images(
        cases,
        [=](const Tensors& in) -> Tensors {
          const Tensor& x = in[0];
          const auto [y, mean, rstd] = native_group_norm(
              x, in[1], in[2], x.size(0), x.size(1), x.numel() / x.size(0) / x.size(1), 3, 1e-5);
          if (!all) return {y};
          return {y, mean, rstd};
        },
        !all);
}
WS_CASES(instance_norm) {
  add_images(cases, [](const Tensors& in) -> Tensors {
    return {in[0].dims() > 2 ? instance_norm(in[0], in[1], in[2])
                             : group_norm(in[0], 2, in[1], in[2])};
  });
}
WS_CASES(batch_norm) {
  for (bool training : {false, true})
    for (DType t : kTypes)
      for (const auto& [x, all] : {std::pair(Shape{5, 6, 5, 7}, false),
                                   std::pair(Shape{9, 3}, false), std::pair(Shape{9, 3}, true)}) {
        const CaseInput w = random_input({x[1]}, t);
        const CaseInput running = random_input({x[1]}, DType::f32, Fill::positive).constant();
        cases
            .add(named(t, x, training ? "training" : "") + (all ? " all results" : ""),
                 {random_input(x, t), w, w, running, running},
                 [training = training, all = all](const Tensors& in) -> Tensors {
                   const Tensor m = clone(in[3].detach()), v = clone(in[4].detach());
                   const Tensor y = batch_norm(in[0], in[1], in[2], m, v, training);
                   if (all) return {y, m, v};
                   return {y};
                 })
            .sums(180)
            .f64()
            .gradient = !all;
      }
}

}  // namespace wellspring
