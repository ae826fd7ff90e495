// Cases of the convolutions.
#include "ops/conv.h"

#include "ops/cases.h"

namespace wellspring {
namespace {

using List = std::vector<int64_t>;

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16, DType::f16};

struct Geometry {
  const char* name;
  Shape x, weight;
  List stride{1}, padding{0}, dilation{1};
  int64_t groups = 1;
  List output_padding{0};
};

int64_t length_of(const Shape& weight) {
  int64_t n = 1;
  for (int d = 1; d < weight.size(); ++d) n *= weight[d];
  return n;
}

// What kernels tell apart: positions in rows and across them, borders, steps, groups, blocks of K.
const Geometry kPlain[] = {
    {"one tap", {2, 5, 4, 9}, {7, 5, 1, 1}},
    {"one tap in steps", {2, 5, 7, 9}, {7, 5, 1, 1}, {2}},
    {"3x3", {2, 3, 9, 21}, {8, 3, 3, 3}, {1}, {1}},
    {"long rows", {1, 4, 3, 70}, {13, 4, 3, 3}, {1}, {1}},
    {"no padding", {1, 3, 6, 7}, {4, 3, 3, 2}},
    {"steps", {2, 3, 11, 14}, {5, 3, 3, 3}, {2}, {1}},
    {"uneven steps", {1, 2, 13, 17}, {3, 2, 4, 3}, {3, 2}, {2, 0}},
    {"dilated", {1, 3, 12, 13}, {4, 3, 3, 3}, {1}, {2}, {2}},
    {"dilated steps", {2, 2, 15, 14}, {3, 2, 3, 2}, {2, 3}, {3, 1}, {2, 3}},
    {"padding beyond the taps", {1, 2, 3, 4}, {3, 2, 2, 2}, {1}, {4}},
    {"groups", {2, 6, 7, 8}, {9, 2, 3, 3}, {1}, {1}, {1}, 3},
    {"many groups", {2, 20, 5, 6}, {20, 2, 3, 3}, {2}, {1}, {1}, 10},
    {"depthwise", {2, 5, 9, 37}, {5, 1, 3, 3}, {1}, {1}, {1}, 5},
    {"depthwise in steps", {2, 4, 9, 11}, {4, 1, 3, 3}, {2}, {1}, {1}, 4},
    {"depthwise dilated", {1, 3, 14, 15}, {6, 1, 3, 3}, {2, 3}, {2}, {3, 2}, 3},
    {"one position", {20, 3, 4, 4}, {6, 3, 4, 4}},
    {"patches", {2, 3, 16, 24}, {10, 3, 8, 8}, {8}},
    {"few filters", {1, 70, 6, 6}, {2, 70, 3, 3}, {1}, {1}},
    {"many filters", {1, 8, 6, 11}, {130, 8, 3, 3}, {1}, {1}},
    {"no images", {0, 3, 6, 7}, {4, 3, 3, 3}},
};
const Geometry kTransposed[] = {
    {"one tap", {2, 5, 4, 9}, {5, 7, 1, 1}},
    {"3x3", {2, 3, 5, 6}, {3, 8, 3, 3}, {1}, {1}},
    {"steps", {2, 3, 5, 6}, {3, 4, 4, 4}, {2}, {1}},
    {"output padding", {1, 3, 5, 6}, {3, 2, 3, 3}, {2, 3}, {1}, {1}, 1, {1, 2}},
    {"taps fewer than steps", {1, 2, 4, 5}, {2, 3, 2, 2}, {3}},
    {"dilated", {1, 2, 5, 6}, {2, 3, 3, 3}, {2}, {1}, {2}},
    {"groups", {2, 6, 4, 5}, {6, 2, 3, 3}, {2}, {1}, {1}, 3},
    {"depthwise", {2, 4, 5, 6}, {4, 1, 3, 3}, {2}, {1}, {1}, 4},
};

Tensors run(const Geometry& g, bool transposed, const Tensors& in) {
  return {convolution(in[0], in[1], in[2], g.stride, g.padding, g.dilation, transposed,
                      g.output_padding, g.groups)};
}

void add(CaseList& cases, const Geometry& g, bool transposed, DType t, Layout x, Layout w) {
  const int64_t filters = transposed ? g.weight[1] * g.groups : g.weight[0];
  const bool some = g.x.numel() > 0;
  std::string name = std::string(name_of(t)) + (transposed ? " transposed " : " ") + g.name;
  if (x != Layout::packed || w != Layout::packed)
    name += " " + std::to_string(static_cast<int>(x)) + std::to_string(static_cast<int>(w));
  OperatorCase& c = cases.add(
      name,
      {random_input(g.x, t).with(x), random_input(g.weight, t).with(w), random_input({filters}, t)},
      [=](const Tensors& in) { return run(g, transposed, in); });
  c.sums(length_of(g.weight) * (transposed ? g.weight[0] : 1) + 1).f64();
  // The gradient of the weight sums over positions.
  c.length = std::max<int64_t>(c.length, g.x.numel() / std::max<int64_t>(1, g.x[1]));
  c.gradient = some;
}

void time(CaseList& cases, const Geometry& g) {
  for (DType t : {DType::f32, DType::bf16}) {
    const auto out = [&](int d) {
      const int64_t pad = g.padding[0], step = g.stride[0];
      return (g.x[d] + 2 * pad - g.weight[d]) / step + 1;
    };
    const double flops = 2.0 * static_cast<double>(g.x[0] * out(2) * out(3)) *
                         static_cast<double>(g.weight[0] * length_of(g.weight));
    cases
        .time(std::string(name_of(t)) + " " + g.name,
              {random_input(g.x, t), random_input(g.weight, t), no_input()},
              [=](const Tensors& in) { return run(g, false, in); })
        .computes(flops)
        .backward_too();
  }
}

Tensors rows(const Tensors& in, int form) {
  switch (form) {
    case 0:
      return {conv1d(in[0], in[1], in[2], {2}, {1})};
    default:
      return {conv1d(in[0], in[1], in[2], {1}, {2}, {1}, 2)};
  }
}

}  // namespace

