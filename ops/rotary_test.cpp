// Errors and versions of the rotary embedding.
#include "ops/rotary.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

const Tensor kCos = Tensor::full({4, 2}, 0), kSin = Tensor::full({4, 2}, 1);  // a quarter turn

TEST(Rotary, RefusesWhatDoesNotFit) {
  const Tensor x = Tensor::zeros({1, 3, 2, 4});
  EXPECT_THROW(rotary(Tensor::zeros({1, 3, 2, 5}), kCos, kSin), Error);
  EXPECT_THROW(rotary(Tensor::zeros({3, 2, 4}), kCos, kSin), Error);
  EXPECT_THROW(rotary(Tensor::zeros({1, 5, 2, 4}), kCos, kSin), Error);
  EXPECT_THROW(rotary(x, Tensor::zeros({4, 3}), kSin), Error);
  EXPECT_THROW(rotary(x, Tensor::zeros({5, 2}), kSin), Error);
  EXPECT_THROW(rotary(x, kCos, kSin, Tensor::from(std::vector<int32_t>{0, 1, 4}, {1, 3})), Error);
  EXPECT_THROW(rotary(x, kCos, kSin, Tensor::from(std::vector<int32_t>{0, 1}, {1, 2})), Error);
  EXPECT_THROW(rotary(x, kCos, kSin, {}, 3), Error);
  EXPECT_THROW(
      rotary_(Tensor::zeros({1, 1, 1, 4}).as_strided({1, 3, 2, 4}, {4, 0, 0, 1}, 0), kCos, kSin),
      Error);
}

TEST(Rotary, InPlaceTurnsAndTellsAutograd) {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4}, {1, 1, 1, 4});
  const uint32_t before = x.version();
  rotary_(x, kCos, kSin);
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{-3, -4, 1, 2}));
  EXPECT_GT(x.version(), before);
  x.set_requires_grad(true);
  EXPECT_THROW(rotary_(x, kCos, kSin), Error);  // a leaf
}

TEST(Rotary, GradientTurnsBackAndSparesTheSeed) {
  const Tensor x = Tensor::zeros({1, 1, 1, 4}),
               seed = Tensor::from(std::vector<float>{1, 2, 3, 4}, {1, 1, 1, 4});
  x.set_requires_grad(true);
  backward(rotary(x, kCos, kSin), seed);
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{3, 4, -1, -2}));
  EXPECT_EQ(seed.to_vector<float>(), (std::vector<float>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace wellspring
