// Errors of the embedding, and its gradient beside that of a tied head.
#include "ops/embedding.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/threads.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

TEST(Embedding, NamesIdAndPlace) {
  const Tensor table = Tensor::zeros({10, 4});
  for (int32_t bad : {10, -1}) {
    try {
      embedding(table, Tensor::from(std::vector<int32_t>{1, 2, 3, 4, bad, 6}, {2, 3}));
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.fault(), Fault::usage);
      EXPECT_EQ(std::string(e.what()), "embedding: id " + std::to_string(bad) +
                                           " at [1, 1] is outside the table of 10 rows");
    }
  }
  EXPECT_THROW(embedding(table, Tensor::zeros({2})), Error);
  EXPECT_THROW(embedding(Tensor::zeros({10}), Tensor::from(std::vector<int32_t>{1}, {1})), Error);
  EXPECT_THROW(embedding(table, Tensor::from(std::vector<int64_t>{int64_t{1} << 40}, {1})), Error);
}

TEST(Embedding, PaddingGetsNoGradientAndFrequentRowsTheirShare) {
  for (const DType t : {DType::f32, DType::bf16, DType::f64, DType::f16}) {
    const Tensor table = Tensor::zeros({3, 2}, t),
                 ids = Tensor::from(std::vector<int32_t>{2, 0, 2}, {3});
    table.set_requires_grad(true);
    backward(embedding(table, ids, 0), Tensor::full({3, 2}, 1, t));
    EXPECT_EQ(table.grad().to_vector<float>(), (std::vector<float>{0, 0, 0, 0, 2, 2}));
    table.set_grad({});
    backward(embedding(table, ids, -1, true), Tensor::full({3, 2}, 3, t));
    EXPECT_EQ(table.grad().to_vector<float>(), (std::vector<float>{3, 3, 0, 0, 3, 3}));
    table.set_grad({});
    backward(embedding(table, ids, 2, true), Tensor::full({3, 2}, 3, t));
    EXPECT_EQ(table.grad().to_vector<float>(), (std::vector<float>{3, 3, 0, 0, 0, 0}));
  }
  EXPECT_THROW(embedding(Tensor::zeros({3, 2}), Tensor::from(std::vector<int32_t>{0}, {1}), 3),
               Error);
}

TEST(Embedding, AddsToAGradientThatNobodyElseHolds) {
  const Tensor table = Tensor::zeros({3, 2}),
               ids = Tensor::from(std::vector<int32_t>{2, 0, 2}, {3});
  table.set_requires_grad(true);
  const auto run = [&] { backward(embedding(table, ids), Tensor::full({3, 2}, 1)); };
  run();
  EXPECT_EQ(table.grad().to_vector<float>(), (std::vector<float>{1, 1, 0, 0, 2, 2}));
  const void* memory = table.grad().data();
  run();
  EXPECT_EQ(table.grad().data(), memory);
  EXPECT_EQ(table.grad().to_vector<float>(), (std::vector<float>{2, 2, 0, 0, 4, 4}));
  // One that somebody holds stays as it is.
  const Tensor held = table.grad();
  run();
  EXPECT_EQ(held.to_vector<float>(), (std::vector<float>{2, 2, 0, 0, 4, 4}));
  EXPECT_EQ(table.grad().to_vector<float>(), (std::vector<float>{3, 3, 0, 0, 6, 6}));
}

// A gradient larger than the caches keep goes past them.
TEST(Embedding, GradientOfALargeTable) {
  constexpr int64_t kRows = 70000, kWidth = 64, kIds = 300;
  std::vector<int32_t> ids(kIds);
  std::vector<float> dy(kIds * kWidth), expected(kRows * kWidth);
  for (int64_t i = 0; i < kIds; ++i) ids[i] = static_cast<int32_t>(i * 7919 * 7919 % kRows);
  for (size_t i = 0; i < dy.size(); ++i) {
    dy[i] = static_cast<float>(i % 97) - 48;
    expected[ids[i / kWidth] * kWidth + i % kWidth] += dy[i];
  }
  const Tensor table = Tensor::zeros({kRows, kWidth});
  table.set_requires_grad(true);
  for (int threads : {1, 3}) {
    set_threads(threads);
    backward(embedding(table, Tensor::from(ids, {kIds})), Tensor::from(dy, {kIds, kWidth}));
    EXPECT_EQ(table.grad().to_vector<float>(), expected);
    table.set_grad({});
  }
}

}  // namespace
}  // namespace wellspring
