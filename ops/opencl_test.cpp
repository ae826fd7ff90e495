// Operators on OpenCL: the case lists, what runs there itself, the same bits each time, and the
// cache of programs.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "ops/check.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

bool has_device() {
  for (const Chip& c : chips())
    if (std::string_view(c.name) == "opencl") return c.device_count() > 0;
  return false;
}
#define WS_NEEDS_DEVICE() \
  if (!has_device()) GTEST_SKIP() << "no OpenCL device; install pocl-opencl-icd"

// What must run on the device itself, in every case of these operators: a sample, for compiling
// costs seconds on a fresh machine; `wellspring ops check --device opencl:0` takes all.
const std::vector<std::string> kSample = {"add",    "sum",       "softmax",  "rms_norm",
                                          "linear", "embedding", "attention"};

class OnOpencl : public testing::TestWithParam<std::string> {};

TEST_P(OnOpencl, Check) {
  WS_NEEDS_DEVICE();
  CheckOptions options;
  options.device = parse_device("opencl:0");
  int checks = 0;
  for (const CheckResult& r : check_operator(GetParam(), options)) {
    EXPECT_TRUE(r.ok) << r.op << ", case " << r.name << ", " << r.what << ": " << r.detail;
    EXPECT_EQ(r.on_cpu, "") << r.op << ", case " << r.name << ", " << r.what;
    ++checks;
  }
  EXPECT_GT(checks, 0);
}
INSTANTIATE_TEST_SUITE_P(Sample, OnOpencl, testing::ValuesIn(kSample),
                         [](const auto& info) { return info.param; });

TEST(Opencl, GivesTheSameBitsEachTime) {
  WS_NEEDS_DEVICE();
  const Device device = parse_device("opencl:0");
  std::vector<float> values(300 * 500);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7919 % 1000) / 499;
  const Tensor x = Tensor::from(values, {300, 500}, DType::f32, device);
  const auto run = [&] {
    const Tensor p = softmax(matmul(x, x.as_strided({500, 300}, {1, 500}, 0)), -1);
    return Tensors{p, sum(p, {0}), sum(x), mean(x, {1})};
  };
  const Tensors first = run();
  for (int repeat = 0; repeat < 3; ++repeat) {
    const Tensors again = run();
    for (size_t i = 0; i < first.size(); ++i)
      EXPECT_TRUE(same_bits(first[i].to_device({}), again[i].to_device({}))) << i;
  }
}

// A reduction of many elements to one is cut into pieces.
TEST(Opencl, ReducesLongTensors) {
  WS_NEEDS_DEVICE();
  const Device device = parse_device("opencl:0");
  const Tensor ones = Tensor::full({3, 400001}, 1, DType::f32, device);
  EXPECT_EQ(sum(ones).item(), 1200003);
  EXPECT_EQ(sum(ones, {1}).to_vector<float>(), (std::vector<float>{400001, 400001, 400001}));
  const Tensor tall = Tensor::full({100003, 3}, 2, DType::f32, device);
  EXPECT_EQ(sum(tall, {0}).to_vector<float>(), (std::vector<float>{200006, 200006, 200006}));
  fill_(ones.as_strided({1}, {1}, 900000), 5);
  EXPECT_EQ(argmax(ones).item(), 900000);
  EXPECT_EQ(amax(ones).item(), 5);
}

// In processes of their own, for programs stay loaded: how many were compiled and loaded.
[[noreturn]] void add_with_cache(const std::string& folder) {
  setenv("WELLSPRING_CACHE", folder.c_str(), 1);
  setenv("WELLSPRING_LOG", "debug", 1);
  const Tensor x = Tensor::full({5}, 1.5, DType::f32, parse_device("opencl:0"));
  const bool right = add(x, x).to_vector<float>() == std::vector<float>(5, 3.f);
  std::exit(right ? 0 : 1);
}

TEST(OpenclDeathTest, TakesProgramsFromTheCache) {
  WS_NEEDS_DEVICE();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // The child of a threadsafe death test runs this test again, with a folder of its own otherwise.
  static const TemporaryFolder own;
  const char* given = std::getenv("WELLSPRING_TEST_CACHE");
  const std::string folder = given ? given : own.path();
  setenv("WELLSPRING_TEST_CACHE", folder.c_str(), 1);
  EXPECT_EXIT(add_with_cache(folder), ::testing::ExitedWithCode(0), "compiled pointwise_");
  EXPECT_EXIT(add_with_cache(folder), ::testing::ExitedWithCode(0), "loaded pointwise_");
  const std::string programs = join_path(folder, "opencl");
  ASSERT_GE(list_directory(programs).size(), 2u);
  for (const std::string& name : list_directory(programs)) {
    if (given) break;  // a child: the files are as they should be
    const std::string path = join_path(programs, name);
    std::string content = read_file(path);
    content[content.size() - 100] ^= 1;
    write_file_atomic(path, content);
  }
  EXPECT_EXIT(add_with_cache(folder), ::testing::ExitedWithCode(0), "compiled pointwise_");
  EXPECT_EXIT(add_with_cache(folder), ::testing::ExitedWithCode(0), "loaded pointwise_");
}

}  // namespace
}  // namespace wellspring
