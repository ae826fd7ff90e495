#include "ops/inference.h"

#include "ops/cases.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

enum class Format { q8, q8_groups, q4, pairs };

// Inputs of a weight [rows, width]: values, scales, levels.
std::vector<CaseInput> weight(Format f, int64_t rows, int64_t width) {
  const int64_t blocks = (rows + 15) / 16, groups = (width + 31) / 32;
  if (f == Format::pairs) return {random_input({blocks, (width + 3) / 4 * 2, 32}, DType::bf16), no_input(), no_input()};
  // 1 ... 255: -128 is no value of 8 bits.
  return {ids_input({blocks, groups, f == Format::q4 ? 256 : 512}, f == Format::q4 ? 0 : 1, 256, DType::u8),
          f == Format::q8 ? random_input({blocks, 16}, DType::f32, Fill::fraction)
                          : random_input({blocks, groups, 16}, DType::f16, Fill::fraction),
          f == Format::q4 ? ids_input({16}, -127, 128, DType::i8) : no_input()};
}

constexpr Format kFormats[] = {Format::q8, Format::q8_groups, Format::q4, Format::pairs};
constexpr const char* kNames[] = {"q8", "q8 groups", "q4", "bf16"};

WS_CASES(linear_quantized) {
  const auto add = [&](Format f, DType t, int64_t m, int64_t n, int64_t k, bool bias, Fill fill, const char* what) {
    std::vector<CaseInput> in = weight(f, n, k);
    in.insert(in.begin(), random_input({m, k}, t, fill));
    in.push_back(bias ? random_input({n}) : no_input());
    // The bytes' sums reach the hundreds: products of 127 levels.
    cases
        .add(str(kNames[static_cast<int>(f)], " ", name_of(t), " [", m, ", ", k, "] x ", n, what), in,
             [n](const Tensors& i) -> Tensors { return {linear_quantized(i[0], i[1], i[2], i[3], n, i[4])}; })
        .sums(f == Format::pairs ? k + 1 : 127 * (k + 1))
        .no_gradient();
  };
  for (Format f : kFormats) {
    for (DType t : {DType::f32, DType::bf16})
      for (int64_t m : {1, 2, 3, 5, 12, 13, 31}) add(f, t, m, 40, 70, m == 5, Fill::normal, "");
    add(f, DType::f32, 100, 33, 96, true, Fill::normal, " many rows");
    add(f, DType::f32, 4, 16, 32, false, Fill::odd, " odd");
    add(f, DType::f32, 0, 16, 32, false, Fill::normal, " empty");
    add(f, DType::f32, 3, 0, 32, false, Fill::normal, " no rows");
    add(f, DType::f32, 3, 17, 0, true, Fill::normal, " no columns");
  }
  for (Format f : kFormats)
    for (DType t : {DType::f32, DType::bf16})
      for (int64_t m : {1, 13, 31}) {
        std::vector<CaseInput> in = weight(f, 96, 70);
        in.insert(in.begin(), random_input({m, 70}, t));
        in.push_back(m == 13 ? random_input({96}) : no_input());
        // Both factors reach the hundreds (of 16 bits ten), and are rounded before they meet.
        const double atol = f == Format::pairs ? 0.005 : 2;
        cases
            .add(str(kNames[static_cast<int>(f)], " ", name_of(t), " [", m, ", 70] x 96 swiglu"), in,
                 [](const Tensors& i) -> Tensors { return {linear_quantized(i[0], i[1], i[2], i[3], 96, i[4], {}, true)}; })
            .within(atol, t == DType::f32 ? 1e-4 : 0.02)
            .no_gradient();
      }
  const auto time = [&](Format f, int64_t m, int64_t n, int64_t k) {
    std::vector<CaseInput> in = weight(f, n, k);
    in.insert(in.begin(), random_input({m, k}, DType::bf16));
    cases
        .time(str(kNames[static_cast<int>(f)], " [", m, ", ", k, "] x ", n), in,
              [n](const Tensors& i) -> Tensors { return {linear_quantized(i[0], i[1], i[2], i[3], n)}; })
        .moves(static_cast<double>(n * k) * (f == Format::q4 ? 4.5 / 8 : f == Format::q8 ? 1 : f == Format::pairs ? 2 : 8.5 / 8))
        .computes(2.0 * static_cast<double>(m * n * k));
  };
  for (Format f : kFormats)
    for (int64_t m : {1, 8, 32, 512}) time(f, m, 4864, 896), time(f, m, 896, 4864);
}

