// What the draws are distributed like (seeds are fixed, so that a test passes always or never),
// what they depend on, and what is refused.
#include "ops/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/test_error.h"
#include "base/threads.h"
#include "ops/check.h"
#include "ops/generator.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr int64_t kDraws = 200000;

// The greatest distance of the draws' distribution from the right one, times the square root of
// their number: above 1.95 once in a thousand (Kolmogorov and Smirnov).
double ks(const Tensor& draws, const std::function<double(double)>& below) {
  std::vector<double> x = draws.to_vector<double>();
  std::sort(x.begin(), x.end());
  double most = 0;
  const auto n = static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double p = below(x[i]), at = static_cast<double>(i);
    most = std::max({most, p - at / n, (at + 1) / n - p});
  }
  return most * std::sqrt(n);
}

// Chi square over its degrees of freedom, in standard deviations from 1.
double chi_square(const std::vector<double>& seen, const std::vector<double>& expected) {
  double sum = 0;
  for (size_t i = 0; i < seen.size(); ++i)
    sum += (seen[i] - expected[i]) * (seen[i] - expected[i]) / expected[i];
  const double freedom = static_cast<double>(seen.size()) - 1;
  return (sum - freedom) / std::sqrt(2 * freedom);
}

std::vector<double> counts(const Tensor& draws, int64_t values) {
  std::vector<double> seen(values);
  for (const int64_t v : draws.to_vector<int64_t>()) seen.at(v) += 1;
  return seen;
}

