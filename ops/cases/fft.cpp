// Cases of complex numbers and Fourier transforms. Gradients flow from real inputs, of which pairs
// are seen as complex ones.
#include "ops/fft.h"

#include "ops/cases.h"
#include "ops/complex.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

using Run = std::function<Tensor(const Tensor&)>;

constexpr Layout kLayouts[] = {Layout::packed, Layout::transposed, Layout::gaps,
                               Layout::offset, Layout::expanded,   Layout::reversed};

Tensor as_pairs(const Tensor& x) { return is_complex(x.dtype()) ? view_as_real(x) : x; }

// Of complex x, in every layout, and of pairs with their gradient.
void add_complex(CaseList& cases, const std::string& name, const Shape& shape, const Run& run,
                 int64_t length = 1) {
  for (Layout l : kLayouts)
    cases
        .add(name + " c64 layout " + std::to_string(static_cast<int>(l)),
             {random_input(shape, DType::c64).with(l)},
             [=](const Tensors& in) -> Tensors { return {run(in[0])}; })
        .sums(length)
        .no_gradient();
  Shape pairs = shape;
  pairs.push_back(2);
  cases
      .add(name + " pairs", {random_input(pairs)},
           [=](const Tensors& in) -> Tensors { return {as_pairs(run(view_as_complex(in[0])))}; })
      .sums(length);
}
void add_real(CaseList& cases, const std::string& name, const Shape& shape, const Run& run,
              int64_t length) {
  for (Layout l : kLayouts)
    cases
        .add(name + " layout " + std::to_string(static_cast<int>(l)), {random_input(shape).with(l)},
             [=](const Tensors& in) -> Tensors { return {as_pairs(run(in[0]))}; })
        .sums(length);
}

// Every radix, odd and even numbers, products of several, and primes that take the long way.
constexpr int64_t kLengths[] = {1,  2,  3,  4,  5,  6,  7,  8,   9,   12,  15,  16,  25,  32,
                                49, 60, 61, 64, 66, 67, 97, 128, 134, 143, 210, 256, 400, 1009};

}  // namespace

WS_CASES(view_as_real) {
  add_complex(cases, "view", {3, 5, 7}, [](const Tensor& x) { return view_as_real(x); });
}
WS_CASES(view_as_complex) {
  cases.add("view", {random_input({3, 5, 2})}, [](const Tensors& in) -> Tensors {
    return {view_as_real(conj_physical(view_as_complex(in[0])))};
  });
  cases
      .add("one number", {random_input({2})},
           [](const Tensors& in) -> Tensors { return {view_as_complex(in[0])}; })
      .no_gradient();
}
WS_CASES(real) {
  add_complex(cases, "part", {3, 5, 7}, [](const Tensor& x) { return real(x); });
  cases.add("of real", {random_input({3, 5})},
            [](const Tensors& in) -> Tensors { return {real(in[0])}; });
}
WS_CASES(imag) {
  add_complex(cases, "part", {3, 5, 7}, [](const Tensor& x) { return imag(x); });
  cases
      .add("nothing", {random_input({0, 3}, DType::c64)},
           [](const Tensors& in) -> Tensors { return {imag(in[0])}; })
      .no_gradient();
}
WS_CASES(complex) {
  for (Layout l : kLayouts)
    cases.add("layout " + std::to_string(static_cast<int>(l)),
              {random_input({3, 5, 7}).with(l), random_input({3, 5, 7})},
              [](const Tensors& in) -> Tensors { return {view_as_real(complex(in[0], in[1]))}; });
}
WS_CASES(conj_physical) {
  add_complex(cases, "conjugate", {3, 5, 7}, [](const Tensor& x) { return conj_physical(x); });
  add_complex(cases, "in place", {3, 7}, [](const Tensor& x) {
    const Tensor y = clone(x);
    return conj_physical_(y);
  });
  cases
      .add("out", {random_input({3, 7}, DType::c64)},
           [](const Tensors& in) -> Tensors {
             const Tensor turned = Tensor::empty({7, 3}, DType::c64).as_strided({3, 7}, {1, 3}, 0);
             return {conj_physical_out(turned, in[0])};
           })
      .no_gradient();
  cases.add("of real", {random_input({3, 5})},
            [](const Tensors& in) -> Tensors { return {conj_physical(in[0])}; });
}
WS_CASES(resolve_conj) {
  add_complex(cases, "itself", {3, 5}, [](const Tensor& x) { return resolve_conj(x); });
}
WS_CASES(resolve_neg) {
  add_complex(cases, "itself", {3, 5}, [](const Tensor& x) { return resolve_neg(x); });
}

