#include "ops/optimizer.h"

#include "ops/cases.h"

namespace wellspring {
namespace {

Tensor copy_of(const Tensor& t) {
  const Tensor copy = Tensor::empty(t.shape(), t.dtype(), t.device());
  copy.copy_from(t);
  return copy;
}

std::function<Tensors(const Tensors&)> step_with(const AdamwOptions& o, bool copies) {
  return [=](const Tensors& in) -> Tensors {
    const Tensor master = copy_of(in[0]), m = copy_of(in[2]), v = copy_of(in[3]);
    const Tensor compute =
        copies ? Tensor::empty(master.shape(), DType::bf16, master.device()) : Tensor();
    adamw_(master, in[1], m, v, compute, o);
    return {master, m, v, compute};
  };
}

std::vector<CaseInput> state_of(const Shape& shape, Fill grad = Fill::normal,
                                Layout layout = Layout::packed) {
  return {
      random_input(shape).constant(), random_input(shape, DType::f32, grad).with(layout).constant(),
      random_input(shape).constant(), random_input(shape, DType::f32, Fill::positive).constant()};
}

WS_CASES(adamw_) {
  AdamwOptions plain, full;
  full.lr = 0.02, full.beta1 = 0.8, full.beta2 = 0.95, full.weight_decay = 0.1, full.step = 7,
  full.grad_scale = 0.3;
  for (bool copies : {false, true})
    for (const Shape& shape :
         {Shape{}, Shape{1}, Shape{16}, Shape{3, 37}, Shape{0}, Shape{70000}}) {
      const std::string name = shape.text() + (copies ? " with copy" : "");
      cases.add("plain " + name, state_of(shape), step_with(plain, copies));
      cases.add("full " + name, state_of(shape), step_with(full, copies));
    }
  // The square of a gradient of 3e38 is infinite in f32, so the step is 0: at a small rate not to
  // be seen.
  AdamwOptions slow = full;
  slow.lr = 1e-8;
  cases.add("odd", state_of({500}, Fill::odd), step_with(slow, true));
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases.add("layout " + std::to_string(static_cast<int>(l)), state_of({5, 37}, Fill::normal, l),
              step_with(full, true));
  // In place, again and again: the copies of step_with() would be timed as well.
  for (bool copies : {false, true}) {
    std::vector<CaseInput> state = state_of({16 << 20});
    if (copies) state.push_back(random_input({16 << 20}, DType::bf16).constant());
    cases
        .time(copies ? "16M with copy" : "16M", state,
              [](const Tensors& in) -> Tensors {
                adamw_(in[0], in[1], in[2], in[3], in.size() > 4 ? in[4] : Tensor(), {});
                return {in[0]};
              })
        .moves((copies ? 30.0 : 28.0) * (16 << 20));
  }
}

WS_CASES(global_norm) {
  const auto run = [](const Tensors& in) -> Tensors {
    return {Tensor::full({}, global_norm(in), DType::f64, in[0].device())};
  };
  for (DType t : {DType::f32, DType::bf16}) {
    const std::string type(name_of(t));
    for (const Shape& shape :
         {Shape{}, Shape{31}, Shape{32}, Shape{3, 37}, Shape{0}, Shape{150000}})
      cases.add(type + " " + shape.text(),
                {random_input(shape, t).constant(), no_input(), random_input({50}, t).constant()},
                run);
    cases.add(type + " odd", {random_input({70}, t, Fill::odd).constant()}, run);
    cases.add(type + " large", {random_input({700}, t).scaled(1e30).constant()}, run);
    cases.add(type + " small", {random_input({700}, t).scaled(1e-30).constant()}, run);
    cases.time(type + " 16M", {random_input({16 << 20}, t).constant()}, run)
        .moves((16 << 20) * static_cast<double>(size_of(t)));
  }
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    cases.add("layout " + std::to_string(static_cast<int>(l)),
              {random_input({5, 37}).with(l).constant()}, run);
  cases.add("nothing", {random_input({0}).constant()}, run);
}

}  // namespace
}  // namespace wellspring
