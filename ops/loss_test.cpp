// Errors of the losses, gradients across chunks, and memory.
#include "ops/loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "tensor/allocator.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

Tensor wave(const Shape& shape, double seed, DType dtype = DType::f32) {
  std::vector<float> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(std::sin(seed + 1.7 * static_cast<double>(i % 9973)));
  return Tensor::from(x, shape, dtype);
}

TEST(Loss, RefusesWhatDoesNotFit) {
  const Tensor x = wave({3, 8}, 1), w = wave({5, 8}, 2),
               t = Tensor::from(std::vector<int32_t>{0, 4, 2}, {3});
  EXPECT_THROW(linear_cross_entropy(x, wave({5, 7}, 1), t), Error);
  EXPECT_THROW(linear_cross_entropy(x, wave({5, 8}, 1, DType::bf16), t), Error);
  EXPECT_THROW(linear_cross_entropy(x, w, Tensor::from(std::vector<int32_t>{0, 4}, {2})), Error);
  EXPECT_THROW(linear_cross_entropy(x, w, t, NAN), Error);
  EXPECT_THROW(linear_cross_entropy(x, w, t, 1, 1, -100, wave({4}, 1)), Error);
  EXPECT_THROW(linear_cross_entropy(x, Tensor::zeros({0, 8}), t), Error);
  for (int32_t bad : {5, -1}) {
    try {
      cross_entropy(w.as_strided({3, 5}, {5, 1}, 0),
                    Tensor::from(std::vector<int32_t>{0, bad, 2}, {3}));
      FAIL();
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("target " + std::to_string(bad) + " of row 1"),
                std::string::npos)
          << e.what();
    }
  }
}

// Nothing to count: the loss is NaN and the gradients are 0.
TEST(Loss, NothingToCount) {
  const auto zeros = [](const Tensor& t) {
    return t.grad().to_vector<float>() == std::vector<float>(t.numel());
  };
  const Tensor x = wave({2, 8}, 1), w = wave({8, 8}, 2),
               ignored = Tensor::from(std::vector<int32_t>{-100, -100}, {2});
  x.set_requires_grad(true), w.set_requires_grad(true);
  for (auto* loss : {&cross_entropy, &nll_loss}) {
    const Tensor value = loss(x, ignored, -100);
    EXPECT_TRUE(std::isnan(value.item()));
    backward(value);
    EXPECT_TRUE(zeros(x));
  }
  backward(linear_cross_entropy(x, w, ignored));
  EXPECT_TRUE(zeros(x) && zeros(w));
  w.set_grad({});
  backward(
      linear_cross_entropy(Tensor::zeros({0, 8}), w, Tensor::from(std::vector<int32_t>{}, {0})));
  EXPECT_TRUE(zeros(w));
}

// Gradients of a call whose logits take three chunks, against those of the rows one by one.
TEST(LinearCrossEntropy, ChunksAddUp) {
  const int64_t V = 1 << 20, N = 40;
  const Tensor x = wave({N, 4}, 1), w = wave({V, 4}, 2), bias = wave({V}, 3);
  std::vector<int32_t> t(N);
  for (int64_t i = 0; i < N; ++i) t[i] = static_cast<int32_t>(i % 7 ? i * 26007 : -100);
  for (const Tensor& leaf : {x, w, bias}) leaf.set_requires_grad(true);
  backward(linear_cross_entropy(x, w, Tensor::from(t, {N}), 1, 2, -100, bias));
  const Tensor dx = x.grad(), dw = w.grad(), dbias = bias.grad();
  for (const Tensor& leaf : {x, w, bias}) leaf.set_grad({});
  double count = 0;
  for (int32_t v : t) count += v != -100;
  for (int64_t i = 0; i < N; ++i) {
    const Tensor row = Tensor::empty({1, 4});
    row.copy_from(x.as_strided({1, 4}, {4, 1}, 4 * i));
    row.set_requires_grad(true);
    const Tensor loss = linear_cross_entropy(row, w, Tensor::from(std::vector<int32_t>{t[i]}, {1}),
                                             1, 2 / count, -100, bias);
    EXPECT_EQ(std::isnan(loss.item()), t[i] == -100);
    backward(loss);
    const std::vector<float> one = row.grad().to_vector<float>(), all = dx.to_vector<float>();
    for (int k = 0; k < 4; ++k) EXPECT_NEAR(one[k], all[4 * i + k], 1e-6) << i;
  }
  const auto near = [](const Tensor& a, const Tensor& b) {
    const std::vector<float> p = a.to_vector<float>(), q = b.to_vector<float>();
    double worst = 0;
    for (size_t i = 0; i < p.size(); ++i) worst = std::max<double>(worst, std::abs(p[i] - q[i]));
    return worst;
  };
  EXPECT_LT(near(dw, w.grad()), 1e-7);
  EXPECT_LT(near(dbias, bias.grad()), 1e-7);
}

TEST(LinearCrossEntropy, NeverHoldsAllLogits) {
  const Tensor x = wave({512, 8}, 1, DType::bf16), w = wave({1 << 18, 8}, 2, DType::bf16);
  x.set_requires_grad(true);
  const int64_t before = memory_figures({}).in_use;
  reset_peak_memory({});
  const Tensor loss = linear_cross_entropy(x, w, Tensor::from(std::vector<int32_t>(512, 3), {512}));
  EXPECT_LT(memory_figures({}).peak - before, int64_t{130} << 20);  // all logits are 512 MiB
  EXPECT_TRUE(std::isfinite(loss.item()));
}

TEST(LinearCrossEntropy, GradientsMayBeAskedForTwiceAndScaled) {
  const Tensor x = wave({3, 8}, 1), w = wave({5, 8}, 2),
               t = Tensor::from(std::vector<int32_t>{0, 4, 2}, {3});
  x.set_requires_grad(true), w.set_requires_grad(true);
  const Tensor loss = linear_cross_entropy(x, w, t);
  backward(loss, {}, true);
  const std::vector<float> once = w.grad().to_vector<float>();
  backward(loss, Tensor::full({}, 2), true);
  backward(loss);
  const std::vector<float> four_times = w.grad().to_vector<float>();
  for (size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(four_times[i], 4 * once[i], 1e-6);
}

}  // namespace
}  // namespace wellspring
