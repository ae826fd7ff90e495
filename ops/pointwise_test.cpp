// What the case lists of pointwise operators cannot say: PyTorch's promotion, errors, forms in
// place and with out, what is saved, the functions' accuracy.
#include "ops/pointwise.h"
#include "base/test_error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "ops/activation.h"
#include "ops/pointwise_call.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

Tensor of(DType t, const Shape& shape = {2}) { return Tensor::full(shape, 1, t); }

#define EXPECT_TELLS(call, part) \
  EXPECT_NE(error_of([&] { call; }).find(part), std::string::npos) << error_of([&] { call; })

// The table of torch.promote_types for the dtypes here.
TEST(Promotion, OfTensorsAsPyTorch) {
  const DType all[] = {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64,
                       DType::i32, DType::i16, DType::i8,   DType::u8,  DType::boolean};
  const char* rows[] = {
      "f64 f64 f64 f64 f64 f64 f64 f64 f64 f64",        "f64 f32 f32 f32 f32 f32 f32 f32 f32 f32",
      "f64 f32 bf16 f32 bf16 bf16 bf16 bf16 bf16 bf16", "f64 f32 f32 f16 f16 f16 f16 f16 f16 f16",
      "f64 f32 bf16 f16 i64 i64 i64 i64 i64 i64",       "f64 f32 bf16 f16 i64 i32 i32 i32 i32 i32",
      "f64 f32 bf16 f16 i64 i32 i16 i16 i16 i16",       "f64 f32 bf16 f16 i64 i32 i16 i8 i16 i8",
      "f64 f32 bf16 f16 i64 i32 i16 i16 u8 u8",         "f64 f32 bf16 f16 i64 i32 i16 i8 u8 bool"};
  for (int a = 0; a < 10; ++a) {
    std::string line;
    for (DType b : all)
      line += (line.empty() ? "" : " ") + std::string(name_of(add(of(all[a]), of(b)).dtype()));
    EXPECT_EQ(line, rows[a]);
  }
}

TEST(Promotion, OfNumbersAndTensorsWithoutDimensions) {
  const Shape scalar{};
  EXPECT_EQ(add(of(DType::bf16), of(DType::f64, scalar)).dtype(), DType::bf16);
  EXPECT_EQ(add(of(DType::i8), of(DType::i64, scalar)).dtype(), DType::i8);
  EXPECT_EQ(add(of(DType::i8), of(DType::f64, scalar)).dtype(), DType::f64);
  EXPECT_EQ(add(of(DType::boolean), of(DType::u8, scalar)).dtype(), DType::u8);
  EXPECT_EQ(mul(of(DType::bf16), 2.5).dtype(), DType::bf16);
  EXPECT_EQ(mul(of(DType::i32), 2.5).dtype(), DType::f32);
  EXPECT_EQ(mul(of(DType::i32), 2).dtype(), DType::i32);
  EXPECT_EQ(mul(of(DType::boolean), 2).dtype(), DType::i64);
  EXPECT_EQ(mul(of(DType::boolean), true).dtype(), DType::boolean);
  EXPECT_EQ(mul(of(DType::i16, scalar), 2.5).dtype(), DType::f32);
  EXPECT_EQ(div(of(DType::i32), of(DType::i32)).dtype(), DType::f32);
  EXPECT_EQ(exp(of(DType::i64)).dtype(), DType::f32);
  EXPECT_EQ(exp(of(DType::bf16)).dtype(), DType::bf16);
  EXPECT_EQ(lt(of(DType::f32), 3).dtype(), DType::boolean);
  EXPECT_EQ(where(of(DType::boolean), 1, 2).dtype(), DType::i64);
  EXPECT_EQ(where(of(DType::boolean), of(DType::bf16), 2.0).dtype(), DType::bf16);
}

