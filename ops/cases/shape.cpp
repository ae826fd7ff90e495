// Views, copies and joins.
#include "ops/shape.h"
#include "ops/cases.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};
constexpr Layout kLayouts[] = {Layout::packed, Layout::transposed, Layout::gaps,
                               Layout::offset, Layout::expanded,   Layout::reversed};

using Run = std::function<Tensors(const Tensors&)>;

std::string numbered(const char* text, int n) { return text + std::to_string(n); }

// A view operator: every dtype and layout, odd values.
void view_cases(CaseList& cases, const Shape& shape, const Run& run) {
  for (Layout layout : kLayouts)
    cases.add(numbered("layout ", static_cast<int>(layout)), {random_input(shape).with(layout)},
              run);
  for (DType t : kTypes) cases.add(std::string(name_of(t)), {random_input(shape, t)}, run);
  cases.add("odd", {random_input(shape, DType::bf16, Fill::odd)}, run).no_gradient();
}

// A copying operator: every dtype and layout, sizes around a vector and a block.
void copy_cases(CaseList& cases, const Run& run) {
  for (DType t : kTypes)
    for (Layout layout : kLayouts)
      cases.add(std::string(name_of(t)) + numbered(" layout ", static_cast<int>(layout)),
                {random_input({2, 37, 50}, t).with(layout)}, run);
  cases.add("blocks", {random_input({3, 70, 130}).with(Layout::transposed)}, run);
  cases.add("blocks bf16", {random_input({300, 600}, DType::bf16).with(Layout::transposed)}, run)
      .no_gradient();
  cases.add("0-d", {random_input({})}, run);
  cases.add("empty", {random_input({3, 0, 2})}, run);
  cases.add("odd", {random_input({3, 40}, DType::f32, Fill::odd)}, run).no_gradient();
  cases.add("5-d", {random_input({2, 3, 4, 5, 6}).with(Layout::transposed)}, run);
}

}  // namespace

WS_CASES(view) {
  view_cases(cases, {6, 1, 8}, [](const Tensors& in) -> Tensors {
    return {view(contiguous(in[0]), {3, -1, 4})};
  });
  cases.add("0-d", {random_input({})}, [](const Tensors& in) -> Tensors {
    return {view(in[0], {1, 1})};
  });
  cases.add("empty", {random_input({0, 3})}, [](const Tensors& in) -> Tensors {
    return {view(in[0], {3, 5, 0})};
  });
}
WS_CASES(reshape) {
  view_cases(cases, {6, 4, 8}, [](const Tensors& in) -> Tensors {
    return {reshape(in[0], {3, -1, 16})};
  });
}
WS_CASES(transpose) {
  view_cases(cases, {6, 5, 8},
             [](const Tensors& in) -> Tensors { return {transpose(in[0], 0, -1)}; });
}
WS_CASES(permute) {
  view_cases(cases, {2, 5, 3}, [](const Tensors& in) -> Tensors {
    return {permute(in[0], {2, -3, 1})};
  });
}
WS_CASES(slice) {
  view_cases(cases, {6, 5, 8}, [](const Tensors& in) -> Tensors {
    return {slice(in[0], 1, -4, 100), slice(in[0], 2, 1, 8, 3), slice(in[0], 0, 5, 2)};
  });
}
WS_CASES(narrow) {
  view_cases(cases, {6, 5, 8}, [](const Tensors& in) -> Tensors {
    return {narrow(in[0], -1, 2, 5), narrow(in[0], 0, -3, 3), narrow(in[0], 1, 5, 0)};
  });
}
WS_CASES(select) {
  view_cases(cases, {6, 5, 8}, [](const Tensors& in) -> Tensors {
    return {select(in[0], 1, 3), select(in[0], -1, -8)};
  });
}
WS_CASES(expand) {
  view_cases(cases, {4, 1, 3}, [](const Tensors& in) -> Tensors {
    return {expand(in[0], {2, -1, 5, 3})};
  });
  cases
      .add("0-d", {random_input({})},
           [](const Tensors& in) -> Tensors {
             return {expand(in[0], {2, 3})};
           })
      .sums(6);
  cases.add("to nothing", {random_input({1, 3})}, [](const Tensors& in) -> Tensors {
    return {expand(in[0], {0, 3})};
  });
}
WS_CASES(unsqueeze) {
  view_cases(cases, {4, 3, 5}, [](const Tensors& in) -> Tensors {
    return {unsqueeze(in[0], 0), unsqueeze(in[0], -1), unsqueeze(in[0], 2)};
  });
}
WS_CASES(squeeze) {
  view_cases(cases, {1, 4, 1, 3}, [](const Tensors& in) -> Tensors {
    return {squeeze(in[0]), squeeze(in[0], 2), squeeze(in[0], 1)};
  });
}
WS_CASES(flatten) {
  view_cases(cases, {2, 4, 3, 5}, [](const Tensors& in) -> Tensors {
    return {flatten(in[0]), flatten(in[0], 1, 2)};
  });
  cases.add("0-d", {random_input({})},
            [](const Tensors& in) -> Tensors { return {flatten(in[0])}; });
}

