// Properties: for random shapes, strides, dtypes and numbers kernels and reference agree, results
// and refusals.
#include "ops/random_calls.h"

#include <gtest/gtest.h>

#include "base/log.h"

namespace wellspring {
namespace {

class RandomCalls : public testing::TestWithParam<RandomFamily> {};

TEST_P(RandomCalls, KernelsAgreeWithTheReference) {
  const LogLevel before = log_level();
  set_log_level(LogLevel::off);  // resized targets
  for (uint64_t i = 0; i < 600; ++i) {
    Random random(20261126, i);
    std::vector<uint8_t> bytes(48);
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.below(256));
    const std::string differs = try_random_call(GetParam(), bytes);
    EXPECT_EQ(differs, "") << "draw " << i;
  }
  set_log_level(before);
}

INSTANTIATE_TEST_SUITE_P(All, RandomCalls, testing::ValuesIn(random_families()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace wellspring