TEST(Pointwise, WholeNumbersWrapAndStayExact) {
  const int64_t big = (int64_t{1} << 62) + 1;
  EXPECT_EQ(add(Tensor::from(std::vector<int64_t>{big}, {1}), 2).to_vector<int64_t>()[0], big + 2);
  EXPECT_EQ(mul(of(DType::i8), 200).to_vector<int64_t>()[0], -56);
  EXPECT_EQ(pow(Tensor::from(std::vector<int32_t>{3, -2}, {2}), 3).to_vector<int32_t>(),
            (std::vector<int32_t>{27, -8}));
  EXPECT_EQ(sub(Tensor::from(std::vector<int32_t>{3}, {1}), 5, 2).to_vector<int32_t>()[0], -7);
  EXPECT_EQ(lt(of(DType::i8, {1}), 300).item(), 1) << "compared as whole numbers, not as i8";
}

TEST(Pointwise, RefusesWhatDoesNotFit) {
  EXPECT_TELLS(add(of(DType::f32, {2, 3}), of(DType::f32, {4})),
               "add: shapes [2, 3] and [4] do not broadcast");
  EXPECT_TELLS(add(of(DType::i32), 1, 0.5), "0.5");
  EXPECT_TELLS(add_(of(DType::i32), 0.5), "cannot hold");
  EXPECT_TELLS(add_(of(DType::f32, {2}), of(DType::f32, {3, 2})), "the result is [3, 2]");
  EXPECT_TELLS(add_out(of(DType::i32), of(DType::f32), of(DType::f32)), "cannot hold");
  const Tensor small = of(DType::f32, {2});
  EXPECT_TELLS(add_out(small, small, of(DType::f32, {3, 2})), "which is an operand");
  EXPECT_TELLS(where(of(DType::f32), 1, 2), "must be bool");
  EXPECT_TELLS(add(Tensor::zeros({2}, DType::c64), 1), "complex");
  EXPECT_TELLS(add(of(DType::f32), Tensor()), "undefined");
  EXPECT_TELLS(gelu(of(DType::f32), "fast"), "\"fast\"");
}

TEST(Pointwise, WritesIntoOutAndInPlace) {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4}, {4}),
               out = Tensor::zeros({4}, DType::f64);
  const uint32_t before = out.version();
  EXPECT_TRUE(mul_out(out, x, 2).same(out));
  EXPECT_EQ(out.to_vector<double>(), (std::vector<double>{2, 4, 6, 8}));
  EXPECT_GT(out.version(), before);
  EXPECT_TRUE(mul_(x, x).same(x));
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{1, 4, 9, 16}));
  EXPECT_EQ(sub(1, x).to_vector<float>(), (std::vector<float>{0, -3, -8, -15}));
}

// Results of this size are stored past the caches.
TEST(Pointwise, LargeResultsAreWhole) {
  for (DType t : {DType::f32, DType::bf16}) {
    const int64_t n = (int64_t{9} << 20) + 5;
    const Tensor base = Tensor::full({n}, 1.5, t), x = base.as_strided({n - 1}, {1}, 1);
    const Tensor y = Tensor::zeros({n}, t).as_strided({n - 1}, {1}, 1);
    mul_out(y, x, 2);
    const auto values = y.to_vector<float>();
    int64_t wrong = 0;
    for (float v : values) wrong += v != 3;
    EXPECT_EQ(wrong, 0) << name_of(t);
    add_(y, x);
    EXPECT_EQ(y.to_vector<float>().back(), 4.5f);
  }
}

TEST(Pointwise, GuardsAgainstOverlap) {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {6});
  const auto part = [&](int64_t n, int64_t stride, int64_t offset) {
    return x.as_strided({n}, {stride}, offset);
  };
  EXPECT_TELLS(add_(part(5, 1, 0), part(5, 1, 1)), "overlap partly");
  EXPECT_TELLS(neg_out(part(5, 1, 1), part(5, 1, 0)), "overlap partly");
  EXPECT_TELLS(add_(x.as_strided({3}, {0}, 0), 1), "repeats its elements");
  add_(part(3, 2, 0), part(3, 2, 1));  // interleaved: no element is shared
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{3, 2, 7, 4, 11, 6}));
  add_(part(3, 2, 0), part(3, 1, 0));  // shares elements: the values before the change count
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{6, 2, 9, 4, 18, 6}));
}

