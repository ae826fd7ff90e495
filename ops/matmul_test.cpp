// Errors and dtypes of matmul and linear; values and gradients are checked by the case lists.
#include "ops/matmul.h"
#include "base/test_error.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

TEST(MatmulOperator, NamesBothShapesOfWhatDoesNotFit) {
  const Tensor a = Tensor::zeros({2, 3}), b = Tensor::zeros({4, 5});
  const std::string text = error_of([&] { matmul(a, b); });
  EXPECT_NE(text.find("f32[2, 3]"), std::string::npos) << text;
  EXPECT_NE(text.find("f32[4, 5]"), std::string::npos) << text;
  error_of([&] { matmul(a, Tensor::zeros({3, 2}, DType::bf16)); });
  error_of([&] { matmul(a, Tensor::zeros({})); });
  error_of([&] { matmul(Tensor::zeros({2, 2, 3}), Tensor::zeros({3, 3, 2})); });
  error_of([&] {
    matmul(Tensor::zeros({2, 3}, DType::boolean), Tensor::zeros({3, 2}, DType::boolean));
  });
  error_of([&] { linear(a, b); });
  error_of([&] { linear(a, Tensor::zeros({5, 3, 1})); });
  error_of([&] { linear(a, Tensor::zeros({5, 3}), Tensor::zeros({4})); });
  error_of([&] { linear(a, Tensor::zeros({5, 3}), Tensor::zeros({5}, DType::bf16)); });
}

TEST(MatmulOperator, GradientsOfWeightsAreF32) {
  const Tensor x = Tensor::full({4, 6}, 1, DType::bf16), w = Tensor::full({3, 6}, 1, DType::bf16);
  const Tensor bias = Tensor::full({3}, 1, DType::bf16);
  for (const Tensor& t : {x, w, bias}) t.set_requires_grad(true);
  const Tensor y = linear(x, w, bias);
  EXPECT_EQ(y.dtype(), DType::bf16);
  backward(y, Tensor::full({4, 3}, 1, DType::bf16));
  EXPECT_EQ(x.grad().dtype(), DType::bf16);
  EXPECT_EQ(w.grad().dtype(), DType::f32);
  EXPECT_EQ(bias.grad().dtype(), DType::f32);
  EXPECT_EQ(bias.grad().to_vector<float>(), (std::vector<float>{4, 4, 4}));
}

TEST(MatmulOperator, GradientOnlyWhereOneIsWanted) {
  const Tensor x = Tensor::full({4, 6}, 1), w = Tensor::full({3, 6}, 2);
  w.set_requires_grad(true);
  backward(linear(x, w), Tensor::full({4, 3}, 1));
  EXPECT_FALSE(x.grad().defined());
  EXPECT_EQ(w.grad().to_vector<float>(), std::vector<float>(18, 4));
}

}  // namespace
}  // namespace wellspring
