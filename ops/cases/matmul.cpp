// Cases of matmul and linear.
#include <limits>

#include "ops/cases.h"
#include "ops/matmul.h"

namespace wellspring {
namespace {

Tensors run_matmul(const Tensors& in) { return {matmul(in[0], in[1])}; }
Tensors run_linear(const Tensors& in) { return {linear(in[0], in[1], in[2])}; }

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f64};

OperatorCase& add(CaseList& cases, const std::string& name, CaseInput a, CaseInput b) {
  const int64_t k = a.shape[a.shape.size() - 1];
  OperatorCase& c = cases.add(name, {std::move(a), std::move(b)}, run_matmul).sums(k);
  return c.f64();
}

std::string named(const char* what, DType t) {
  return std::string(what) + " " + std::string(name_of(t));
}

}  // namespace

WS_CASES(matmul) {
  const auto in = [](const Shape& shape, DType t) { return random_input(shape, t); };
  for (DType t : kTypes) {
    add(cases, named("square", t), in({16, 16}, t), in({16, 16}, t));
    add(cases, named("no multiples", t), in({37, 53}, t), in({53, 41}, t));
    add(cases, named("one row", t), in({1, 70}, t), in({70, 37}, t));
    add(cases, named("few rows of a transposed weight", t), in({3, 70}, t),
        in({70, 37}, t).with(Layout::transposed));
    add(cases, named("one column", t), in({37, 70}, t), in({70, 1}, t));
    add(cases, named("vectors", t), in({45}, t), in({45}, t));
    add(cases, named("matrix vector", t), in({7, 45}, t), in({45}, t));
    add(cases, named("vector batch", t), in({9}, t), in({3, 9, 5}, t));
    add(cases, named("batch", t), in({5, 7, 9}, t), in({5, 9, 6}, t));
    add(cases, named("batches that broadcast", t), in({2, 1, 3, 5}, t), in({4, 5, 2}, t));
    add(cases, named("one b for a batch", t), in({3, 4, 5}, t), in({5, 6}, t));
    add(cases, named("one a for a batch", t), in({4, 5}, t), in({3, 5, 6}, t));
    add(cases, named("no rows", t), in({0, 4}, t), in({4, 3}, t));
    add(cases, named("no columns", t), in({4, 3}, t), in({3, 0}, t));
    add(cases, named("nothing to sum", t), in({4, 0}, t), in({0, 3}, t));
    add(cases, named("no batch", t), in({0, 2, 3}, t), in({0, 3, 4}, t));
    add(cases, named("odd values", t), in({9, 20}, t).with(Fill::odd).constant(),
        in({20, 18}, t).with(Fill::odd).constant());
    for (Layout a :
         {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
      for (Layout b : {Layout::packed, a})
        add(cases,
            named("layout", t) + " " + std::to_string(static_cast<int>(a)) + " " +
                std::to_string(static_cast<int>(b)),
            in({23, 39}, t).with(a), in({39, 35}, t).with(b));
  }
  for (DType t : {DType::f16, DType::i64, DType::i32, DType::i16, DType::i8, DType::u8}) {
    add(cases, named("no multiples", t), in({37, 53}, t), in({53, 41}, t));
    add(cases, named("vectors", t), in({45}, t), in({45}, t));
    add(cases, named("batches that broadcast", t), in({2, 1, 3, 5}, t), in({4, 5, 2}, t));
    add(cases, named("nothing to sum", t), in({4, 0}, t), in({0, 3}, t));
    add(cases, named("strided", t), in({23, 39}, t).with(Layout::transposed),
        in({39, 35}, t).with(Layout::reversed));
  }
  for (DType t : {DType::f32, DType::bf16}) {
    // Several blocks of K, tiles and chunks of M and N.
    cases
        .add(named("long sums", t), {in({50, 800}, t), in({800, 70}, t).with(Layout::transposed)},
             run_matmul)
        .sums(800)
        .no_gradient();
    cases.add(named("many tiles", t), {in({310, 130}, t), in({130, 550}, t)}, run_matmul)
        .sums(130)
        .no_gradient();
    cases
        .add(named("very long sums", t),
             {in({100, 5000}, t).with(Layout::transposed), in({5000, 40}, t)}, run_matmul)
        .sums(5000)
        .no_gradient();
    const std::string name(name_of(t));
    const auto time = [&](const std::string& what, int64_t m, int64_t k, int64_t n, Layout a,
                          Layout b) {
      cases.time(name + " " + what, {in({m, k}, t).with(a), in({k, n}, t).with(b)}, run_matmul)
          .computes(2.0 * m * k * n);
    };
    const Layout turned = Layout::transposed, packed = Layout::packed;
    time("NN 1024^3", 1024, 1024, 1024, packed, packed);
    time("NT 1024 768 2304", 1024, 768, 2304, packed, turned);
    time("NN 1024 3072 768", 1024, 3072, 768, packed, packed);
    time("TN 768 1024 3072", 768, 1024, 3072, turned, packed);
    time("NT 4096 512 2752", 4096, 512, 2752, packed, turned);
    time("TN 512 4096 512", 512, 4096, 512, turned, packed);
    time("NT 4096 512 16384", 4096, 512, 16384, packed, turned);
    const double bytes = 16384.0 * 1024 * static_cast<double>(size_of(t));
    cases
        .time(name + " one row 1024 16384", {in({1, 1024}, t), in({1024, 16384}, t).with(turned)},
              run_matmul)
        .moves(bytes);
  }
}

WS_CASES(linear) {
  const auto in = [](const Shape& shape, DType t) { return random_input(shape, t); };
  const auto add_linear = [&](const std::string& name, CaseInput x, CaseInput w, CaseInput bias) {
    const int64_t k = x.shape[x.shape.size() - 1];
    cases.add(name, {std::move(x), std::move(w), std::move(bias)}, run_linear).sums(k + 1).f64();
  };
  for (DType t : kTypes) {
    add_linear(named("plain", t), in({5, 12}, t), in({20, 12}, t), no_input());
    add_linear(named("bias", t), in({3, 7, 33}, t), in({19, 33}, t), in({19}, t));
    add_linear(named("one vector", t), in({33}, t), in({19, 33}, t), in({19}, t));
    add_linear(named("no rows", t), in({0, 4}, t), in({3, 4}, t), in({3}, t));
    add_linear(named("nothing to sum", t), in({4, 0}, t), in({3, 0}, t), in({3}, t));
    add_linear(named("strided", t), in({4, 5, 30}, t).with(Layout::transposed),
               in({18, 30}, t).with(Layout::gaps), in({18}, t).with(Layout::gaps));
    add_linear(named("expanded", t), in({4, 5, 30}, t).with(Layout::expanded),
               in({18, 30}, t).with(Layout::reversed), in({18}, t).with(Layout::reversed));
    add_linear(named("odd bias", t), in({4, 8}, t).constant(), in({6, 8}, t).constant(),
               in({6}, t).with(Fill::odd).constant());
  }
  add_linear("f16", in({5, 12}, DType::f16), in({20, 12}, DType::f16), in({20}, DType::f16));
  add_linear("f32 bias of bf16", in({6, 24}, DType::bf16), in({10, 24}, DType::bf16),
             in({10}, DType::f32));
  cases
      .add("long sums bf16",
           {in({40, 900}, DType::bf16), in({50, 900}, DType::bf16), in({50}, DType::bf16)},
           run_linear)
      .sums(900);
  for (DType t : {DType::f32, DType::bf16})
    cases
        .time(named("4096 512 1536", t), {in({4096, 512}, t), in({1536, 512}, t), in({1536}, t)},
              run_linear)
        .computes(2.0 * 4096 * 512 * 1536)
        .backward_too();
}

}  // namespace wellspring