WS_CASES(contiguous) {
  const Run run = [](const Tensors& in) -> Tensors { return {contiguous(in[0])}; };
  copy_cases(cases, run);
  // From 8 MiB of output on, stores go past the caches.
  for (int64_t rows : {1031, 1032})
    cases
        .add("streamed transposed " + std::to_string(rows),
             {random_input({1024, rows}, DType::f64).with(Layout::transposed)}, run)
        .no_gradient();
  for (int64_t n : {1024, 4096})
    for (DType t : {DType::f32, DType::bf16})
      cases
          .time(std::string("transposed ") + std::string(name_of(t)) +
                    numbered(" ", static_cast<int>(n)),
                {random_input({n, n}, t).with(Layout::transposed)},
                [](const Tensors& in) -> Tensors { return {contiguous(in[0])}; })
          .moves(2.0 * static_cast<double>(n * n) * static_cast<double>(size_of(t)));
}
WS_CASES(clone) {
  const Run run = [](const Tensors& in) -> Tensors { return {clone(in[0])}; };
  copy_cases(cases, run);
  cases.add("streamed", {random_input({1025, 1031}, DType::f64)}, run).no_gradient();
  for (int64_t n : {1024, 4096})
    cases
        .time(numbered("f32 ", static_cast<int>(n)), {random_input({n, n})},
              [](const Tensors& in) -> Tensors { return {clone(in[0])}; })
        .moves(8.0 * static_cast<double>(n * n));
  cases
      .time("heads", {random_input({8, 256, 12, 64})},
            [](const Tensors& in) -> Tensors { return {clone(transpose(in[0], 1, 2))}; })
      .moves(8.0 * 8 * 256 * 12 * 64);
}
WS_CASES(to) {
  for (DType from : kTypes)
    for (DType type : kTypes)
      for (Layout layout : {Layout::packed, Layout::transposed, Layout::gaps})
        cases
            .add(std::string(name_of(from)) + " to " + std::string(name_of(type)) +
                     numbered(" ", static_cast<int>(layout)),
                 {random_input({3, 21, 40}, from).with(layout).scaled(20)},
                 [type](const Tensors& in) -> Tensors { return {to(in[0], type)}; })
            .within(0, 0)
            .no_gradient();
  for (DType type : kTypes)
    cases
        .add("odd to " + std::string(name_of(type)), {random_input({3, 40}, DType::f32, Fill::odd)},
             [type](const Tensors& in) -> Tensors { return {to(in[0], type)}; })
        .no_gradient();
  cases.add("gradient", {random_input({3, 40})},
            [](const Tensors& in) -> Tensors { return {to(in[0], DType::f64)}; });
  for (int64_t n : {1024, 4096}) {
    cases
        .time(numbered("f32 to bf16 ", static_cast<int>(n)), {random_input({n, n})},
              [](const Tensors& in) -> Tensors { return {to(in[0], DType::bf16)}; })
        .moves(6.0 * static_cast<double>(n * n));
    cases
        .time(numbered("bf16 to f32 ", static_cast<int>(n)), {random_input({n, n}, DType::bf16)},
              [](const Tensors& in) -> Tensors { return {to(in[0], DType::f32)}; })
        .moves(6.0 * static_cast<double>(n * n));
  }
}
WS_CASES(copy_) {
  const Run run = [](const Tensors& in) -> Tensors { return {copy_(clone(in[0]), in[1])}; };
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)),
             {random_input({4, 5, 30}, t).constant(), random_input({5, 30})}, run)
        .gradient = is_float(t);
  cases
      .add("into gaps", {random_input({4, 30}).constant(), random_input({4, 15})},
           [](const Tensors& in) -> Tensors {
             const Tensor base = clone(in[0]);
             NoGrad none;
             copy_(slice(base, 1, 0, 30, 2), in[1]);
             return {base};
           })
      .no_gradient();
  cases
      .add("into exchanged",
           {random_input({70, 90}).constant(), random_input({90, 70}, DType::bf16)},
           [](const Tensors& in) -> Tensors {
             const Tensor base = clone(in[0]);
             NoGrad none;
             copy_(transpose(base, 0, 1), in[1]);
             return {base};
           })
      .no_gradient();
  cases
      .add("overlapping", {random_input({400}).constant()},
           [](const Tensors& in) -> Tensors {
             const Tensor base = clone(in[0]);
             copy_(narrow(base, 0, 3, 397), narrow(base, 0, 0, 397));
             return {base};
           })
      .no_gradient();
}
WS_CASES(fill_) {
  for (DType t : kTypes)
    cases.add(name_of(t).data(), {random_input({4, 50}, t).constant()},
              [](const Tensors& in) -> Tensors { return {fill_(clone(in[0]), 2.5)}; });
  // What was overwritten has no part in the gradient.
  cases.add("gradient", {random_input({4, 50})},
            [](const Tensors& in) -> Tensors { return {mul(in[0], fill_(clone(in[0]), 2.5))}; });
  cases
      .add("exchanged", {random_input({40, 50}).constant()},
           [](const Tensors& in) -> Tensors {
             const Tensor base = clone(in[0]);
             fill_(slice(transpose(base, 0, 1), 1, 1, 40, 3), -1);
             return {base};
           })
      .no_gradient();
  cases
      .time("f32 4096", {random_input({4096, 4096})},
            [](const Tensors& in) -> Tensors { return {fill_(in[0], 1)}; })
      .moves(4.0 * 4096 * 4096);
}
WS_CASES(zero_) {
  for (DType t : kTypes)
    cases.add(std::string(name_of(t)), {random_input({4, 50}, t).constant()},
              [](const Tensors& in) -> Tensors { return {zero_(clone(in[0]))}; });
  cases.add("gradient", {random_input({4, 50})},
            [](const Tensors& in) -> Tensors { return {add(in[0], zero_(clone(in[0])))}; });
  cases.add("empty", {random_input({0}).constant()},
            [](const Tensors& in) -> Tensors { return {zero_(clone(in[0]))}; });
}