WS_CASES(convolution) {
  for (DType t : kTypes) {
    for (const Geometry& g : kPlain) add(cases, g, false, t, Layout::packed, Layout::packed);
    for (const Geometry& g : kTransposed) add(cases, g, true, t, Layout::packed, Layout::packed);
  }
  for (Layout l :
       {Layout::transposed, Layout::gaps, Layout::offset, Layout::expanded, Layout::reversed})
    for (const Geometry& g : {kPlain[0], kPlain[2], kPlain[5], kPlain[12]})
      add(cases, g, false, DType::f32, l, l);
  add(cases, kTransposed[2], true, DType::f32, Layout::transposed, Layout::transposed);
  // Several blocks of K, and chunks of positions.
  for (DType t : {DType::f32, DType::bf16}) {
    add(cases, {"long sums", {1, 100, 6, 7}, {20, 100, 3, 3}, {1}, {1}}, false, t, Layout::packed,
        Layout::packed);
    add(cases, {"long sums, many filters", {2, 100, 5, 7}, {110, 100, 3, 3}, {1}, {1}}, false, t,
        Layout::packed, Layout::packed);
  }
  time(cases, {"8x64x56x56, 3x3 to 64", {8, 64, 56, 56}, {64, 64, 3, 3}, {1}, {1}});
  time(cases, {"8x256x14x14, 3x3 to 256", {8, 256, 14, 14}, {256, 256, 3, 3}, {1}, {1}});
  time(cases, {"8x512x7x7, 3x3 to 512", {8, 512, 7, 7}, {512, 512, 3, 3}, {1}, {1}});
  time(cases, {"8x256x56x56, 1x1 to 64", {8, 256, 56, 56}, {64, 256, 1, 1}});
  time(cases, {"8x3x224x224, 7x7/2 to 64", {8, 3, 224, 224}, {64, 3, 7, 7}, {2}, {3}});
  time(cases, {"8x3x224x224, 16x16/16 to 768", {8, 3, 224, 224}, {768, 3, 16, 16}, {16}});
  time(cases, {"8x144x56x56, 3x3 depthwise", {8, 144, 56, 56}, {144, 1, 3, 3}, {1}, {1}, {1}, 144});
  time(cases,
       {"8x96x112x112, 3x3/2 depthwise", {8, 96, 112, 112}, {96, 1, 3, 3}, {2}, {1}, {1}, 96});
}

