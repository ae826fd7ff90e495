// Random draws: the same from the same seed and offset, by every kernel and the reference.
#include "ops/random.h"

#include "ops/cases.h"
#include "ops/pointwise.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr DType kFloats[] = {DType::f64, DType::f32, DType::bf16, DType::f16};
constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                            DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};
constexpr uint64_t kSeed = 0x123456789abcdef, kFar = (uint64_t{1} << 40) + 37;

// Nothing that is drawn has a gradient.
CaseInput drawn_input(const Shape& shape, DType dtype = DType::f32, Fill fill = Fill::normal) {
  return random_input(shape, dtype, fill).constant();
}

// Shapes and offsets: nothing, one, parts of groups, whole ones, several tiles.
template <class Draw>
void draws(CaseList& cases, std::span<const DType> types, Draw draw) {
  for (const DType t : types) {
    const std::string type(name_of(t));
    const auto add = [&](const Shape& shape, uint64_t offset) {
      cases.add(type + " " + shape.text() + " at " + std::to_string(offset),
                {drawn_input(shape, t, Fill::unit)},
                [=](const Tensors& in) -> Tensors { return {draw(in[0], offset)}; });
    };
    for (const uint64_t offset : {uint64_t{0}, uint64_t{5}, uint64_t{64}, kFar})
      for (const Shape& shape : {Shape{}, Shape{31}, Shape{64}, Shape{3, 50}}) add(shape, offset);
    add({0, 3}, 0), add({200, 500}, 7);
  }
}

// In place on a copy of the input, of some strides.
template <class Draw>
auto in_place(Draw draw) {
  return [draw](const Tensor& x, uint64_t offset) {
    const Tensor y = clone(x);
    draw(x.dims() == 2 ? transpose(y, 0, 1) : y, offset);
    return y;
  };
}

template <class Draw>
void time_draws(CaseList& cases, Draw draw) {
  for (const Shape& shape : {Shape{1024, 1024}, Shape{4096, 4096}})
    for (const DType t : {DType::f32, DType::bf16})
      cases
          .time(std::string(name_of(t)) + " " + shape.text(), {},
                [=](const Tensors&) -> Tensors { return {draw(shape, t)}; })
          .moves(static_cast<double>(shape.numel()) * static_cast<double>(size_of(t)));
}

}  // namespace