WS_CASES(_fft_r2c) {
  for (bool onesided : {true, false})
    for (const std::vector<int>& dims : {std::vector<int>{2}, {0}, {1, 2}, {0, 2, 1}})
      for (int64_t norm : {0, 1, 2})
        cases
            .add(std::string(onesided ? "half" : "whole") + " over " + std::to_string(dims.size()) +
                     " from " + std::to_string(dims[0]) + " norm " + std::to_string(norm),
                 {random_input({6, 5, 8})},
                 [=](const Tensors& in) -> Tensors {
                   return {view_as_real(_fft_r2c(in[0], dims, norm, onesided))};
                 })
            .sums(240);
}
WS_CASES(_fft_c2r) {
  for (int64_t n : {8, 9})
    for (const std::vector<int>& dims : {std::vector<int>{2}, {1, 2}, {2, 0}})
      for (int64_t norm : {0, 1, 2})
        add_complex(
            cases,
            std::to_string(n) + " over " + std::to_string(dims.size()) + " to " +
                std::to_string(dims.back()) + " norm " + std::to_string(norm),
            {5, 4, 5}, [=](const Tensor& x) { return _fft_c2r(x, dims, norm, n); }, 240);
}
WS_CASES(_fft_c2c) {
  for (bool forward : {true, false})
    for (const std::vector<int>& dims : {std::vector<int>{1}, {0, 2}, {}})
      add_complex(
          cases,
          std::string(forward ? "forward" : "backward") + " over " + std::to_string(dims.size()),
          {6, 5, 9}, [=](const Tensor& x) { return _fft_c2c(x, dims, 1, forward); }, 64);
}

WS_CASES(fft_rfft) {
  const auto run = [](const Tensors& in) -> Tensors { return {view_as_real(fft_rfft(in[0]))}; };
  for (int64_t n : kLengths)
    for (int64_t lines : {1, 7, 19})
      cases.add(std::to_string(lines) + " of " + std::to_string(n), {random_input({lines, n})}, run)
          .sums(n)
          .gradient = lines == 7 && n < 300;
  // Long enough for the four steps, by few lines and by many.
  for (int64_t n : {4096, 4200})
    for (int64_t lines : {1, 4})
      cases
          .add("long, " + std::to_string(lines) + " of " + std::to_string(n),
               {random_input({lines, n}).with(lines == 1 ? Layout::packed : Layout::gaps)}, run)
          .sums(n)
          .no_gradient();
  add_real(
      cases, "dimension 0", {12, 5}, [](const Tensor& x) { return fft_rfft(x, {}, 0); }, 12);
  add_real(
      cases, "cut", {5, 12}, [](const Tensor& x) { return fft_rfft(x, 7); }, 12);
  add_real(
      cases, "filled", {5, 12}, [](const Tensor& x) { return fft_rfft(x, 20, 1, "ortho"); }, 20);
  for (DType t : {DType::bf16, DType::f16, DType::i64, DType::i32, DType::i16, DType::i8, DType::u8,
                  DType::boolean})
    cases.add(std::string(name_of(t)), {random_input({5, 12}, t)}, run).sums(100).no_gradient();
  for (const Shape& s : {Shape{4096, 1024}, Shape{4096, 4096}, Shape{1, 1 << 20}, Shape{256, 1000}})
    cases.time("f32 " + s.text(), {random_input(s)}, run)
        .moves(8.0 * static_cast<double>(s.numel()))
        .backward_too();
}
WS_CASES(fft_irfft) {
  for (int64_t n : kLengths)
    if (n > 1)
      add_complex(
          cases, "to " + std::to_string(n), {3, n / 2 + 1},
          [=](const Tensor& x) { return fft_irfft(x, n); }, n);
  for (int64_t n : {4096, 4100})
    cases
        .add("long " + std::to_string(n), {random_input({2, n / 2 + 1}, DType::c64)},
             [](const Tensors& in) -> Tensors { return {fft_irfft(in[0])}; })
        .sums(n)
        .no_gradient();
  add_complex(
      cases, "filled", {4, 3}, [](const Tensor& x) { return fft_irfft(x, 12, 0, "forward"); }, 12);
  cases
      .add("real", {random_input({3, 5})},
           [](const Tensors& in) -> Tensors { return {fft_irfft(in[0])}; })
      .sums(8);
}
WS_CASES(fft_fft) {
  for (int64_t n : kLengths)
    add_complex(
        cases, "of " + std::to_string(n), {3, n}, [](const Tensor& x) { return fft_fft(x); }, n);
  add_real(
      cases, "real", {5, 12}, [](const Tensor& x) { return fft_fft(x); }, 12);
  for (int64_t n : {2048, 2310})
    cases
        .add("long " + std::to_string(n), {random_input({2, n}, DType::c64)},
             [](const Tensors& in) -> Tensors {
               return {fft_fft(in[0]), fft_ifft(in[0])};
             })
        .sums(n)
        .no_gradient();
}
WS_CASES(fft_ifft) {
  for (int64_t n : {1, 2, 9, 16, 67})
    add_complex(
        cases, "of " + std::to_string(n), {n, 3},
        [](const Tensor& x) { return fft_ifft(x, {}, 0, "ortho"); }, n);
  add_real(
      cases, "real", {5, 12}, [](const Tensor& x) { return fft_ifft(x); }, 12);
}

}  // namespace wellspring
