// Checks and derivative of attention; the kernels themselves are tested in
// chips/cpu/attention_test.cpp.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "ops/attention.h"
#include "tensor/allocator.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

Tensor wave(const Shape& shape, double seed, DType dtype = DType::f32) {
  std::vector<float> x(shape.numel());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(std::sin(seed + 1.7 * i * (1 + 1e-3 * i)));
  return Tensor::from(x, shape, dtype);
}

double dot(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector<double>(), y = b.to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

// Each gradient against finite differences along one direction.
void check_gradient(const std::vector<Tensor>& inputs,
                    const std::function<Tensor(const std::vector<Tensor>&)>& f) {
  for (const Tensor& t : inputs) t.set_requires_grad(true);
  const Tensor y = f(inputs), weight = wave(y.shape(), 0.3);
  backward(y, weight);
  NoGrad no_grad;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor along = wave(inputs[i].shape(), 5.0 + i);
    const auto x = inputs[i].to_vector<float>(), d = along.to_vector<float>();
    double sides[2];
    const double step = 1e-2;
    for (int s = 0; s < 2; ++s) {
      std::vector<float> moved(x);
      for (size_t j = 0; j < x.size(); ++j)
        moved[j] += static_cast<float>((s ? step : -step) * d[j]);
      std::vector<Tensor> at = inputs;
      at[i] = Tensor::from(moved, inputs[i].shape());
      sides[s] = dot(f(at), weight);
    }
    const double want = (sides[1] - sides[0]) / (2 * step), got = dot(inputs[i].grad(), along);
    EXPECT_NEAR(got, want, 2e-3 * (1 + std::abs(want))) << "input " << i;
  }
}

TEST(AttentionOperator, GradientAgreesWithFiniteDifferences) {
  check_gradient({wave({2, 7, 4, 8}, 1), wave({2, 9, 2, 8}, 2), wave({2, 9, 2, 8}, 3)},
                 [](const std::vector<Tensor>& x) { return attention(x[0], x[1], x[2]); });
  check_gradient({wave({2, 7, 8, 8}, 1)},
                 [](const std::vector<Tensor>& x) { return attention_qkv(x[0], 4, 2, true, 0.5); });
  check_gradient({wave({1, 70, 3, 40}, 1)},
                 [](const std::vector<Tensor>& x) { return attention_qkv(x[0], 1, 1, false); });
}

TEST(AttentionOperator, TakesAnyStridesAndExpandedGradients) {
  const Tensor base = wave({2, 8, 5, 6}, 1);  // [B, D, T, H]: the width is strided
  const Tensor q = base.as_strided({2, 5, 6, 8}, {240, 6, 1, 30}, 0);
  const Tensor packed = Tensor::empty({2, 5, 6, 8});
  packed.copy_from(q);
  const Tensor one = attention_qkv(q, 2, 2), two = attention_qkv(packed, 2, 2);
  EXPECT_EQ(one.to_vector<float>(), two.to_vector<float>());
  packed.set_requires_grad(true);
  const Tensor grad = Tensor::full({1}, 1).as_strided({2, 5, 2, 8}, {0, 0, 0, 0}, 0);
  backward(attention_qkv(packed, 2, 2), grad);
  const auto expanded = packed.grad().to_vector<float>();
  packed.set_grad(Tensor());
  backward(attention_qkv(packed, 2, 2), Tensor::full({2, 5, 2, 8}, 1));
  EXPECT_EQ(packed.grad().to_vector<float>(), expanded);
}

TEST(AttentionOperator, CachedSeesTheValidKeys) {
  const Tensor q = wave({1, 2, 2, 32}, 1), k = wave({1, 40, 2, 32}, 2), v = wave({1, 40, 2, 32}, 3);
  const auto head = [](const Tensor& t, int64_t n) {
    return t.as_strided({1, n, 2, 32}, t.strides(), 0);
  };
  const Tensor cached = attention_cached(q, k, v, Tensor::from(std::vector<int32_t>{33}, {1}));
  EXPECT_EQ(cached.to_vector<float>(), attention(q, head(k, 33), head(v, 33)).to_vector<float>());
}

// One head's scores of T = 4096 would take 64 MB in f32. Beside operands, result and gradients
// there is no more than a few values for each query. (Scratch memory:
// chips/cpu/attention_test.cpp.)
TEST(AttentionOperator, NeverStoresTheScores) {
  constexpr int64_t T = 4096, H = 2, D = 64, kWide = T * H * D, kBound = 2 << 20;
  for (DType dtype : {DType::f32, DType::bf16}) {
    const Tensor q = wave({1, T, H, D}, 1, dtype).set_requires_grad(true);
    const Tensor k = wave({1, T, H, D}, 2, dtype).set_requires_grad(true);
    const Tensor v = wave({1, T, H, D}, 3, dtype).set_requires_grad(true),
                 seed = wave({1, T, H, D}, 4, dtype);
    const int64_t size = size_of(dtype);
    const int64_t begin = memory_figures({}).in_use;
    reset_peak_memory({});
    const Tensor y = attention(q, k, v);
    EXPECT_LT(memory_figures({}).peak - begin - kWide * size, kBound)
        << name_of(dtype) << " forward";
    const int64_t middle = memory_figures({}).in_use;
    reset_peak_memory({});
    backward(y, seed);
    EXPECT_LT(memory_figures({}).peak - middle - 3 * kWide * size, kBound)
        << name_of(dtype) << " backward";
  }
}

TEST(AttentionOperator, RefusesWhatDoesNotFit) {
  const Tensor q = wave({1, 4, 4, 8}, 1), k = wave({1, 4, 3, 8}, 1);
  EXPECT_THROW(attention(q, k, k), Error);
  EXPECT_THROW(attention(q, q, k), Error);
  EXPECT_THROW(attention(q, q, wave({1, 4, 4, 8}, 1, DType::bf16)), Error);
  EXPECT_THROW(attention_qkv(q, 4, 1), Error);
  EXPECT_THROW(attention(q, q, q, true, NAN), Error);
  const Tensor wide = wave({1, 1, 1, 288}, 1);
  EXPECT_THROW(attention(wide, wide, wide), Error);
}

}  // namespace
}  // namespace wellspring