WS_CASES(rand) {
  draws(cases, kFloats, [](const Tensor& x, uint64_t offset) {
    return rand(x.shape(), x.dtype(), {}, kSeed, offset);
  });
  time_draws(cases, [](const Shape& s, DType t) { return rand(s, t, {}, 1); });
}
WS_CASES(rand_like) {
  draws(cases, kFloats,
        [](const Tensor& x, uint64_t offset) { return rand_like(x, {}, kSeed, offset); });
  cases.add("another dtype", {drawn_input({7, 9})},
            [](const Tensors& in) -> Tensors { return {rand_like(in[0], DType::f64, kSeed, 3)}; });
}
WS_CASES(uniform_) {
  draws(cases, kFloats,
        in_place([](const Tensor& y, uint64_t offset) { uniform_(y, -3, 5, kSeed, offset); }));
  cases.add("one number", {drawn_input({9})},
            [](const Tensors& in) -> Tensors { return {uniform_(clone(in[0]), 2, 2, kSeed)}; });
}
WS_CASES(randn) {
  draws(cases, kFloats, [](const Tensor& x, uint64_t offset) {
    return randn(x.shape(), x.dtype(), {}, kSeed, offset);
  });
  time_draws(cases, [](const Shape& s, DType t) { return randn(s, t, {}, 1); });
}
WS_CASES(randn_like) {
  draws(cases, kFloats,
        [](const Tensor& x, uint64_t offset) { return randn_like(x, {}, kSeed, offset); });
}
WS_CASES(normal_) {
  draws(cases, kFloats,
        in_place([](const Tensor& y, uint64_t offset) { normal_(y, -3, 0.5, kSeed, offset); }));
}
WS_CASES(normal) {
  draws(cases, kFloats,
        [](const Tensor& x, uint64_t offset) { return normal(x, 0.25, kSeed, offset); });
  for (const DType t : kFloats)
    cases.add(std::string(name_of(t)) + " forms",
              {drawn_input({5, 1}, t), drawn_input({7}, t, Fill::positive)},
              [](const Tensors& in) -> Tensors {
                return {normal(in[0], in[1], kSeed, 9), normal(2.0, in[1], kSeed, 1),
                        normal(2.0, 3.0, Shape{4, 5}, in[0].dtype(), {}, kSeed)};
              });
}
WS_CASES(log_normal_) {
  draws(cases, kFloats, in_place([](const Tensor& y, uint64_t offset) {
          log_normal_(y, 0.5, 0.25, kSeed, offset);
        }));
}
WS_CASES(exponential_) {
  draws(cases, kFloats,
        in_place([](const Tensor& y, uint64_t offset) { exponential_(y, 2.5, kSeed, offset); }));
  time_draws(cases,
             [](const Shape& s, DType t) { return exponential_(Tensor::empty(s, t), 1, 1); });
}
WS_CASES(bernoulli) {
  for (const DType t : kFloats)
    cases.add(name_of(t).data(), {drawn_input({9, 40}, t, Fill::unit)},
              [](const Tensors& in) -> Tensors {
                const Tensor p = rand(in[0].shape(), in[0].dtype(), {}, 3);
                return {bernoulli(p, kSeed, 5)};
              });
}
WS_CASES(bernoulli_) {
  draws(cases, kTypes,
        in_place([](const Tensor& y, uint64_t offset) { bernoulli_(y, 0.3, kSeed, offset); }));
  cases.add("a tensor of p", {drawn_input({5, 9}, DType::i32), drawn_input({9})},
            [](const Tensors& in) -> Tensors {
              const Tensor p = rand({9}, DType::f32, {}, 3);
              return {bernoulli_(clone(in[0]), p, kSeed, 5), bernoulli_(clone(in[0]), 1.0, kSeed),
                      bernoulli_(clone(in[0]), 0.0, kSeed)};
            });
}
WS_CASES(randint) {
  draws(cases, kTypes, [](const Tensor& x, uint64_t offset) {
    const int64_t low = x.dtype() == DType::u8 || x.dtype() == DType::boolean ? 0 : -60;
    return randint(low, x.dtype() == DType::boolean ? 2 : 100, x.shape(), x.dtype(), {}, kSeed,
                   offset);
  });
  cases.add("many values", {drawn_input({300}, DType::i64)}, [](const Tensors&) -> Tensors {
    return {randint(-(int64_t{1} << 40), int64_t{1} << 41, {300}, DType::i64, {}, kSeed, 3),
            randint(int64_t{1} << 32, {300}, DType::i64, {}, kSeed, 3)};
  });
}
WS_CASES(random_) {
  draws(cases, kTypes, in_place([](const Tensor& y, uint64_t offset) {
          random_(y, 0, y.dtype() == DType::boolean ? 2 : 100, kSeed, offset);
        }));
}
WS_CASES(randperm) {
  for (const DType t : {DType::f64, DType::f32, DType::i64, DType::i32, DType::i16})
    for (const int64_t n : {0, 1, 2, 33, 1000})
      cases.add(std::string(name_of(t)) + " of " + std::to_string(n), {drawn_input({2}, t)},
                [n](const Tensors& in) -> Tensors {
                  return {randperm(n, in[0].dtype(), {}, kSeed, 11)};
                });
}
WS_CASES(multinomial) {
  for (const DType t : kFloats)
    for (const bool replacement : {false, true})
      cases.add(std::string(name_of(t)) + (replacement ? " with replacement" : ""),
                {drawn_input({6, 40}, t, Fill::positive), drawn_input({9}, t, Fill::positive)},
                [=](const Tensors& in) -> Tensors {
                  return {multinomial(in[0], 12, replacement, kSeed, 4),
                          multinomial(in[1], 5, replacement, kSeed)};
                });
  cases.add("zeros among the weights", {drawn_input({3, 20})}, [](const Tensors& in) -> Tensors {
    const Tensor w = to(gt(in[0], 0), DType::f32);
    return {multinomial(w, 100, true, kSeed), multinomial(w, 3, false, kSeed)};
  });
  cases
      .time("f32 [32, 50257], 1 of each", {drawn_input({32, 50257}, DType::f32, Fill::positive)},
            [](const Tensors& in) -> Tensors { return {multinomial(in[0], 1, true, 1)}; })
      .moves(4.0 * 32 * 50257);
}

WS_CASES(cauchy_) {
  for (const DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
    cases
        .add(name_of(t).data(), {drawn_input({7, 30}, t)},
             [](const Tensors& in) -> Tensors { return {cauchy_(clone(in[0]), 1, 2, kSeed, 5)}; })
        .within(1e-4, t == DType::f32   ? 1e-4
                      : t == DType::f16 ? 0.01
                                        : 0.03);
}
WS_CASES(geometric_) {
  for (const DType t : kTypes)
    cases.add(name_of(t).data(), {drawn_input({7, 30}, t)}, [](const Tensors& in) -> Tensors {
      return {geometric_(clone(in[0]), 0.3, kSeed, 5)};
    });
}

}  // namespace wellspring