WS_CASES(cat) {
  const Run run = [](const Tensors& in) -> Tensors { return {cat(in, 1)}; };
  for (DType t : kTypes)
    cases.add(name_of(t).data(),
              {random_input({3, 4, 5}, t), random_input({3, 1, 5}, t).with(Layout::transposed),
               random_input({3, 0, 5}, t), random_input({3, 2, 5}, t).with(Layout::gaps)},
              run);
  cases.add("last", {random_input({3, 70}), random_input({3, 33})},
            [](const Tensors& in) -> Tensors { return {cat(in, -1)}; });
  cases.add("one", {random_input({3, 2})}, [](const Tensors& in) -> Tensors { return {cat(in)}; });
  for (int64_t n : {1024, 4096})
    for (int dim : {0, 1})
      cases
          .time(numbered("f32 ", static_cast<int>(n)) + numbered(" along ", dim),
                {random_input({n, n}), random_input({n, n})},
                [dim](const Tensors& in) -> Tensors { return {cat(in, dim)}; })
          .moves(16.0 * static_cast<double>(n * n));
}
WS_CASES(stack) {
  for (DType t : kTypes)
    cases.add(std::string(name_of(t)), {random_input({3, 4}, t), random_input({3, 4}, t)},
              [](const Tensors& in) -> Tensors { return {stack(in)}; });
  for (int dim : {0, 1, -1})
    cases.add(numbered("dim ", dim),
              {random_input({3, 4}), random_input({3, 4}).with(Layout::transposed)},
              [dim](const Tensors& in) -> Tensors { return {stack(in, dim)}; });
}
WS_CASES(split) {
  view_cases(cases, {2, 7, 3}, [](const Tensors& in) { return split(in[0], 3, 1); });
  cases.add("sizes", {random_input({7, 3})}, [](const Tensors& in) {
    return split(in[0], std::vector<int64_t>{2, 0, 5}, 0);
  });
  cases.add("one of three", {random_input({7, 3})},
            [](const Tensors& in) -> Tensors { return {split(in[0], 3)[1]}; });
}
WS_CASES(chunk) {
  view_cases(cases, {2, 7, 3}, [](const Tensors& in) { return chunk(in[0], 4, -2); });
}
WS_CASES(sum_to) {
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (Layout layout : kLayouts)
      cases
          .add(std::string(name_of(t)) + numbered(" layout ", static_cast<int>(layout)),
               {random_input({4, 5, 33}, t).with(layout)},
               [](const Tensors& in) -> Tensors {
                 return {sum_to(in[0], {5, 1}), sum_to(in[0], {33}), sum_to(in[0], {4, 1, 33}),
                         sum_to(in[0], {}), sum_to(in[0], {4, 5, 33})};
               })
          .sums(660);
}

}  // namespace wellspring