WS_CASES(embedding_quantized) {
  for (Format f : kFormats) {
    std::vector<CaseInput> in = weight(f, 50, 70);
    in.push_back(ids_input({3, 4}, 0, 50));
    cases
        .add(kNames[static_cast<int>(f)], in,
             [](const Tensors& i) -> Tensors { return {embedding_quantized(i[0], i[1], i[2], 50, 70, i[3])}; })
        .no_gradient();
  }
}

WS_CASES(interleave_weight) {
  for (DType t : {DType::f32, DType::bf16})
    for (int64_t k : {32, 35, 70})
      cases
          .add(str(name_of(t), " ", k), {random_input({37, k}, t)},
               [](const Tensors& i) -> Tensors { return {interleave_weight(i[0])}; })
          .no_gradient();
}

WS_CASES(quantize_weight) {
  for (DType t : {DType::f32, DType::bf16})
    for (bool by_row : {false, true})
      for (int64_t k : {32, 70, 128})
        cases
            .add(str("q8 ", name_of(t), by_row ? " by row " : " by group ", k), {random_input({37, k}, t)},
                 [by_row](const Tensors& i) -> Tensors {
                   const auto [values, scales] = quantize_weight(i[0], {}, by_row);
                   return {values, scales};
                 })
            .no_gradient();
}

// Pages as inputs: keys, values, scales of both.
std::vector<CaseInput> pages(DType t, int64_t count, int64_t heads, int64_t width) {
  const bool bytes = t == DType::i8;
  const auto of = [&](const Shape& s) { return bytes ? ids_input(s, -3, 4, t) : random_input(s, t); };
  const CaseInput scales = bytes ? random_input({count, heads, 64}, DType::f32, Fill::fraction) : no_input();
  return {of({count, heads, width, 64}), of({count, heads, 64, width}), scales, scales};
}

// The same pages, with room between them.
Tensor apart(const Tensor& t) { return t.defined() ? narrow(cat(std::vector<Tensor>{t, t}, 1), 1, 0, t.size(1)) : t; }

WS_CASES(kv_put_) {
  for (DType cache : {DType::f32, DType::bf16, DType::i8})
    for (DType t : {DType::f32, DType::bf16})
      for (int64_t width : {16, 20, 64}) {
        std::vector<CaseInput> in = pages(cache, 3, 2, width);
        in.push_back(random_input({9, 2, width}, t)), in.push_back(random_input({9, 2, width}, t));
        cases
            .add(str(name_of(cache), " from ", name_of(t), " ", width), in,
                 [](const Tensors& i) -> Tensors {
                   Tensors to;
                   for (int n = 0; n < 4; ++n) to.push_back(apart(i[n]));
                   kv_put_(to[0], to[1], to[2], to[3], i[4], i[5],
                           Tensor::from(std::vector<int32_t>{0, 1, 63, 64, 70, 100, 190, 191, 128}, {9}));
                   std::erase_if(to, [](const Tensor& x) { return !x.defined(); });
                   return to;
                 })
            .no_gradient();
      }
}

struct Sequences {
  std::vector<int32_t> tables, segments;  // of three sequences
  int64_t rows, most;
};

WS_CASES(attention_paged) {
  // Pages in no order; one row far on, a prompt, and one that goes on; then long ones.
  const Sequences few{{4, 0, 7, 2, 1, 0, 0, 0, 5, 3, 6, 0}, {0, 1, 200, 1, 60, 0, 61, 9, 120}, 70, 4};
  const Sequences many{{9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 0, 2, 4, 3, 6, 5, 8, 7, 9},
                       {0, 1, 600, 1, 70, 500, 71, 2, 254}, 73, 10};
  const auto run = [](const Sequences& s, double scale) {
    return [s, scale](const Tensors& i) -> Tensors {
      const auto page = [&](int n) { return scale == 0 ? i[n] : apart(i[n]); };  // both ways, each in some cases
      return {attention_paged(i[0], page(1), page(2), page(3), page(4), Tensor::from(s.tables, {3, s.most}),
                              Tensor::from(s.segments, {3, 3}), scale)};
    };
  };
  for (DType cache : {DType::f32, DType::bf16, DType::i8})
    for (DType t : {DType::f32, DType::bf16})
      for (const Sequences* s : {&few, &many})
        for (int64_t width : {32, 40, 128}) {
          std::vector<CaseInput> in = pages(cache, 10, 2, width);
          in.insert(in.begin(), random_input({s->rows, 6, width}, t));
          cases.add(str(name_of(cache), " for ", name_of(t), " ", width, s == &few ? "" : " long"), in, run(*s, width == 40 ? 0.3 : 0))
              .sums(width)
              .no_gradient();
        }
}

}  // namespace
}  // namespace wellspring