WS_CASES(conv1d) {
  for (DType t : kTypes)
    for (int form : {0, 3})
      for (const Shape& x : {Shape{2, 6, 40}, Shape{6, 23}})
        cases
            .add(std::string(name_of(t)) + " " + std::to_string(form) + " " + x.text(),
                 {random_input(x, t), random_input({4, form == 3 ? 3 : 6, 4}, t),
                  random_input({4}, t)},
                 [=](const Tensors& in) { return rows(in, form); })
            .sums(60)
            .f64();
}
WS_CASES(conv1d_padded) {
  for (DType t : kTypes)
    for (const char* padding : {"same", "valid"})
      for (const Shape& x : {Shape{2, 6, 40}, Shape{6, 23}})
        cases
            .add(std::string(name_of(t)) + " " + padding + " " + x.text(),
                 {random_input(x, t), random_input({4, 6, 4}, t), random_input({4}, t)},
                 [=](const Tensors& in) -> Tensors {
                   return {conv1d_padded(in[0], in[1], in[2], {1}, padding, {2})};
                 })
            .sums(60)
            .f64();
}
WS_CASES(conv2d_padded) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)),
             {random_input({2, 3, 8, 9}, t), random_input({4, 3, 2, 5}, t), no_input()},
             [](const Tensors& in) -> Tensors {
               return {conv2d_padded(in[0], in[1], in[2], {1}, "same")};
             })
        .sums(80)
        .f64();
}
WS_CASES(conv2d) {
  for (DType t : kTypes) {
    cases
        .add(std::string(name_of(t)) + " one image",
             {random_input({3, 8, 9}, t), random_input({4, 3, 3, 3}, t), random_input({4}, t)},
             [](const Tensors& in) -> Tensors {
               return {conv2d(in[0], in[1], in[2], {2, 1}, {1, 0})};
             })
        .sums(72)
        .f64();
  }
  cases
      .add("f32 bias of bf16",
           {random_input({2, 3, 8, 9}, DType::bf16), random_input({4, 3, 3, 3}, DType::bf16),
            random_input({4})},
           [](const Tensors& in) -> Tensors { return {conv2d(in[0], in[1], in[2])}; })
      .sums(84);
}
WS_CASES(conv_transpose1d) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)),
             {random_input({2, 6, 9}, t), random_input({6, 3, 4}, t), random_input({3}, t)},
             [](const Tensors& in) -> Tensors {
               return {conv_transpose1d(in[0], in[1], in[2], {2}, {1}, {1})};
             })
        .sums(40)
        .f64();
}
WS_CASES(conv_transpose2d) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)),
             {random_input({2, 4, 5, 6}, t), random_input({4, 3, 3, 4}, t), random_input({6}, t)},
             [](const Tensors& in) -> Tensors {
               return {conv_transpose2d(in[0], in[1], in[2], {2}, {1}, {0, 1}, 2)};
             })
        .sums(72)
        .f64();
}
WS_CASES(_convolution) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)),
             {random_input({2, 3, 6, 7}, t), random_input({4, 3, 3, 3}, t), random_input({4}, t)},
             [](const Tensors& in) -> Tensors {
               return {_convolution(in[0], in[1], in[2], {1, 1}, {1, 1}, {1, 1}, false, {0, 0}, 1)};
             })
        .sums(84)
        .f64();
}
WS_CASES(_conv_depthwise2d) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)),
             {random_input({2, 3, 6, 7}, t), random_input({6, 1, 3, 2}, t), random_input({6}, t)},
             [](const Tensors& in) -> Tensors {
               return {_conv_depthwise2d(in[0], in[1], {3, 2}, in[2], {1, 1}, {1, 1}, {1, 1})};
             })
        .sums(84)
        .f64();
}
WS_CASES(cudnn_convolution) {
  for (DType t : kTypes)
    cases
        .add(std::string(name_of(t)),
             {random_input({2, 4, 6, 7}, t), random_input({4, 2, 3, 3}, t)},
             [](const Tensors& in) -> Tensors {
               return {cudnn_convolution(in[0], in[1], {1, 1}, {2, 2}, {1, 1}, 2)};
             })
        .sums(84)
        .f64();
}

}  // namespace wellspring
