#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace wellspring {
namespace {

using Block = std::array<uint32_t, 4>;

// Known answers of Random123's kat_vectors for philox4x32-10.
TEST(Random, PhiloxKnownAnswers) {
  EXPECT_EQ(philox(0, 0, 0), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ull, ~0ull, ~0ull), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, SequenceIsAFunctionOfPosition) {
  Random words(7, 3);
  std::vector<uint32_t> all;
  for (int i = 0; i < 64; ++i) all.push_back(words.next_u32());
  for (uint64_t at = 0; at < 60; ++at) {
    EXPECT_EQ(Random(7, 3, at).next_u32(), all[at]);
    EXPECT_EQ(Random(7, 3, at).next_u64(), all[at] | static_cast<uint64_t>(all[at + 1]) << 32);
  }
  EXPECT_EQ(words.position(), 64u);
  EXPECT_NE(Random(7, 4).next_u64(), Random(7, 3).next_u64());
}

TEST(Random, UniformAndNormalMoments) {
  Random r(1);
  double sum = 0, square = 0, low = 1, high = 0;
  constexpr int kCount = 200000;
  for (int i = 0; i < kCount; ++i) {
    double u = r.uniform();
    low = std::min(low, u);
    high = std::max(high, u);
    double x = r.normal();
    sum += x;
    square += x * x;
  }
  EXPECT_GE(low, 0.0);
  EXPECT_LT(low, 1e-4);
  EXPECT_LT(high, 1.0);
  EXPECT_GT(high, 1 - 1e-4);
  EXPECT_NEAR(sum / kCount, 0, 0.01);
  EXPECT_NEAR(square / kCount, 1, 0.015);
}

TEST(Random, BelowCoversItsRangeEvenly) {
  Random r(5);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[r.below(7)];
  for (int n : counts) EXPECT_NEAR(n, 10000, 400);
  EXPECT_EQ(r.below(1), 0u);
  uint64_t big = (1ull << 63) + 1;
  for (int i = 0; i < 100; ++i) EXPECT_LT(r.below(big), big);
}

}  // namespace
}  // namespace wellspring
