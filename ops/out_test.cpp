// out= of operators that compute first and write then: shapes, dtypes, memory, several results.
#include "ops/out.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/test_error.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/random.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/sort.h"

namespace wellspring {
namespace {

#define EXPECT_TELLS(call, part)                                   \
  EXPECT_NE(error_of([&] { call; }).find(part), std::string::npos) \
      << #call << " says '" << error_of([&] { call; }) << "' instead of " << part

Tensor counted(const Shape& shape) {
  std::vector<float> values(shape.numel());
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::from(values, shape);
}

std::vector<std::string> warned;
class Out : public testing::Test {
 protected:
  void SetUp() override {
    warned.clear();
    set_warning_handler([](std::string_view, std::string_view text) { warned.emplace_back(text); });
  }
  void TearDown() override { set_warning_handler(nullptr); }
};

TEST_F(Out, WritesWhereTheTargetLies) {
  const Tensor x = counted({2, 3}), whole = Tensor::zeros({6}, DType::f64);
  const Tensor target = whole.as_strided({3}, {2}, 1);
  EXPECT_TRUE(sum_out(target, x, {0}).same(target));
  EXPECT_EQ(whole.to_vector<double>(), (std::vector<double>{0, 3, 0, 5, 0, 7}));
  const Tensor whole_numbers = Tensor::zeros({3}, DType::i64);
  sum_out(whole_numbers, x, {0});  // of sums the target's dtype is what they are computed in
  EXPECT_EQ(whole_numbers.to_vector<int64_t>(), (std::vector<int64_t>{3, 5, 7}));
  EXPECT_TRUE(warned.empty());
  const Tensor to = Tensor::zeros({2, 3});
  const void* place = to.data();
  cat_out(to, std::vector<Tensor>{narrow(x, 0, 0, 1), narrow(x, 0, 1, 1)}, 0);
  EXPECT_EQ(to.data(), place);
  EXPECT_EQ(to.to_vector<float>(), x.to_vector<float>());
}

TEST_F(Out, ResizesAsPyTorch) {
  const Tensor x = counted({2, 3}), empty = Tensor::empty({0}), small = Tensor::zeros({1});
  sum_out(empty, x, {0});
  EXPECT_EQ(empty.to_vector<float>(), (std::vector<float>{3, 5, 7}));
  EXPECT_TRUE(warned.empty());
  sum_out(small, x, {0});
  EXPECT_EQ(small.to_vector<float>(), (std::vector<float>{3, 5, 7}));
  ASSERT_EQ(warned.size(), 1u);
  EXPECT_NE(warned[0].find("[1] to [3]"), std::string::npos) << warned[0];
  const Tensor products = Tensor::empty({0});
  mm_out(products, x, transpose(x, 0, 1));
  EXPECT_EQ(products.to_vector<float>(), (std::vector<float>{5, 14, 14, 50}));
  exp_out(small, Tensor::zeros({2, 2}));
  EXPECT_EQ(small.to_vector<float>(), (std::vector<float>{1, 1, 1, 1}));
}

TEST_F(Out, RefusesBeforeAnythingChanges) {
  const Tensor x = counted({2, 3}), values = Tensor::zeros({2, 3});
  EXPECT_TELLS(amax_out(Tensor::zeros({3}, DType::i64), x, {0}), "cannot hold");
  EXPECT_TELLS(sum_out(Tensor::zeros({1}).as_strided({3}, {0}, 0), x, {0}), "repeats its elements");
  EXPECT_TELLS(sum_out(Tensor(), x, {0}), "undefined");
  EXPECT_TELLS(sort_out({values, Tensor::zeros({2, 3}, DType::boolean)}, x), "cannot hold");
  EXPECT_EQ(values.to_vector<float>(), std::vector<float>(6, 0));
  EXPECT_TELLS(sort_out({values, values}, Tensor::zeros({2, 3})), "same tensor");
  const Tensor line = counted({8});
  EXPECT_TELLS(
      sort_out({narrow(line, 0, 1, 7), Tensor::empty({0}, DType::i64)}, narrow(line, 0, 0, 7)),
      "overlap partly");
  const Tensor w = Tensor::zeros({2, 3}).set_requires_grad(true);
  EXPECT_TELLS(sum_out(Tensor::zeros({3}), w, {0}), "NoGrad");
  NoGrad none;
  sum_out(Tensor::zeros({3}), w, {0});
}

TEST_F(Out, SeveralResultsAndOperandsInPlace) {
  const Tensor x = Tensor::from(std::vector<float>{3, 1, 2}, {3});
  const Tensor places = Tensor::empty({0}, DType::i64);
  sort_out({x, places}, x);  // x itself
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(places.to_vector<int64_t>(), (std::vector<int64_t>{1, 2, 0}));
}

TEST_F(Out, NumbersAloneTakeTheTargetsDtype) {
  const Tensor a = Tensor::empty({50}, DType::f64);
  rand_out(a, {50}, 7);
  EXPECT_EQ(a.to_vector<double>(), rand({50}, DType::f64, {}, 7).to_vector<double>());
}

}  // namespace
}  // namespace wellspring
