// Errors of the optimizer's step, dropout and swiglu, and dropout's rate.
#include "ops/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ops/activation.h"
#include "ops/dropout.h"

namespace wellspring {
namespace {

TEST(Adamw, RefusesWhatDoesNotFit) {
  const Tensor p = Tensor::zeros({2, 3}), m = Tensor::zeros({2, 3}), v = Tensor::zeros({2, 3}),
               g = Tensor::zeros({2, 3});
  EXPECT_THROW(adamw_(p, Tensor::zeros({3, 2}), m, v, {}, {}), Error);
  EXPECT_THROW(adamw_(p, Tensor::zeros({2, 3}, DType::bf16), m, v, {}, {}), Error);
  EXPECT_THROW(adamw_(p, g, Tensor(), v, {}, {}), Error);
  EXPECT_THROW(adamw_(p, g, m, v, Tensor::zeros({2, 3}), {}), Error);
  AdamwOptions o;
  o.step = 0;
  EXPECT_THROW(adamw_(p, g, m, v, {}, o), Error);
  o.step = 1, o.beta2 = 1;
  EXPECT_THROW(adamw_(p, g, m, v, {}, o), Error);
}

TEST(Adamw, RaisesVersionsAndFirstStepIsTheRate) {
  const Tensor p = Tensor::full({5}, 1), g = Tensor::full({5}, 3), m = Tensor::zeros({5}),
               v = Tensor::zeros({5});
  const uint32_t before = p.version();
  AdamwOptions o;
  o.lr = 0.25;
  adamw_(p, g, m, v, {}, o);
  for (float x : p.to_vector<float>()) EXPECT_NEAR(x, 0.75, 1e-6);
  EXPECT_GT(p.version(), before);
}

TEST(GlobalNorm, SkipsUndefined) {
  const std::vector<Tensor> grads{Tensor::full({3}, 2), Tensor(), Tensor::full({1}, 2)};
  EXPECT_EQ(global_norm(grads), 4);
  EXPECT_EQ(global_norm({}), 0);
}

TEST(Dropout, DropsAtItsRateAndByPlaceAlone) {
  const Tensor ones = Tensor::full({100000}, 1);
  const std::vector<float> all = dropout(ones, 0.2, 7).to_vector<float>();
  double dropped = 0;
  for (float x : all) {
    if (x == 0)
      ++dropped;
    else
      EXPECT_FLOAT_EQ(x, 1.25f);
  }
  EXPECT_NEAR(dropped / 100000, 0.2, 0.005);
  const std::vector<float> part = dropout(Tensor::full({500}, 1), 0.2, 7, 1234).to_vector<float>();
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 1234));
  EXPECT_THROW(dropout(ones, 1, 7), Error);
  EXPECT_THROW(dropout(ones, NAN, 7), Error);
}

TEST(Swiglu, WantsTwoHalves) { EXPECT_THROW(swiglu(Tensor::zeros({3, 7})), Error); }

}  // namespace
}  // namespace wellspring
