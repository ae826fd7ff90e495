// What the named operators refuse, with the shapes in the message, and what cases cannot say of
// them.
#include <gtest/gtest.h>

#include <cmath>

#include "base/test_error.h"
#include "ops/arithmetic.h"
#include "ops/attention.h"
#include "ops/complex.h"
#include "ops/conv.h"
#include "ops/fft.h"
#include "ops/loss.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/pointwise.h"
#include "ops/pool.h"
#include "ops/reduce.h"
#include "ops/resize.h"
#include "ops/rotary.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

Tensor of(const Shape& shape, DType t = DType::f32) { return Tensor::full(shape, 1, t); }
Tensor whole(std::initializer_list<int64_t> v) {
  const std::vector<int64_t> values(v);
  return Tensor::from(std::span<const int64_t>(values), {static_cast<int64_t>(values.size())});
}

#define EXPECT_TELLS(call, part)                                   \
  EXPECT_NE(error_of([&] { call; }).find(part), std::string::npos) \
      << #call << " says '" << error_of([&] { call; }) << "' instead of " << part

TEST(NamedOperators, ConvolutionsRefuse) {
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}), of({4, 2, 3, 3})), "f32[1, 3, 5, 5]");
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}), of({4, 2, 3, 3})), "f32[4, 2, 3, 3]");
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}), of({4, 3, 7, 7})), "longer than the padded extent 5");
  EXPECT_TELLS(conv2d(of({1, 4, 5, 5}), of({5, 2, 3, 3}), {}, {1}, {0}, {1}, 2), "2 groups");
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}), of({4, 3, 3, 3}), of({3})), "f32[4]");
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}), of({4, 3, 3, 3}), {}, {0}), "at least 1");
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}), of({4, 3, 3, 3}), {}, {1}, {-1}), "at least 0");
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}), of({4, 3, 3, 3}), {}, {1, 1, 1}), "3 entries");
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}), of({4, 3, 3, 3}, DType::bf16)), "dtypes must be the same");
  EXPECT_TELLS(conv2d(of({1, 3, 5, 5}, DType::i32), of({4, 3, 3, 3}, DType::i32)), "i32");
  EXPECT_TELLS(conv2d_padded(of({1, 3, 5, 5}), of({4, 3, 3, 3}), {}, {2}, "same"), "stride of 1");
  EXPECT_TELLS(conv2d_padded(of({1, 3, 5, 5}), of({4, 3, 3, 3}), {}, {1}, "full"), "\"full\"");
  EXPECT_TELLS(conv1d(of({1, 3, 5, 5}), of({4, 3, 3, 3})), "3 dimensions");
  EXPECT_TELLS(conv_transpose2d(of({1, 3, 5, 5}), of({3, 4, 3, 3}), {}, {2}, {0}, {2}),
               "output_padding");
  EXPECT_TELLS(_conv_depthwise2d(of({1, 3, 5, 5}), of({3, 1, 3, 3}), {2, 2}, {}, {1}, {0}, {1}),
               "kernel_size");
}

TEST(NamedOperators, WholeNumbersAreNotDividedByZero) {
  const Tensor x = whole({1, 2, 3}), y = whole({1, 0, 2});
  EXPECT_TELLS(fmod(x, y), "divided by zero");
  EXPECT_TELLS(remainder(x, y), "divided by zero");
  EXPECT_TELLS(floor_divide(x, y), "divided by zero");
  EXPECT_TELLS(floor_divide(x, 0), "divided by zero");
  EXPECT_TELLS(div_rounded(x, y, "trunc"), "divided by zero");
  EXPECT_TELLS(div_rounded(x, y, "up"), "\"up\"");
  // The lowest number by -1 wraps as it does in PyTorch, and the processor is not asked.
  const Tensor low = whole({INT64_MIN});
  EXPECT_EQ(floor_divide(low, -1).to_vector<int64_t>()[0], INT64_MIN);
  EXPECT_EQ(remainder(low, -1).to_vector<int64_t>()[0], 0);
}

