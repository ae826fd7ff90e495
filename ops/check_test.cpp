// Every operator's case list, on every instruction set of this processor.
#include "ops/check.h"

#include <gtest/gtest.h>

#include <set>

#include "base/text.h"
#include "ops/registry.h"

namespace wellspring {
namespace {

class Operators : public testing::TestWithParam<std::string> {};

TEST_P(Operators, Check) {
  int differences = 0;
  for (const CheckResult& r : check_operator(GetParam())) {
    EXPECT_TRUE(r.ok) << r.op << ", case " << r.name << ", " << r.what << ": " << r.detail;
    differences += r.what == "differences";
  }
  const OperatorInfo* info = find_operator(GetParam());
  ASSERT_TRUE(info);
  EXPECT_EQ(differences > 0, !info->gradient.empty())
      << "the schema's gradient is '" << info->gradient << "', and " << differences
      << " cases take differences";
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

std::set<std::string> words(std::string_view text) {
  std::set<std::string> all;
  for (std::string& word : split(text, ' '))
    if (!word.empty()) all.insert(std::move(word));
  return all;
}

// What the schema says of an operator is what its cases show. Indices and small whole numbers
// (Fill::ids) count where their dtype is one of the operator's.
TEST(Registry, SchemasAgreeWithCasesAndKernels) {
  std::set<std::string> kernels;
  for (const NamedKernel& k : cpu::kernels_of(cpu::isa())) kernels.insert(k.name);
  for (const OperatorInfo& op : operators()) {
    SCOPED_TRACE(op.name);
    for (const std::string& kernel : words(op.kernels))
      EXPECT_TRUE(kernels.contains(kernel)) << "no kernel is called " << kernel;
    const std::set<std::string> declared =
        words(op.dtypes == "all" ? "f64 f32 bf16 f16 i64 i32 i16 i8 u8 bool" : op.dtypes);
    std::set<std::string> shown;
    int checked = 0;
    const CaseList list = cases_of(op.name);
    for (const OperatorCase& c : list.all()) {
      if (c.timed) continue;
      ++checked;
      for (const CaseInput& input : c.inputs)
        if (const std::string dtype(name_of(input.dtype));
            input.fill != Fill::ids || declared.contains(dtype))
          shown.insert(dtype);
    }
    EXPECT_GT(checked, 0) << "no cases";
    // Gradients of complex operands are those of pairs that are seen as complex.
    if (declared.contains("c64") && !declared.contains("f32")) shown.erase("f32");
    EXPECT_EQ(shown, declared);
  }
}

}  // namespace
}  // namespace wellspring
