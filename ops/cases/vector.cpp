// Products with vectors.
#include "ops/cases.h"
#include "ops/matmul.h"

namespace wellspring {
namespace {

constexpr DType kNumbers[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                              DType::i32, DType::i16, DType::i8,   DType::u8};
constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};

}  // namespace

WS_CASES(mv) {
  for (const DType t : kNumbers)
    for (const Layout l : {Layout::packed, Layout::transposed, Layout::gaps})
      cases
          .add(std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(l)),
               {random_input({9, 37}, t).with(l), random_input({37}, t).with(l)},
               [](const Tensors& in) -> Tensors { return {mv(in[0], in[1])}; })
          .sums(37)
          .f64();
  cases.add("nothing", {random_input({3, 0}), random_input({0})},
            [](const Tensors& in) -> Tensors { return {mv(in[0], in[1])}; });
  for (const DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " [4096, 4096]",
              {random_input({4096, 4096}, t), random_input({4096}, t)},
              [](const Tensors& in) -> Tensors { return {mv(in[0], in[1])}; })
        .moves(4096.0 * 4096 * static_cast<double>(size_of(t)));
}
WS_CASES(outer) {
  for (const DType t : kTypes)
    cases
        .add(name_of(t).data(), {random_input({9}, t), random_input({37}, t).with(Layout::gaps)},
             [](const Tensors& in) -> Tensors { return {outer(in[0], in[1])}; })
        .sums(37)
        .f64();
  for (const DType t : {DType::f32, DType::bf16})
    cases
        .time(std::string(name_of(t)) + " 4096 by 4096",
              {random_input({4096}, t), random_input({4096}, t)},
              [](const Tensors& in) -> Tensors { return {outer(in[0], in[1])}; })
        .moves(4096.0 * 4096 * static_cast<double>(size_of(t)));
}
WS_CASES(dot) {
  for (const DType t : kNumbers)
    cases
        .add(name_of(t).data(), {random_input({370}, t), random_input({370}, t)},
             [](const Tensors& in) -> Tensors { return {dot(in[0], in[1])}; })
        .sums(370)
        .f64();
}

}  // namespace wellspring
