// Cases of PyTorch's forms of attention.
#include "ops/attention.h"
#include "ops/cases.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

struct Form {
  const char* name;
  Shape q, k, v, mask;  // mask: no extents for none
  bool bool_mask = false, causal = false, grouped = false;
  double dropout = 0;
};
const Form kForms[] = {
    {"plain", {2, 3, 7, 16}, {2, 3, 9, 16}, {2, 3, 9, 16}, {}},
    {"causal", {2, 3, 9, 16}, {2, 3, 9, 16}, {2, 3, 9, 16}, {}, false, true},
    {"causal, more keys", {2, 3, 5, 16}, {2, 3, 9, 16}, {2, 3, 9, 16}, {}, false, true},
    {"causal, fewer keys", {2, 3, 9, 16}, {2, 3, 5, 16}, {2, 3, 5, 16}, {}, false, true},
    {"bool mask", {2, 3, 7, 16}, {2, 3, 9, 16}, {2, 3, 9, 16}, {7, 9}, true},
    {"added mask", {2, 3, 7, 16}, {2, 3, 9, 16}, {2, 3, 9, 16}, {2, 1, 7, 9}},
    {"other width of v", {2, 3, 7, 16}, {2, 3, 9, 16}, {2, 3, 9, 10}, {}},
    {"groups", {2, 6, 7, 16}, {2, 2, 9, 16}, {2, 2, 9, 16}, {}, false, false, true},
    {"groups, masked", {2, 6, 7, 16}, {2, 2, 9, 16}, {2, 2, 9, 16}, {7, 9}, true, false, true},
    {"dropout", {2, 3, 7, 16}, {2, 3, 9, 16}, {2, 3, 9, 16}, {}, false, false, false, 0.3},
    {"no heads", {7, 16}, {9, 16}, {9, 16}, {}},
    {"two batches", {2, 2, 3, 7, 16}, {2, 2, 3, 9, 16}, {2, 2, 3, 9, 16}, {7, 9}, true},
};

CaseInput mask_of(const Form& f, DType t) {
  if (f.mask.size() == 0) return no_input();
  return random_input(f.mask, f.bool_mask ? DType::boolean : t).constant();
}

// What is sums of rounded products: the tolerance follows the keys and the width.
OperatorCase& tolerant(OperatorCase& c) { return c.sums(20).f64(); }

}  // namespace

WS_CASES(scaled_dot_product_attention) {
  for (DType t : kTypes)
    for (const Form& f : kForms)
      tolerant(cases.add(
          std::string(name_of(t)) + " " + f.name,
          {random_input(f.q, t), random_input(f.k, t), random_input(f.v, t), mask_of(f, t)},
          [f](const Tensors& in) -> Tensors {
            return {scaled_dot_product_attention(in[0], in[1], in[2], in[3], f.dropout, f.causal,
                                                 f.dropout > 0 ? std::optional(0.4) : std::nullopt,
                                                 f.grouped, 7)};
          }));
}

WS_CASES(_scaled_dot_product_efficient_attention) {
  for (DType t : kTypes)
    for (const Form& f : {kForms[0], kForms[1], kForms[5]})
      for (bool lse : {false, true})
        tolerant(cases.add(std::string(name_of(t)) + " " + f.name + (lse ? " with sums" : ""),
                           {random_input(f.q, t), random_input(f.k, t), random_input(f.v, t),
                            mask_of(f, t)},
                           [f, lse](const Tensors& in) -> Tensors {
                             const auto [y, sums, seed, offset] =
                                 _scaled_dot_product_efficient_attention(in[0], in[1], in[2], in[3],
                                                                         lse, 0, f.causal);
                             if (lse) return {y, sums, seed, offset};
                             return {y};
                           }))
            .gradient = !lse;
}

WS_CASES(_efficient_attention_forward) {
  for (DType t : kTypes) {
    for (int64_t mask : {0, 1, 2})
      tolerant(cases.add(std::string(name_of(t)) + " mask " + std::to_string(mask),
                         {random_input({2, 5, 3, 16}, t), random_input({2, 9, 3, 16}, t),
                          random_input({2, 9, 3, 16}, t)},
                         [mask](const Tensors& in) -> Tensors {
                           return {std::get<0>(_efficient_attention_forward(
                               in[0], in[1], in[2], {}, {}, {}, {}, {}, 0, mask))};
                         }));
    tolerant(
        cases.add(std::string(name_of(t)) + " sequences",
                  {random_input({1, 12, 2, 16}, t), random_input({1, 15, 2, 16}, t),
                   random_input({1, 15, 2, 16}, t)},
                  [](const Tensors& in) -> Tensors {
                    const int32_t q[] = {0, 4, 5, 12}, k[] = {0, 7, 9, 15};
                    return {std::get<0>(_efficient_attention_forward(
                        in[0], in[1], in[2], {}, Tensor::from(std::span<const int32_t>(q), {4}),
                        Tensor::from(std::span<const int32_t>(k), {4}), {}, {}, 0, 2))};
                  }));
  }
}

}  // namespace wellspring
