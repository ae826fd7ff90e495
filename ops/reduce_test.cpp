// What the case lists of reductions, softmax and picking cannot say: errors, accuracy of long sums,
// forms in place.
#include "ops/reduce.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ops/index.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

template <class F>
std::string complaint(F f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::usage) << e.what();
    return e.what();
  }
  return "";
}

TEST(Reduce, WrongArgumentsAreNamed) {
  const Tensor x = Tensor::full({2, 3}, 1), none = Tensor::empty({0, 3});
  EXPECT_NE(complaint([&] { sum(x, {2}); }).find("f32[2, 3]"), std::string::npos);
  EXPECT_NE(complaint([&] { sum(x, {0, -2}); }).find("twice"), std::string::npos);
  EXPECT_NE(complaint([&] { mean(to(x, DType::i32)); }).find("floating"), std::string::npos);
  EXPECT_NE(complaint([&] { mean(x, {}, false, DType::i32); }), "");
  EXPECT_NE(complaint([&] { var(to(x, DType::i32)); }), "");
  EXPECT_NE(complaint([&] { var(x, {}, -1); }), "");
  EXPECT_NE(complaint([&] { amax(none); }).find("no elements"), std::string::npos);
  EXPECT_NE(complaint([&] { amin(none, {0}); }), "");
  EXPECT_NE(complaint([&] { argmax(none, 0); }), "");
  EXPECT_NE(complaint([&] { max(x, 5); }), "");
  EXPECT_NE(complaint([&] { sum(Tensor::empty({2}, DType::c64)); }), "");
  EXPECT_NE(complaint([&] { softmax(to(x, DType::i64), 0); }), "");
  EXPECT_NE(complaint([&] { softmax(x, 3); }), "");
  EXPECT_EQ(complaint([&] { amax(none, {1}); }), "");
}

// 2^24 ones overflow f32's whole numbers when added one by one: so do thirds lose their digits.
TEST(Reduce, LongSumsStayExact) {
  const Tensor x = Tensor::full({1 << 14, 1 << 10}, 1.0 / 3);
  const double third = static_cast<double>(1.0f / 3), n = 1 << 24;
  EXPECT_NEAR(sum(x).item() / (third * n), 1, 1e-6);
  EXPECT_NEAR(sum(sum(x, {0})).item() / (third * n), 1, 1e-6);
  EXPECT_NEAR(mean(sum(x, {1})).item() / (third * 1024), 1, 1e-6);
  EXPECT_NEAR(var(x).item(), 0, 1e-12);
}

TEST(Reduce, VarianceFarFromZero) {
  std::vector<float> x(10000);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 1000 + static_cast<float>(i % 2);
  EXPECT_NEAR(var(Tensor::from(x, {10000}), {}, 0).item(), 0.25, 1e-5);
}

TEST(Reduce, FirstOfEqualOnesAndNaN) {
  const float nan = std::nanf("");
  const Tensor x = Tensor::from(std::vector<float>{1, 3, 3, nan, 2, nan}, {6});
  EXPECT_EQ(argmax(x).item(), 3);
  EXPECT_EQ(argmin(x).item(), 3);
  EXPECT_TRUE(std::isnan(amax(x).item()));
  EXPECT_TRUE(std::isnan(amin(x).item()));
  EXPECT_EQ(argmax(narrow(x, 0, 0, 3)).item(), 1);
  EXPECT_EQ(argmin(Tensor::full({5}, INFINITY)).item(), 0);
}

TEST(Reduce, EqualOnesShareTheGradient) {
  const Tensor x = Tensor::from(std::vector<float>{1, 3, 3, 2}, {4});
  x.set_requires_grad(true);
  backward(amax(x));
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{0, 0.5, 0.5, 0}));
  x.set_grad({});
  backward(std::get<0>(max(x, 0)));
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{0, 1, 0, 0}));
}

TEST(Index, WrongArgumentsAreNamed) {
  const Tensor x = Tensor::full({2, 3}, 1), list = Tensor::from(std::vector<int32_t>{0, 2}, {2});
  EXPECT_NE(
      complaint([&] { index_select(x, 0, list); }).find("index 2 is out of range for dimension 0"),
      std::string::npos);
  EXPECT_NE(complaint([&] { index_select(x, 1, mul(list, -1)); }).find("index -2 is out of range"),
            std::string::npos);
  EXPECT_NE(complaint([&] { index_select(x, 1, unsqueeze(list, 0)); }).find("1-d"),
            std::string::npos);
  EXPECT_NE(complaint([&] { index_select(x, 1, to(list, DType::f32)); }).find("i32 or i64"),
            std::string::npos);
  EXPECT_NE(complaint([&] { index_select(Tensor::full({}, 1), 0, list); }), "");
  EXPECT_NE(complaint([&] { gather(x, 1, list); }).find("dimensions"), std::string::npos);
  EXPECT_NE(complaint([&] {
              gather(x, 1, expand(list, {3, 2}));
            }).find("too long"),
            std::string::npos);
  EXPECT_NE(complaint([&] { index_add_(clone(x), 1, list, x); }).find("must have shape [2, 2]"),
            std::string::npos);
  EXPECT_NE(complaint([&] {
              index_add_(expand(Tensor::full({1, 3}, 1), {2, 3}), 1, list, narrow(x, 1, 0, 2));
            }),
            "");
  EXPECT_NE(complaint([&] {
              scatter_add_(to(x, DType::i32), 1, expand(list, {2, 2}), x);
            }).find("one dtype"),
            std::string::npos);
  EXPECT_NE(complaint([&] { masked_fill(x, x, 0); }).find("bool"), std::string::npos);
}

TEST(Index, InPlaceFollowsTheRules) {
  const Tensor leaf = Tensor::full({3}, 1), list = Tensor::from(std::vector<int32_t>{1, 1, 0}, {3});
  leaf.set_requires_grad(true);
  EXPECT_NE(complaint([&] { index_add_(leaf, 0, list, Tensor::full({3}, 1)); }).find("leaf"),
            std::string::npos);
  const Tensor x = clone(leaf);
  const uint32_t before = x.version();
  index_add_(x, 0, list, x.detach());  // its own source
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{2, 3, 1}));
  EXPECT_GT(x.version(), before);
  masked_fill_(x, gt(x.detach(), 1.5), 0);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 0, 1}));
  backward(sum(x));
  EXPECT_EQ(leaf.grad().to_vector<float>(), (std::vector<float>{0, 0, 1}));
}

}  // namespace
}  // namespace wellspring
