// Errors of the normalisations, and what the case lists cannot say.
#include "ops/norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

TEST(Norm, RefusesWhatDoesNotFit) {
  const Tensor x = Tensor::zeros({2, 8}), w = Tensor::full({8}, 1), b = Tensor::zeros({8});
  EXPECT_THROW(rms_norm(x, Tensor::full({7}, 1)), Error);
  EXPECT_THROW(rms_norm(x, Tensor::full({8}, 1, DType::bf16)), Error);
  EXPECT_THROW(rms_norm(x, Tensor()), Error);
  EXPECT_THROW(rms_norm(Tensor::zeros({2, 0}), Tensor::zeros({0})), Error);
  EXPECT_THROW(rms_norm(Tensor::zeros({}), Tensor::zeros({1})), Error);
  EXPECT_THROW(rms_norm(Tensor::zeros({2, 8}, DType::i32), w), Error);
  EXPECT_THROW(rms_norm(x, w, -1), Error);
  EXPECT_THROW(rms_norm(x, w, 1e-5, DType::f64), Error);
  EXPECT_THROW(layer_norm(x, w, Tensor::zeros({9})), Error);
  EXPECT_THROW(add_rms_norm(Tensor::zeros({2, 9}), x, w), Error);
  EXPECT_THROW(add_layer_norm(Tensor(), x, w, b), Error);
  try {
    add_rms_norm(Tensor::zeros({3, 8}), x, w);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("f32[3, 8]"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("f32[2, 8]"), std::string::npos) << e.what();
  }
}

TEST(Norm, GradientOfTheSumAlone) {
  const Tensor residual = Tensor::full({2, 3}, 2), x = Tensor::full({2, 3}, 1),
               w = Tensor::full({3}, 1);
  for (const Tensor& t : {residual, x, w}) t.set_requires_grad(true);
  backward(std::get<0>(add_rms_norm(residual, x, w)), Tensor::full({2, 3}, 5));
  EXPECT_EQ(residual.grad().to_vector<float>(), std::vector<float>(6, 5));
  EXPECT_EQ(x.grad().to_vector<float>(), std::vector<float>(6, 5));
  EXPECT_FALSE(w.grad().defined());
}

TEST(Norm, WeightWithoutGradientCostsNone) {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3}, {1, 3}), w = Tensor::full({3}, 1);
  x.set_requires_grad(true);
  backward(rms_norm(x, w, 0), Tensor::full({1, 3}, 1));
  EXPECT_FALSE(w.grad().defined());
  // With h = x / rms: dx = (1 - h mean(h)) / rms.
  const std::vector<float> dx = x.grad().to_vector<float>();
  const double mean_square = 14.0 / 3, rms = std::sqrt(mean_square);
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(dx[i], (1 - (i + 1) * 2 / mean_square) / rms, 1e-6);
}

}  // namespace
}  // namespace wellspring