TEST(Pointwise, GuardsTheTape) {
  const Tensor x = of(DType::f32);
  x.set_requires_grad(true);
  EXPECT_TELLS(add_(x, 1), "a leaf that requires a gradient");
  EXPECT_TELLS(exp_out(of(DType::f32), x), "no gradient");
  const Tensor y = mul(x, 3), z = exp(y);
  add_(z, 1);  // exp keeps its result
  EXPECT_TELLS(backward(z, of(DType::f32)), "changed in place");
  const Tensor a = mul(x, 3), b = sin(a);
  mul_(a, 2);  // sin keeps its operand
  EXPECT_TELLS(backward(b, of(DType::f32)), "changed in place");
}

TEST(Pointwise, RecordsChangesInPlace) {
  const Tensor x = Tensor::from(std::vector<float>{0.5f, 2}, {2});
  x.set_requires_grad(true);
  const Tensor y = mul(x, 1);
  mul_(y, y);  // x^2
  sin_(y);
  backward(y, of(DType::f32));
  const auto g = x.grad().to_vector<float>();
  EXPECT_NEAR(g[0], 2 * 0.5 * std::cos(0.25), 1e-6);
  EXPECT_NEAR(g[1], 2 * 2 * std::cos(4.0), 1e-6);
}

TEST(Pointwise, SavesOnlyWhatTheWantedGradientsRead) {
  const Tensor x = of(DType::f32), y = of(DType::f32);
  x.set_requires_grad(true);
  const Tensor sum = add(x, y), product = mul(x, 2), scaled = mul(x, y);
  x.changed();  // neither the sum nor the products' gradient of x read x
  backward(sum, of(DType::f32)), backward(product, of(DType::f32)),
      backward(scaled, of(DType::f32));
  EXPECT_EQ(x.grad().to_vector<float>()[0], 4);
}

// Greatest error in units of the last place, against the C library in f64, over floats of all
// sizes.
double worst_ulp(Tensor (*f)(const Tensor&), double (*exact)(double), double low, double high) {
  std::vector<float> x;
  for (int64_t bits = 0; bits < 0x7f800000; bits += 9973)
    for (float sign : {1.0f, -1.0f}) {
      const float v = sign * std::bit_cast<float>(static_cast<uint32_t>(bits));
      if (v >= low && v <= high) x.push_back(v);
    }
  const auto y = f(Tensor::from(x, {static_cast<int64_t>(x.size())})).to_vector<float>();
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = exact(x[i]);
    const float nearest = static_cast<float>(want);
    if (std::isinf(nearest) || std::isnan(want)) {
      if (!(std::isnan(want) ? std::isnan(y[i]) : y[i] == nearest || std::abs(want) < 3.4029e38))
        return 1e9;
      continue;
    }
    const double unit = std::max(
        std::abs(std::nextafter(nearest, INFINITY) - static_cast<double>(nearest)), 1.5e-45);
    worst = std::max(worst, std::abs(y[i] - want) / unit);
  }
  return worst;
}

TEST(Functions, AreAccurateOverTheWholeRange) {
  const double most = 3.4e38;
  EXPECT_LT(worst_ulp(exp, std::exp, -most, most), 2);
  EXPECT_LT(worst_ulp(exp2, std::exp2, -most, most), 2);
  EXPECT_LT(worst_ulp(expm1, std::expm1, -most, most), 3);
  EXPECT_LT(worst_ulp(log, std::log, -most, most), 2);
  EXPECT_LT(worst_ulp(log1p, std::log1p, -most, most), 4);
  EXPECT_LT(worst_ulp(sin, std::sin, -most, most), 2);
  EXPECT_LT(worst_ulp(cos, std::cos, -most, most), 2);
  EXPECT_LT(worst_ulp(tanh, std::tanh, -most, most), 4);
  EXPECT_LT(worst_ulp(erf, std::erf, -most, most), 5);
  EXPECT_LT(worst_ulp(
                sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -most, most),
            4);
  EXPECT_LT(worst_ulp([](const Tensor& x) { return pow(x, 3.7); },
                      [](double x) { return std::pow(x, double{3.7f}); }, -most, most),
            1);
  EXPECT_LT(worst_ulp([](const Tensor& x) { return pow(1.37, x); },
                      [](double x) { return std::pow(double{1.37f}, x); }, -most, most),
            1);
}