TEST(NamedOperators, BitsAreOfIntegers) {
  EXPECT_TELLS(bitwise_and(of({2}), of({2})), "integers or bool");
  EXPECT_TELLS(bitwise_or(whole({1}), 1.5), "integers or bool");
  EXPECT_TELLS(bitwise_not(of({2})), "integers or bool");
}

TEST(NamedOperators, ReductionsRefuse) {
  EXPECT_TELLS(vector_norm(of({2, 0}), HUGE_VAL, {1}), "f32[2, 0]");
  EXPECT_TELLS(vector_norm(whole({1})), "floating");
  EXPECT_TELLS(var_mean(of({2}), {0}, -1), "negative");
  EXPECT_TELLS(std_mean(of({2}), {0, 0}), "named twice");
  EXPECT_TELLS(logsumexp(of({2}), {3}), "dimension");
}

TEST(NamedOperators, ProductsRefuse) {
  EXPECT_TELLS(mm(of({2, 3}), of({2})), "f32[2]");
  EXPECT_TELLS(mm(of({2, 3}), of({2, 3})), "inner extents");
  EXPECT_TELLS(bmm(of({2, 2, 3}), of({3, 3, 2})), "f32[3, 3, 2]");
  EXPECT_TELLS(addmm(of({3, 3}), of({2, 3}), of({3, 4})), "f32[2, 4]");
  EXPECT_TELLS(addmm_(of({4}), of({2, 3}), of({3, 4})), "f32[2, 4]");
  EXPECT_TELLS(mm_out(Tensor::zeros({2, 4}, DType::i64), of({2, 3}), of({3, 4})), "cannot hold");
  Tensor w = of({3, 4});
  w.set_requires_grad(true);
  EXPECT_TELLS(mm_out(of({2, 4}), of({2, 3}), w), "NoGrad");
}

TEST(NamedOperators, NormsRefuse) {
  EXPECT_TELLS(layer_norm(of({2, 3}), {4}), "f32[2, 3]");
  EXPECT_TELLS(layer_norm(of({2, 3}), {3}, of({2})), "weight has 3");
  EXPECT_TELLS(group_norm(of({2, 5, 3}), 2), "f32[2, 5, 3]");
  EXPECT_TELLS(skip_rms_norm(of({2, 3}), of({2, 4}), {3}, {}), "f32[2, 4]");
  EXPECT_TELLS(batch_norm(of({2, 3}), {}, {}, {}, {}, false), "running_mean");
  EXPECT_TELLS(native_group_norm(of({2, 4, 3}), {}, {}, 2, 4, 5, 2, 1e-5), "f32[2, 4, 3]");
}

TEST(NamedOperators, LossesRefuse) {
  EXPECT_TELLS(nll_loss_nd(of({2, 3}), whole({0, 3})), "is outside the 3 classes");
  EXPECT_TELLS(nll_loss_nd(of({2, 3}), whole({0})), "i64[1]");
  EXPECT_TELLS(nll_loss_nd(of({2, 3}), whole({0, 1}), of({2})), "[3]");
  EXPECT_TELLS(nll_loss_nd(of({2, 3}), whole({0, 1}), {}, "median"), "\"median\"");
  EXPECT_TELLS(cross_entropy_loss(of({2, 3}), of({2, 4})), "f32[2, 4]");
  EXPECT_TELLS(cross_entropy_loss(of({2, 3}), whole({0, 1}), {}, "mean", -100, 1.5), "1.5");
  EXPECT_TELLS(mse_loss(of({2, 3}), of({2})), "do not broadcast");
  EXPECT_TELLS(binary_cross_entropy(mul(of({2}), 1.5), of({2})), "outside [0, 1]");
  EXPECT_TELLS(huber_loss(of({2}), of({2}), "mean", 0), "positive");
}

