#include "nn/calibration.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "base/test_error.h"
#include "base/threads.h"
#include "nn/weight.h"

namespace wellspring {
namespace {

// Rows whose columns go together: noise that was smoothed, and some columns that are large.
Tensor correlated(int64_t rows, int64_t K, uint64_t seed) {
  Tensor x = Tensor::empty({rows, K});
  Random random(seed);
  for (int64_t r = 0; r < rows; ++r) {
    double smooth = 0;
    for (int64_t k = 0; k < K; ++k) {
      smooth = 0.9 * smooth + random.normal();
      x.data_as<float>()[r * K + k] = static_cast<float>(smooth * (k % 37 == 5 ? 6 : 1));
    }
  }
  return x;
}

Tensor moments_of(const Tensor& x) {
  const int64_t n = x.size(0), K = x.size(1);
  Tensor m = Tensor::zeros({K, K});
  for (int64_t r = 0; r < n; ++r)
    for (int64_t i = 0; i < K; ++i)
      for (int64_t j = 0; j < K; ++j) m.data_as<float>()[i * K + j] += x.data_as<float>()[r * K + i] * x.data_as<float>()[r * K + j];
  return m;
}

Tensor random_weight(int64_t rows, int64_t K) {
  Tensor w = Tensor::empty({rows, K});
  Random random(3);
  for (int64_t i = 0; i < w.numel(); ++i) w.data_as<float>()[i] = static_cast<float>(0.05 * random.normal());
  return w;
}

std::string bytes_of(const Weight& w) { return {static_cast<const char*>(w.values.data()), static_cast<size_t>(w.values.numel())}; }

// |x (w - q)^T|^2
double error_of_products(const Tensor& x, const Tensor& w, const Tensor& q) {
  double sum = 0;
  const int64_t K = x.size(1);
  for (int64_t r = 0; r < x.size(0); ++r)
    for (int64_t n = 0; n < w.size(0); ++n) {
      double d = 0;
      for (int64_t k = 0; k < K; ++k)
        d += static_cast<double>(x.data_as<float>()[r * K + k]) * (w.data_as<float>()[n * K + k] - q.data_as<float>()[n * K + k]);
      sum += d * d;
    }
  return sum;
}

TEST(Calibration, FactorsTheMoments) {
  for (const int64_t K : {1, 5, 128, 300}) {  // blocks of 128
    const Tensor m = moments_of(correlated(2 * K + 3, K, 1)), f = error_feedback(m, 0.02);
    double mean = 0;
    for (int64_t k = 0; k < K; ++k) mean += m.data_as<float>()[k * K + k] / static_cast<double>(K);
    const auto r = [&](int64_t i, int64_t k) { return i == k ? 1.0 : i > k ? 0.0 : f.data_as<float>()[i * K + k]; };
    for (int64_t i = 0; i < K; i += 1 + K / 20)
      for (int64_t j = 0; j < K; j += 1 + K / 20) {
        double sum = 0;
        for (int64_t k = 0; k < K; ++k) sum += r(i, k) * f.data_as<float>()[k * K + k] * mean * r(j, k);
        EXPECT_NEAR(sum, m.data_as<float>()[i * K + j] + (i == j ? 0.02 * mean : 0), 1e-5 * mean * 36) << K << ": " << i << ", " << j;
      }
  }
}

TEST(Calibration, MakesTheErrorOfProductsLess) {
  for (const int64_t K : {64, 150}) {
    const Tensor x = correlated(400, K, 1), other = correlated(200, K, 2), w = random_weight(20, K);
    const Tensor feedback = error_feedback(moments_of(x));
    const Tensor plain = dequantize(quantize(w, WeightFormat::q4, "w")), with = dequantize(quantize(w, WeightFormat::q4, "w", feedback));
    EXPECT_LT(error_of_products(x, w, with), 0.4 * error_of_products(x, w, plain));
    EXPECT_LT(error_of_products(other, w, with), 0.4 * error_of_products(other, w, plain)) << "rows that it has not seen";
    // Without correlation there is nothing to make up for: the squares of the errors stay about what they are.
    const Tensor flat = dequantize(quantize(w, WeightFormat::q4, "w", error_feedback(Tensor::zeros({K, K}))));
    double a = 0, b = 0;
    for (int64_t i = 0; i < w.numel(); ++i) {
      const double v = w.data_as<float>()[i];
      a += std::pow(v - flat.data_as<float>()[i], 2), b += std::pow(v - plain.data_as<float>()[i], 2);
    }
    EXPECT_LT(a, 1.001 * b);
    EXPECT_GT(a, 0.9 * b);
  }
}

TEST(Calibration, TheSameBitsOnAnyThreads) {
  const Tensor m = moments_of(correlated(300, 150, 4)), w = random_weight(70, 150);
  std::vector<std::string> values;
  for (const int threads : {1, 2}) {
    set_threads(threads);
    values.push_back(bytes_of(quantize(w, WeightFormat::q4, "w", error_feedback(m))));
  }
  EXPECT_EQ(values[0], values[1]);
}

TEST(Calibration, RefusesWhatIsNotFinite) {
  Tensor m = Tensor::zeros({4, 4});
  m.data_as<float>()[5] = NAN;
  EXPECT_NE(error_of([&] { error_feedback(m); }, Fault::data).find("not finite"), std::string::npos);
  // 8 bits do without.
  const Tensor w = random_weight(3, 4);
  EXPECT_EQ(bytes_of(quantize(w, WeightFormat::q8, "w", Tensor::zeros({4, 4}))), bytes_of(quantize(w, WeightFormat::q8, "w")));
}

}  // namespace
}  // namespace wellspring
