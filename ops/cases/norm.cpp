#include "ops/norm.h"

#include "ops/cases.h"
#include "ops/cases/published.h"

namespace wellspring {
namespace {

using Run = std::function<Tensors(const Tensors&)>;

Tensors both(const std::tuple<Tensor, Tensor>& t) { return {std::get<0>(t), std::get<1>(t)}; }

// Layouts, dtypes, widths, odd values; `vectors` weights or biases follow `rows` tensors of rows.
void add_cases(CaseList& cases, int rows, int vectors, const Run& run) {
  const auto inputs = [&](const Shape& shape, DType dtype, auto&& change) {
    std::vector<CaseInput> all;
    for (int i = 0; i < rows; ++i) all.push_back(change(random_input(shape, dtype)));
    for (int i = 0; i < vectors; ++i) all.push_back(random_input({shape[shape.size() - 1]}));
    return all;
  };
  const auto same = [](CaseInput c) { return c; };
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    for (int64_t width : {1, 15, 64, 100, 259})
      cases.add(type + " width " + std::to_string(width), inputs({2, 3, width}, t, same), run)
          .sums(8);
    cases.add(type + " many rows", inputs({1030, 20}, t, same), run).sums(60);
    cases.add(type + " empty", inputs({0, 12}, t, same), run);
    cases.add(type + " one row", inputs({40}, t, same), run).sums(4);
    cases.add(type + " odd", inputs({6, 50}, t, [](CaseInput c) { return c.with(Fill::odd); }), run)
        .no_gradient();
    cases.add(type + " large", inputs({4, 80}, t, [](CaseInput c) { return c.scaled(100); }), run)
        .sums(8);
  }
  for (DType t : {DType::f64, DType::f16})
    for (int64_t width : {1, 100})
      cases
          .add(std::string(name_of(t)) + " width " + std::to_string(width),
               inputs({2, 3, width}, t, same), run)
          .sums(8);
  for (const auto& [shape, full] : published::kReductions)
    for (DType t : published::kFloats)
      cases.publish(published::text(shape, t), inputs(shape, t, same), run, shape[shape.size() - 1],
                    full);
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases
        .add("layout " + std::to_string(static_cast<int>(l)),
             inputs({5, 37}, DType::f32, [l](CaseInput c) { return c.with(l); }), run)
        .sums(8);
}

void add_times(CaseList& cases, int rows, int vectors, const Run& run) {
  for (const Shape& shape : {Shape{1024, 768}, Shape{4096, 512}, Shape{4096, 4096}})
    for (DType t : {DType::f32, DType::bf16}) {
      std::vector<CaseInput> inputs(rows, random_input(shape, t));
      inputs.insert(inputs.end(), vectors, random_input({shape[1]}));
      cases.time(std::string(name_of(t)) + " " + shape.text(), inputs, run)
          .moves(2.0 * rows * static_cast<double>(shape.numel()) * static_cast<double>(size_of(t)))
          .backward_too();
    }
}

WS_CASES(rms_norm) {
  const Run run = [](const Tensors& in) -> Tensors { return {rms_norm(in[0], in[1])}; };
  add_cases(cases, 1, 1, run);
  cases.add(
      "f32 to bf16", {random_input({7, 48}), random_input({48})},
      [](const Tensors& in) -> Tensors { return {rms_norm(in[0], in[1], 1e-3, DType::bf16)}; });
  cases.add("bf16 to f32", {random_input({7, 48}, DType::bf16), random_input({48})},
            [](const Tensors& in) -> Tensors { return {rms_norm(in[0], in[1], 0, DType::f32)}; });
  add_times(cases, 1, 1, run);
}

WS_CASES(layer_norm) {
  const Run run = [](const Tensors& in) -> Tensors { return {layer_norm(in[0], in[1], in[2])}; };
  add_cases(cases, 1, 2, run);
  cases.add("f32 to bf16", {random_input({7, 48}), random_input({48}), random_input({48})},
            [](const Tensors& in) -> Tensors {
              return {layer_norm(in[0], in[1], in[2], 1e-3, DType::bf16)};
            });
  add_times(cases, 1, 2, run);
}

WS_CASES(add_rms_norm) {
  const Run run = [](const Tensors& in) { return both(add_rms_norm(in[0], in[1], in[2])); };
  add_cases(cases, 2, 1, run);
  cases
      .add("f32 residual, bf16 branch",
           {random_input({9, 70}), random_input({9, 70}, DType::bf16), random_input({70})},
           [](const Tensors& in) {
             return both(add_rms_norm(in[0], in[1], in[2], 1e-5, DType::bf16));
           })
      .sums(8);
  add_times(cases, 2, 1, [](const Tensors& in) -> Tensors {
    return {std::get<1>(add_rms_norm(in[0], in[1], in[2]))};
  });
}

WS_CASES(add_layer_norm) {
  const Run run = [](const Tensors& in) {
    return both(add_layer_norm(in[0], in[1], in[2], in[3]));
  };
  add_cases(cases, 2, 2, run);
  cases
      .add("f32 residual, bf16 branch",
           {random_input({9, 70}), random_input({9, 70}, DType::bf16), random_input({70}),
            random_input({70})},
           [](const Tensors& in) {
             return both(add_layer_norm(in[0], in[1], in[2], in[3], 1e-5, DType::bf16));
           })
      .sums(8);
  add_times(cases, 2, 2, [](const Tensors& in) -> Tensors {
    return {std::get<1>(add_layer_norm(in[0], in[1], in[2], in[3]))};
  });
}

}  // namespace
}  // namespace wellspring