TEST(NamedOperators, ImagesAndTransformsRefuse) {
  EXPECT_TELLS(upsample_nearest2d(of({1, 2, 3}), {2, 2}), "f32[1, 2, 3]");
  EXPECT_TELLS(upsample_nearest2d(of({1, 2, 3, 4}), {2}), "output_size");
  EXPECT_TELLS(upsample_nearest2d(of({1, 2, 3, 4}), {0, 2}), "to 0");
  EXPECT_TELLS(max_pool2d(of({1, 2, 3, 3}), {5}), "longer than the padded extent 3");
  EXPECT_TELLS(max_pool2d(of({1, 2, 3, 4}), {2}, {1}, {2}), "more than half");
  EXPECT_TELLS(avg_pool2d(of({1, 2, 3, 4}), {2}, {}, {0}, false, true, 0), "divisor_override");
  EXPECT_TELLS(fft_rfft(of({2}, DType::f64)), "f64[2]");
  EXPECT_TELLS(fft_rfft(of({2, 0})), "too few");
  EXPECT_TELLS(fft_fft(of({2}), {}, 0, "half"), "\"half\"");
  EXPECT_TELLS(_fft_c2r(Tensor::zeros({4}, DType::c64), {0}, 0, 8), "5 elements");
  EXPECT_TELLS(_fft_r2c(of({2, 2}), {0, 0}, 0, true), "named twice");
  EXPECT_TELLS(view_as_complex(of({3})), "f32[3]");
  EXPECT_TELLS(view_as_complex(narrow(of({4, 3}), 1, 0, 2)), "strides [3, 1]");
  EXPECT_TELLS(view_as_real(of({2})), "complex");
}

TEST(NamedOperators, AttentionRefuses) {
  const Tensor q = of({1, 2, 3, 4}), mask = of({3, 3}, DType::boolean);
  EXPECT_TELLS(scaled_dot_product_attention(q, of({1, 3, 3, 4}), of({1, 3, 3, 4})), "heads differ");
  EXPECT_TELLS(scaled_dot_product_attention(q, q, q, mask, 0, true), "exclude");
  EXPECT_TELLS(scaled_dot_product_attention(q, q, q, of({2, 3})), "does not broadcast");
  EXPECT_TELLS(scaled_dot_product_attention(q, q, q, {}, 1), "[0, 1)");
  EXPECT_TELLS(apply_rotary_position_embedding(q, q, of({1, 2}), of({1, 2})),
               "longer than the table");
}

// Views of complex numbers are the memory itself.
TEST(NamedOperators, ComplexViewsShareMemory) {
  const Tensor x = Tensor::zeros({3}, DType::c64), pairs = view_as_real(x);
  fill_(imag(x), 2);
  fill_(real(x), 1);
  EXPECT_EQ(pairs.to_vector<double>(), (std::vector<double>{1, 2, 1, 2, 1, 2}));
  EXPECT_EQ(view_as_complex(pairs).data(), x.data());
  EXPECT_TRUE(resolve_conj(x).same(x));
  const Tensor filled = Tensor::full({2}, 3, DType::c64);
  EXPECT_EQ(view_as_real(filled).to_vector<double>(), (std::vector<double>{3, 0, 3, 0}));
  EXPECT_EQ(view_as_real(to(of({2}), DType::c64)).to_vector<double>(),
            (std::vector<double>{1, 0, 1, 0}));
}

// The gradient of a sum repeats one element in memory; what else flows is not added there.
TEST(NamedOperators, GradientsThatRepeatAnElementAreAdded) {
  Tensor x = of({2, 3});
  x.set_requires_grad(true);
  const Tensor y = mul(x, 2);
  backward(add(sum(mul(y, y)), sum(y)));
  EXPECT_EQ(x.grad().to_vector<double>(), std::vector<double>(6, 10.0));
}

// Statistics of a batch move towards those that were seen.
TEST(NamedOperators, RunningStatistics) {
  const std::vector<float> values = {1, 3, 5, 7};
  const Tensor x = Tensor::from(values, {4, 1}), m = of({1}), v = of({1});
  batch_norm(x, {}, {}, m, v, true, 0.5);
  EXPECT_DOUBLE_EQ(m.item(), 0.5 * 1 + 0.5 * 4);
  EXPECT_NEAR(v.item(), 0.5 * 1 + 0.5 * 20.0 / 3, 1e-6);
}

}  // namespace
}  // namespace wellspring
