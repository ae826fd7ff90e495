// Every operator's case list, on every instruction set of this processor.
#include "ops/check.h"

#include <gtest/gtest.h>

#include "ops/registry.h"

namespace wellspring {
namespace {

class Operators : public testing::TestWithParam<std::string> {};

TEST_P(Operators, Check) {
  for (const CheckResult& r : check_operator(GetParam()))
    EXPECT_TRUE(r.ok) << r.op << ", case " << r.name << ", " << r.what << ": " << r.detail;
}

std::vector<std::string> names() {
  std::vector<std::string_view> all = operators_with_cases();
  return {all.begin(), all.end()};
}

INSTANTIATE_TEST_SUITE_P(All, Operators, testing::ValuesIn(names()),
                         [](const auto& info) { return info.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Operators);

TEST(Registry, KnowsEveryOperatorWithCases) {
  for (std::string_view name : operators_with_cases())
    EXPECT_TRUE(find_operator(name)) << name << " has cases but no schema";
}

}  // namespace
}  // namespace wellspring
