// Cases of the named products.
#include "ops/cases.h"
#include "ops/cases/published.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};
constexpr DType kAll[] = {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64,
                          DType::i32, DType::i16,  DType::i8,  DType::u8};
using Run = std::function<Tensors(const Tensors&)>;

// Each dtype, packed and strided, and a product of nothing.
void add_products(CaseList& cases, const Shape& a, const Shape& b, const Run& run) {
  for (DType t : kAll) {
    const std::string type(name_of(t));
    cases.add(type, {random_input(a, t), random_input(b, t)}, run).sums(40).f64();
    for (Layout l : {Layout::transposed, Layout::gaps, Layout::expanded, Layout::reversed})
      cases
          .add(type + " layout " + std::to_string(static_cast<int>(l)),
               {random_input(a, t).with(l), random_input(b, t).with(l)}, run)
          .sums(40)
          .f64();
  }
}

Run in_place(const Tensor& (*form)(const Tensor&, const Tensor&, const Tensor&, double, double)) {
  return [form](const Tensors& in) -> Tensors {
    const Tensor c = clone(in[0]);
    return {form(c, in[1], in[2], 0.5, -2)};
  };
}

}  // namespace

WS_CASES(mm) {
  published::products([&](int64_t m, int64_t n, int64_t k, DType t, bool full) {
    cases.publish(
        published::text({m, n, k}, t), {random_input({m, k}, t), random_input({k, n}, t)},
        [](const Tensors& in) -> Tensors { return {mm(in[0], in[1])}; }, k, full);
  });
  add_products(cases, {13, 40}, {40, 21},
               [](const Tensors& in) -> Tensors { return {mm(in[0], in[1])}; });
  cases
      .add("out", {random_input({13, 40}), random_input({40, 21})},
           [](const Tensors& in) -> Tensors {
             NoGrad no_grad;
             const Tensor turned = Tensor::empty({21, 13}).as_strided({13, 21}, {1, 13}, 0);
             return {mm_out(turned, in[0], in[1])};
           })
      .sums(40)
      .no_gradient();
  cases
      .add("out is an operand", {random_input({20, 20}), random_input({20, 20})},
           [](const Tensors& in) -> Tensors {
             NoGrad no_grad;
             const Tensor a = clone(in[0]);
             return {mm_out(a, a, in[1])};
           })
      .sums(20)
      .no_gradient();
}
WS_CASES(bmm) {
  published::products([&](int64_t m, int64_t n, int64_t k, DType t, bool full) {
    if (m * n * k > 160 * 160 * 1024) return;  // the reference is slow
    cases.publish(
        published::text({m, n, k}, t), {random_input({4, m, k}, t), random_input({4, k, n}, t)},
        [](const Tensors& in) -> Tensors { return {bmm(in[0], in[1])}; }, k, full);
  });
  add_products(cases, {5, 13, 40}, {5, 40, 9},
               [](const Tensors& in) -> Tensors { return {bmm(in[0], in[1])}; });
  cases
      .add("out", {random_input({3, 13, 40}), random_input({3, 40, 21})},
           [](const Tensors& in) -> Tensors {
             NoGrad no_grad;
             return {bmm_out(Tensor::empty({3, 13, 21}), in[0], in[1])};
           })
      .sums(40)
      .no_gradient();
}
WS_CASES(addmm) {
  published::products([&](int64_t m, int64_t n, int64_t k, DType t, bool full) {
    for (double v : published::kScalars)
      cases.publish(
          published::text({m, n, k}, t) + " by " + std::to_string(v),
          {random_input({m, n}, t), random_input({m, k}, t), random_input({k, n}, t)},
          [v](const Tensors& in) -> Tensors { return {addmm(in[0], in[1], in[2], v, v)}; }, k,
          full);
  });
  const Run scaled = [](const Tensors& in) -> Tensors {
    return {addmm(in[0], in[1], in[2], 0.5, -2)};
  };
  const Run plain = [](const Tensors& in) -> Tensors { return {addmm(in[0], in[1], in[2])}; };
  const Run without = [](const Tensors& in) -> Tensors {
    return {addmm(in[0], in[1], in[2], 0, 3)};
  };
  const Run into = [](const Tensors& in) -> Tensors {
    NoGrad no_grad;
    return {addmm_out(Tensor::empty({13, 21}, in[1].dtype()), in[0], in[1], in[2], 2, 3)};
  };
  for (DType t : kTypes) {
    const std::string type(name_of(t));
    const auto in = [t](const Shape& s) { return random_input(s, t); };
    // The product's rounding is scaled with it.
    const auto add = [&](const std::string& name, const Shape& c, const Run& run) -> OperatorCase& {
      return cases.add(type + " " + name, {in(c), in({13, 40}), in({40, 21})}, run).sums(80).f64();
    };
    for (const Shape& c : {Shape{13, 21}, Shape{21}, Shape{13, 1}, Shape{}, Shape{1, 21}}) {
      add("scaled " + c.text(), c, scaled);
      add("plain " + c.text(), c, plain);
    }
    cases
        .add(type + " beta 0 with NaN",
             {in({13, 21}).with(Fill::odd).constant(), in({13, 40}), in({40, 21})}, without)
        .sums(120)
        .f64();
    add("in place", {13, 21}, in_place(addmm_));
    add("out", {21}, into).no_gradient();
  }
}
WS_CASES(baddbmm) {
  for (DType t : kTypes)
    for (const Shape& c : {Shape{3, 13, 21}, Shape{21}, Shape{3, 1, 1}}) {
      const std::string name = std::string(name_of(t)) + " " + c.text();
      const std::vector<CaseInput> in = {random_input(c, t), random_input({3, 13, 40}, t),
                                         random_input({3, 40, 21}, t)};
      cases
          .add(name, in,
               [](const Tensors& in) -> Tensors { return {baddbmm(in[0], in[1], in[2], 0.5, -2)}; })
          .sums(80)
          .f64();
      if (c.size() == 3 && c[1] > 1)
        cases.add(name + " in place", in, in_place(baddbmm_)).sums(80).f64();
    }
}
WS_CASES(addmv) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)),
             {random_input({13}, t), random_input({13, 40}, t), random_input({40}, t)},
             [](const Tensors& in) -> Tensors { return {addmv(in[0], in[1], in[2], 0.5, -2)}; })
        .sums(80)
        .f64();
}

}  // namespace wellspring
