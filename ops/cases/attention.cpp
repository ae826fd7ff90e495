// B batch, T queries, S keys, H heads, Hk key heads, D head width.
#include "ops/attention.h"

#include "ops/cases.h"

namespace wellspring {
namespace {

struct Sizes {
  int64_t B, T, S, H, Hk, D;
};

// One width that fills vectors, ones that do not; blocks of 48 queries and 128 keys and their ends;
// few queries, which take the way of decoding; queries that see no key.
const Sizes kSizes[] = {{1, 1, 1, 1, 1, 1},    {2, 5, 5, 3, 1, 8},      {1, 49, 49, 2, 2, 33},
                        {1, 64, 64, 2, 1, 64}, {1, 20, 140, 2, 2, 128}, {2, 3, 270, 4, 1, 40},
                        {1, 9, 4, 1, 1, 16},   {2, 0, 3, 2, 1, 8},      {2, 6, 0, 2, 1, 8}};

std::vector<CaseInput> inputs_of(const Sizes& z, DType t, Layout layout = Layout::packed) {
  const CaseInput q = random_input({z.B, z.T, z.H, z.D}, t).with(layout);
  const CaseInput k = random_input({z.B, z.S, z.Hk, z.D}, t).with(layout);
  return {q, k, k};
}

double flops(const Sizes& z) { return 2.0 * static_cast<double>(z.B * z.H * z.T * z.S * z.D); }

WS_CASES(attention) {
  const auto causal = [](const Tensors& in) -> Tensors { return {attention(in[0], in[1], in[2])}; };
  const auto all = [](const Tensors& in) -> Tensors {
    return {attention(in[0], in[1], in[2], false, -0.3)};
  };
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    for (const Sizes& z : kSizes) {
      const std::string name = type + " " + Shape{z.B, z.T, z.S, z.H, z.Hk, z.D}.text();
      cases.add(name, inputs_of(z, t), causal).sums(40);
      cases.add(name + " not causal, scale below 0", inputs_of(z, t), all).sums(40);
    }
  }
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases
        .add("layout " + std::to_string(static_cast<int>(l)),
             inputs_of({3, 7, 7, 2, 2, 12}, DType::f32, l), causal)
        .sums(40);
  for (const Sizes& z :
       {Sizes{4, 256, 256, 12, 12, 64}, {1, 1024, 1024, 12, 12, 64}, {1, 1024, 1024, 8, 8, 128}})
    for (DType t : {DType::f32, DType::bf16})
      cases
          .time(std::string(name_of(t)) + " " + Shape{z.B, z.T, z.H, z.D}.text(), inputs_of(z, t),
                causal)
          .computes(flops(z))
          .backward_too();
}

WS_CASES(attention_qkv) {
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    cases
        .add(type + " grouped", {random_input({2, 51, 4 + 2 * 2, 24}, t)},
             [](const Tensors& in) -> Tensors { return {attention_qkv(in[0], 4, 2)}; })
        .sums(40);
    cases
        .add(type + " not causal", {random_input({1, 6, 3, 64}, t)},
             [](const Tensors& in) -> Tensors { return {attention_qkv(in[0], 1, 1, false, 0.2)}; })
        .sums(40);
  }
}

WS_CASES(attention_cached) {
  const auto run = [](const Tensors& in) -> Tensors {
    const NoGrad none;
    return {attention_cached(in[0], in[1], in[2], in[3])};
  };
  for (DType t : {DType::f32, DType::bf16})
    for (int64_t T : {1, 4, 30}) {
      std::vector<CaseInput> inputs = inputs_of({3, T, 290, 4, 2, 40}, t);
      inputs.push_back(ids_input({3}, 0, 290));
      cases.add(std::string(name_of(t)) + " " + std::to_string(T) + " queries", inputs, run)
          .sums(40)
          .no_gradient();
    }
}

}  // namespace
}  // namespace wellspring