double normal_below(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

TEST(Random, UniformDrawsAreUniform) {
  for (const DType t : {DType::f32, DType::f64}) {
    const Tensor x = rand({kDraws}, t, {}, 7);
    EXPECT_LT(ks(x, [](double v) { return v; }), 1.95) << name_of(t);
    const auto v = x.to_vector<double>();
    EXPECT_GE(*std::min_element(v.begin(), v.end()), 0);
    EXPECT_LT(*std::max_element(v.begin(), v.end()), 1);
  }
  // Of 16 bits: every multiple of 2^-8 (2^-11) below 1, and each as often.
  for (const DType t : {DType::bf16, DType::f16}) {
    const int64_t values = t == DType::bf16 ? 256 : 2048;
    std::vector<double> seen(values);
    for (const double v : rand({kDraws}, t, {}, 7).to_vector<double>())
      seen.at(static_cast<size_t>(v * static_cast<double>(values))) += 1;
    const std::vector<double> expected(values,
                                       static_cast<double>(kDraws) / static_cast<double>(values));
    EXPECT_LT(std::abs(chi_square(seen, expected)), 4) << name_of(t);
  }
}

TEST(Random, NormalDrawsAreNormal) {
  for (const DType t : {DType::f32, DType::f64}) {
    const Tensor x = randn({kDraws}, t, {}, 11);
    EXPECT_LT(ks(x, normal_below), 1.95) << name_of(t);
    // Neighbours, and the two of one pair, have nothing to do with each other.
    const auto v = x.to_vector<double>();
    for (const int64_t lag : {1, 2, 16, 32, 64}) {
      double sum = 0;
      for (int64_t i = lag; i < kDraws; ++i) sum += v[i] * v[i - lag];
      EXPECT_LT(std::abs(sum) / std::sqrt(static_cast<double>(kDraws)), 4) << lag;
    }
    double fourth = 0;
    for (const double e : v) fourth += e * e * e * e / static_cast<double>(kDraws);
    EXPECT_NEAR(fourth, 3, 0.1);
  }
  const Tensor shifted = normal(2.0, 3.0, Shape{kDraws}, DType::f32, {}, 8);
  EXPECT_LT(ks(shifted, [](double v) { return normal_below((v - 2) / 3); }), 1.95);
}

TEST(Random, OthersFollowTheirDistributions) {
  const Tensor e = exponential_(Tensor::empty({kDraws}), 2.5, 3);
  EXPECT_LT(ks(e, [](double v) { return 1 - std::exp(-2.5 * v); }), 1.95);
  const auto values = e.to_vector<double>();
  EXPECT_GT(*std::min_element(values.begin(), values.end()), 0);
  const Tensor l = log_normal_(Tensor::empty({kDraws}), 0.5, 0.25, 3);
  EXPECT_LT(ks(l, [](double v) { return normal_below((std::log(v) - 0.5) / 0.25); }), 1.95);
  const Tensor u = uniform_(Tensor::empty({kDraws}), -3, 5, 3);
  EXPECT_LT(ks(u, [](double v) { return (v + 3) / 8; }), 1.95);

  double sum = 0;
  for (const double v : bernoulli_(Tensor::empty({kDraws}), 0.3, 3).to_vector<double>()) sum += v;
  EXPECT_LT(std::abs(sum - 0.3 * kDraws) / std::sqrt(kDraws * 0.21), 4);

  EXPECT_LT(std::abs(chi_square(counts(randint(0, 1000, {kDraws}, DType::i64, {}, 3), 1000),
                                std::vector<double>(1000, kDraws / 1000.0))),
            4);
  const Tensor far = randint(-(int64_t{1} << 50), int64_t{1} << 50, {kDraws}, DType::i64, {}, 3);
  EXPECT_LT(ks(far, [](double v) { return (v * 0x1p-50 + 1) / 2; }), 1.95);
}

TEST(Random, MultinomialFollowsItsWeights) {
  std::vector<float> weights{1, 0, 5, 2, 0, 0.5, 7, 3};
  const Tensor w = Tensor::from(weights, {8});
  std::vector<double> expected, seen(6);
  for (const float v : weights)
    if (v > 0) expected.push_back(v / 18.5 * kDraws);
  const std::vector<double> all = counts(multinomial(w, kDraws, true, 9), 8);
  EXPECT_EQ(all[1] + all[4], 0);
  int next = 0;
  for (const int i : {0, 2, 3, 5, 6, 7}) seen[next++] = all[i];
  EXPECT_LT(std::abs(chi_square(seen, expected)), 4);
  // Without replacement: the first of each row is drawn like one with it, and no place comes twice.
  const Tensor rows = expand(w, {20000, 8});
  const Tensor drawn = multinomial(rows, 6, false, 9);
  std::vector<double> first(8);
  const auto places = drawn.to_vector<int64_t>();
  for (int64_t r = 0; r < 20000; ++r) {
    std::vector<int64_t> row(places.begin() + 6 * r, places.begin() + 6 * r + 6);
    first[row[0]] += 1;
    std::sort(row.begin(), row.end());
    ASSERT_EQ(row, (std::vector<int64_t>{0, 2, 3, 5, 6, 7}));
  }
  next = 0;
  for (const int i : {0, 2, 3, 5, 6, 7}) seen[next++] = first[i];
  for (double& e : expected) e *= 20000.0 / kDraws;
  EXPECT_LT(std::abs(chi_square(seen, expected)), 4);
}

TEST(Random, PermutationsAreUniform) {
  std::vector<double> seen(24), expected(24, 20000.0 / 24);
  for (uint64_t k = 0; k < 20000; ++k) {
    const auto p = randperm(4, DType::i64, {}, 1, 64 * k).to_vector<int64_t>();
    std::vector<int64_t> sorted(p);
    std::sort(sorted.begin(), sorted.end());
    ASSERT_EQ(sorted, (std::vector<int64_t>{0, 1, 2, 3}));
    int which = 0;  // its number among all
    for (int i = 0; i < 4; ++i) {
      int less = 0;
      for (int j = i + 1; j < 4; ++j) less += p[j] < p[i];
      which = which * (4 - i) + less;
    }
    seen[which] += 1;
  }
  EXPECT_LT(std::abs(chi_square(seen, expected)), 4);
}

TEST(Random, DrawsAreFunctionsOfSeedAndPlace) {
  const Tensor all = randn({1000}, DType::f32, {}, 5, 64);
  // A part of a tensor begins where its place says, in whole groups.
  EXPECT_TRUE(same_bits(randn({100}, DType::f32, {}, 5, 64 + 640), narrow(all, 0, 640, 100)));
  EXPECT_TRUE(same_bits(rand({100}, DType::f32, {}, 5, 77),
                        narrow(rand({200}, DType::f32, {}, 5, 70), 0, 7, 100)));
  EXPECT_FALSE(same_bits(randn({1000}, DType::f32, {}, 6, 64), all));
  // Any strides take the same draws.
  const Tensor x = Tensor::empty({30, 20});
  normal_(transpose(x, 0, 1), 0, 1, 5);
  EXPECT_TRUE(same_bits(clone(transpose(x, 0, 1)), randn({20, 30}, DType::f32, {}, 5)));
}

TEST(Random, TheGeneratorMovesOn) {
  manual_seed(42);
  const Tensor a = randn({100}), b = randn({100});
  EXPECT_FALSE(same_bits(a, b));
  manual_seed(42);
  EXPECT_TRUE(same_bits(a, randn({100})));
  const RandomPlace here = random_state();
  EXPECT_EQ(here.seed, 42u);
  EXPECT_EQ(here.offset, 128u);
  EXPECT_TRUE(same_bits(b, randn({100})));
  set_random_state(here);
  EXPECT_TRUE(same_bits(b, randn({100})));
  EXPECT_TRUE(same_bits(b, randn({100}, DType::f32, {}, 42, 128)));
  manual_seed(0);
}

TEST(Random, RefusesWhatMakesNoSense) {
  const auto complaint = [](auto f) { return error_of(f); };
  EXPECT_NE(complaint([] { rand({3}, DType::i32); }).find("floating, not i32"), std::string::npos);
  EXPECT_NE(complaint([] { rand({-3}); }).find("negative"), std::string::npos);
  EXPECT_NE(complaint([] { uniform_(Tensor::empty({3}), 2, 1); }).find("interval"),
            std::string::npos);
  EXPECT_NE(complaint([] { normal_(Tensor::empty({3}), 0, -1); }).find("negative, but is -1"),
            std::string::npos);
  EXPECT_NE(complaint([] { exponential_(Tensor::empty({3}), 0); }).find("above 0"),
            std::string::npos);
  EXPECT_NE(complaint([] { bernoulli_(Tensor::empty({3}), 1.5); }).find("[0, 1]"),
            std::string::npos);
  EXPECT_NE(complaint([] { bernoulli(Tensor::full({3}, -0.5)); }).find("-0.5"), std::string::npos);
  EXPECT_NE(complaint([] { randint(3, 3, {2}); }).find("[3, 3)"), std::string::npos);
  EXPECT_NE(complaint([] { randint(0, 300, {2}, DType::u8); }).find("u8 does not hold"),
            std::string::npos);
  EXPECT_NE(complaint([] { randperm(-1); }).find("-1"), std::string::npos);
  EXPECT_NE(complaint([] { uniform_(expand(Tensor::empty({1}), {4})); }).find("share memory"),
            std::string::npos);
  const Tensor w = Tensor::from(std::vector<float>{1, 0, 2}, {3});
  EXPECT_NE(complaint([&] { multinomial(w, 4); }).find("there are only 3"), std::string::npos);
  EXPECT_NE(complaint([&] { multinomial(w, 3); }).find("only 2 weights above 0"),
            std::string::npos);
  EXPECT_NE(complaint([&] { multinomial(Tensor::full({3}, -1), 1); }).find("from -1"),
            std::string::npos);
  EXPECT_NE(complaint([&] { multinomial(Tensor::full({3}, NAN), 1, true); }).find("finite"),
            std::string::npos);
  EXPECT_NE(complaint([&] {
              multinomial(Tensor::zeros({2, 3}), 1);
            }).find("all 0"),
            std::string::npos);
  const Tensor leaf = Tensor::zeros({3}).set_requires_grad(true);
  EXPECT_NE(complaint([&] { normal_(leaf); }).find("leaf"), std::string::npos);
}

}  // namespace
}  // namespace wellspring