TEST(Pointwise, WholeNumbersAreSeenAsTheDtypeHoldsThem) {
  const Tensor bytes = to(Tensor::from(std::vector<int32_t>{255, 1, 44}, {3}), DType::u8);
  const auto truths = [](const Tensor& t) { return to(t, DType::i32).to_vector<int32_t>(); };
  using V = std::vector<int32_t>;
  EXPECT_EQ(truths(eq(bytes, -1)), (V{1, 0, 0}));
  EXPECT_EQ(truths(lt(bytes, 300)), (V{0, 1, 0}));  // 300 is 44
  EXPECT_EQ(truths(eq(bytes, to(Tensor::full({}, -1), DType::i64))), (V{1, 0, 0}));
  EXPECT_EQ(truths(eq(bytes, to(Tensor::full({1}, -1), DType::i64))), (V{0, 0, 0}));  // promotes
  EXPECT_EQ(truths(remainder(bytes, -1)), (V{0, 1, 44}));
}

TEST(Functions, DigammaIsRightBesideItsPoles) {
  for (const float x : {-0.0001f, -0.9999f, -1.0001f, -2.99999f, -7.001f, -0.5f, -3.3f}) {
    double sum = 0, y = x;  // by the recurrence, to where there are no poles
    for (; y < 1; ++y) sum -= 1 / y;
    const double want = sum + digamma(Tensor::full({1}, y, DType::f64)).item();
    const double got = digamma(Tensor::full({1}, x)).item();
    EXPECT_LT(std::abs(got - want), 1e-6 * std::abs(want) + 1e-6) << x;
  }
}

TEST(Functions, HaveTheLimitsOfTheStandard) {
  const float inf = INFINITY, nan = NAN;
  const float bases[] = {0, -0.0f, 1, -1, 2, -2, 0.5f, -0.5f, inf, -inf, nan};
  const float exponents[] = {0,    -0.0f, 1,     -1,     2,   -2,   3,  -3,
                             0.5f, -0.5f, 1e30f, -1e30f, inf, -inf, nan};
  for (float b : bases)
    for (float e : exponents) {
      const float got =
          static_cast<float>(pow(Tensor::full({1}, b), static_cast<double>(e)).item());
      const float want = std::pow(b, e);
      EXPECT_TRUE(std::isnan(want) ? std::isnan(got)
                                   : got == want && std::signbit(got) == std::signbit(want))
          << b << "^" << e << " = " << got << ", not " << want;
    }
  const auto one = [](Tensor (*f)(const Tensor&), float x) {
    return f(Tensor::full({1}, x)).to_vector<float>()[0];
  };
  EXPECT_TRUE(std::signbit(one(sin, -0.0f)) && std::signbit(one(tanh, -0.0f)) &&
              std::signbit(one(expm1, -0.0f)));
  EXPECT_TRUE(std::isnan(one(log, -1)) && std::isnan(one(sin, inf)) && std::isnan(one(erf, nan)));
  EXPECT_EQ(one(log, 0), -inf);
  EXPECT_EQ(one(log1p, -1), -inf);
  EXPECT_EQ(one(expm1, -inf), -1);
  EXPECT_EQ(one(exp, -inf), 0);
  EXPECT_EQ(one(round, 2.5f), 2);
  EXPECT_EQ(one(round, 8388609.0f), 8388609.0f);
}

TEST(Pointwise, ClampOfEveryKindOfNumber) {
  const float inf = std::numeric_limits<float>::infinity(),
              nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> kinds = {nan, inf, -inf, 0, 1, -2.5};
  for (float x : kinds)
    for (float low : kinds)
      for (float high : kinds) {
        const auto of = [](float v) { return Tensor::full({3}, v); };
        const float got = clamp(of(x), of(low), of(high)).to_vector<float>()[0];
        const float want = std::isnan(x) || std::isnan(low) || std::isnan(high)
                               ? nan
                               : std::min(std::max(x, low), high);
        EXPECT_TRUE(std::isnan(want) ? std::isnan(got) : got == want)
            << x << " in " << low << " to " << high << " is " << got << ", not " << want;
      }
}

}  // namespace
}  // namespace wellspring
