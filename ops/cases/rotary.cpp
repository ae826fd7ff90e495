#include "ops/rotary.h"

#include "ops/cases.h"

namespace wellspring {
namespace {

WS_CASES(rotary) {
  const auto run = [](const Tensors& in) -> Tensors {
    return {rotary(in[0], in[1], in[2], in[3])};
  };
  const auto some = [](const Tensors& in) -> Tensors {
    return {rotary(in[0], in[1], in[2], in[3], 2)};
  };
  const auto in_place = [](const Tensors& in) -> Tensors {
    // The identity's result stands for the projection that a model rotates in place.
    Tensor x = rotary(in[0], in[1], in[2], in[3], 0);
    return {rotary_(x, in[1], in[2], in[3], 3)};
  };
  const auto table = [](int64_t positions, int64_t width) {
    return random_input({positions, width / 2}).constant();
  };
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    for (int64_t width : {2, 30, 64, 70})
      cases
          .add(type + " width " + std::to_string(width),
               {random_input({2, 5, 3, width}, t), table(9, width), table(9, width), no_input()},
               run)
          .sums(4);
    cases
        .add(type + " positions",
             {random_input({2, 5, 4, 32}, t), table(20, 32), table(20, 32),
              ids_input({2, 5}, 0, 20)},
             some)
        .sums(4);
    cases
        .add(type + " in place",
             {random_input({2, 5, 4, 36}, t), table(20, 36), table(20, 36),
              ids_input({2, 5}, 0, 20)},
             in_place)
        .sums(4);
    cases.add(type + " empty",
              {random_input({2, 0, 4, 32}, t), table(3, 32), table(3, 32), no_input()}, run);
    cases.add(type + " no width",
              {random_input({2, 3, 4, 0}, t), table(3, 0), table(3, 0), no_input()}, run);
    // Within 1, so that a product alone does not overflow where the f64 reference does not.
    const CaseInput unit = random_input({6, 17}, DType::f32, Fill::unit).constant();
    cases
        .add(type + " odd", {random_input({2, 6, 3, 34}, t, Fill::odd), unit, unit, no_input()},
             run)
        .no_gradient();
    cases
        .add(type + " many rows",
             {random_input({3, 200, 4, 64}, t), table(200, 64), table(200, 64), no_input()}, run)
        .sums(4);
  }
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases
        .add("layout " + std::to_string(static_cast<int>(l)),
             {random_input({3, 4, 3, 20}).with(l), table(4, 20), table(4, 20), no_input()}, run)
        .sums(4);
  const auto timed = [](const Tensors& in) -> Tensors {
    return {rotary(in[0], in[1], in[2], in[3], 24)};
  };
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " 24 heads of [4, 1024, 36, 64]",
              {random_input({4, 1024, 36, 64}, t), table(1024, 64), table(1024, 64), no_input()},
              timed)
        .moves(2.0 * 4 * 1024 * 36 * 64 * static_cast<double>(size_of(t)))
        .backward_too();
}

WS_CASES(apply_rotary_position_embedding) {
  struct Form {
    Shape q, k, ids;
  };
  const Form forms[] = {{{2, 5, 3, 16}, {2, 5, 1, 16}, {2, 5}},
                        {{7, 3, 30}, {7, 2, 30}, {7}},
                        {{2, 3, 5, 3, 16}, {2, 3, 5, 1, 16}, {2, 3, 5}}};
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (const Form& f : forms)
      for (bool ids : {false, true})
        for (bool interleaved : {false, true}) {
          const CaseInput table =
              random_input({9, f.q[f.q.size() - 1] / 2}, t == DType::bf16 ? t : DType::f32)
                  .constant();
          cases
              .add(std::string(name_of(t)) + " " + f.q.text() + (ids ? " ids" : "") +
                       (interleaved ? " interleaved" : ""),
                   {random_input(f.q, t), random_input(f.k, t), table, table,
                    ids ? ids_input(f.ids, 0, 9, DType::i64) : no_input()},
                   [=](const Tensors& in) -> Tensors {
                     const auto [q, k] = apply_rotary_position_embedding(in[0], in[1], in[2], in[3],
                                                                         in[4], interleaved);
                     return {q, k};
                   })
              .sums(4)
              .f64();
        }
}

}  // namespace
}  // namespace wellspring
