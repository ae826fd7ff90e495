// Cases of the elementwise operators that choose among others.
#include "ops/arithmetic.h"

#include "ops/cases.h"
#include "ops/pointwise.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};

// A divisor without zeros.
CaseInput divisor(const Shape& shape, DType t) {
  return is_float(t) ? random_input(shape, t, Fill::positive).constant()
                     : ids_input(shape, 1, t == DType::boolean ? 2 : 5, t);
}

Tensor flag(bool v) { return Tensor::full({}, v, DType::boolean); }

}  // namespace

WS_CASES(bitwise_not) {
  for (DType t : kTypes) {
    if (is_float(t)) continue;
    for (Layout l : {Layout::packed, Layout::transposed, Layout::gaps, Layout::expanded})
      cases.add(std::string(name_of(t)) + " layout " + std::to_string(static_cast<int>(l)),
                {random_input({5, 33}, t).with(l)}, [](const Tensors& in) -> Tensors {
                  const Tensor changed = clone(in[0]), out = Tensor::empty({5, 33}, in[0].dtype());
                  bitwise_not_(changed);
                  bitwise_not_out(out, in[0]);
                  return {bitwise_not(in[0]), changed, out};
                });
  }
}
WS_CASES(nan_to_num) {
  for (DType t : kTypes) {
    const std::string type(name_of(t));
    cases
        .add(type, {random_input({5, 33}, t)},
             [](const Tensors& in) -> Tensors { return {nan_to_num(in[0])}; })
        .f64();
    if (!is_float(t)) continue;
    cases
        .add(type + " odd", {random_input({5, 33}, t, Fill::odd)},
             [](const Tensors& in) -> Tensors {
               const Tensor changed = clone(in[0]);
               nan_to_num_(changed, 1, 2, 3);
               return {nan_to_num(in[0]), nan_to_num(in[0], 7, {}, -1), changed};
             })
        .no_gradient();
  }
}
WS_CASES(float_power) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)), {divisor({5, 33}, t), divisor({33}, t)},
             [](const Tensors& in) -> Tensors {
               return {float_power(in[0], in[1]), float_power(in[0], 3), float_power(2, in[0])};
             })
        .f64()
        .within(1e-4, 1e-6);
  cases
      .add("gradient",
           {random_input({5, 33}, DType::f64, Fill::positive), random_input({33}, DType::f64)},
           [](const Tensors& in) -> Tensors { return {float_power(in[0], in[1])}; })
      .f64();
}
WS_CASES(div_rounded) {
  for (DType t : kTypes)
    for (const char* mode : {"floor", "trunc"})
      cases
          .add(std::string(name_of(t)) + " " + mode, {random_input({5, 33}, t), divisor({33}, t)},
               [=](const Tensors& in) -> Tensors {
                 const Tensor changed = clone(in[0]);
                 div_rounded_(changed, t == DType::boolean ? Scalar(true) : Scalar(3), mode);
                 return {div_rounded(in[0], in[1], mode), div_rounded(in[0], 3, mode), changed};
               })
          .no_gradient();
}
WS_CASES(clip) {
  for (DType t : kTypes) {
    const std::string type(name_of(t));
    const Scalar one = t == DType::boolean ? Scalar(true) : Scalar(1);
    // Values of 16 bits often lie on an edge, where differences say nothing.
    const bool smooth = size_of(t) > 2;
    cases
        .add(type + " numbers", {random_input({5, 33}, t)},
             [one](const Tensors& in) -> Tensors {
               const Tensor changed = clone(in[0]);
               clip_(changed, std::nullopt, one);
               return {clip(in[0], 0), clip(in[0], std::nullopt, 1), clip(in[0], 0, 1), changed};
             })
        .f64()
        .gradient = smooth;
    cases
        .add(type + " tensors",
             {random_input({5, 33}, t), random_input({33}, t), random_input({5, 1}, t)},
             [](const Tensors& in) -> Tensors {
               const Tensor changed = clone(in[0]);
               clip_(changed, in[1]);
               return {clip(in[0], in[1]), clip(in[0], std::nullopt, in[2]),
                       clip(in[0], in[1], in[2]), changed};
             })
        .f64()
        .gradient = smooth;
  }
}
WS_CASES(isclose) {
  for (DType t : kTypes)
    for (bool nan : {false, true})
      cases
          .add(std::string(name_of(t)) + (nan ? " with NaN" : ""),
               {random_input({5, 33}, t, is_float(t) ? Fill::odd : Fill::normal),
                random_input({33}, t)},
               [=](const Tensors& in) -> Tensors {
                 return {isclose(in[0], in[1], 0.1, 0.1, nan), isclose(in[0], in[0], 0, 0, nan)};
               })
          .no_gradient();
}
WS_CASES(allclose) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)), {random_input({5, 33}, t), random_input({33}, t)},
             [](const Tensors& in) -> Tensors {
               return {flag(allclose(in[0], in[1])), flag(allclose(in[0], in[0])),
                       flag(allclose(in[0], in[1], 0, 1000))};
             })
        .no_gradient();
}
WS_CASES(equal) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)), {random_input({5, 33}, t), random_input({5, 33}, t)},
             [](const Tensors& in) -> Tensors {
               return {flag(equal(in[0], in[1])), flag(equal(in[0], clone(in[0]))),
                       flag(equal(in[0], narrow(in[0], 1, 0, 5)))};
             })
        .no_gradient();
}

}  // namespace wellspring
