// The OpenCL chip below the operators: memory, copies, its queue, absence, fork. Operators are in
// ops/opencl_test.cpp.
#include "chips/opencl/opencl.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/test_error.h"
#include "base/text.h"
#include "tensor/allocator.h"
#include "tensor/dispatch.h"
#include "tensor/tensor.h"

namespace wellspring {
namespace {

#define WS_NEEDS_DEVICE()             \
  if (!opencl::chip().device_count()) \
  GTEST_SKIP() << "no OpenCL device: " << opencl::chip().why_absent()

Tensor counted(int64_t n, Device device = {}) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 0.f);
  return Tensor::from(values, {n}, DType::f32, device);
}

TEST(Opencl, SaysWhatADeviceIs) {
  WS_NEEDS_DEVICE();
  const Device device = parse_device("opencl:0");
  EXPECT_EQ(device_name(device), "opencl:0");
  const Capabilities c = opencl::chip().capabilities(0);
  EXPECT_FALSE(c.name.empty());
  EXPECT_GT(c.memory, size_t{64} << 20);
  EXPECT_TRUE(c.dtypes >> static_cast<int>(DType::f32) & 1);
  EXPECT_TRUE(c.dtypes >> static_cast<int>(DType::bf16) & 1);
  EXPECT_FALSE(c.dtypes >> static_cast<int>(DType::c64) & 1);
  const int count = opencl::chip().device_count();
  const std::string why = error_of([&] { parse_device(str("opencl:", count)); }, Fault::missing);
  EXPECT_NE(why.find(str("(0 to ", count - 1, ")")), std::string::npos) << why;
}

TEST(Opencl, TensorsTravel) {
  WS_NEEDS_DEVICE();
  const Device device = parse_device("opencl:0");
  const Tensor x = counted(12).as_strided({3, 4}, {4, 1}, 0), there = x.to_device(device);
  EXPECT_EQ(there.text(), "f32[3, 4] on opencl:0");
  EXPECT_EQ(there.to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(there.as_strided({1}, {1}, 7).item(), 7);
  EXPECT_EQ(there.as_strided({2, 2}, {-4, -1}, 11).to_vector<float>(),
            (std::vector<float>{11, 10, 7, 6}));
  there.as_strided({2, 2}, {-4, -1}, 11).copy_from(Tensor::full({2, 2}, 50));
  EXPECT_EQ(there.to_vector<float>(), (std::vector<float>{0, 1, 2, 3, 4, 5, 50, 50, 8, 9, 50, 50}));
  // More than is staged, and the host's memory goes at once.
  Tensor soon = counted(1 << 20);
  const Tensor kept = soon.to_device(device);
  std::memset(soon.data(), 0, soon.storage()->bytes);
  EXPECT_EQ(kept.as_strided({1}, {1}, (1 << 20) - 1).item(), (1 << 20) - 1);
  Tensor small = counted(100);
  const Tensor held = small.to_device(device);
  std::memset(small.data(), 0, small.storage()->bytes);
  EXPECT_EQ(held.to_vector<float>()[99], 99);
  EXPECT_EQ(Tensor::empty({0, 3}, DType::f32, device).to_vector<float>().size(), 0u);
  EXPECT_EQ(Tensor::full({3}, 2.5, DType::f32, device).to_vector<float>(),
            (std::vector<float>{2.5, 2.5, 2.5}));
}

TEST(OpenclDeathTest, ADeviceAddressIsNoAddressOfTheHost) {
  WS_NEEDS_DEVICE();
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        const Tensor t = counted(4).to_device(parse_device("opencl:0"));
        *static_cast<volatile float*>(t.data()) = 1;
      },
      "");
}

TEST(Opencl, WorkRunsInTheOrderOfItsQueue) {
  WS_NEEDS_DEVICE();
  static KernelRef accumulate("accumulate"), fill("fill");
  const Device device = parse_device("opencl:0");
  const Tensor x = Tensor::full({100000}, 1, DType::f32, device),
               sum = Tensor::zeros({100000}, DType::f32, device);
  for (int i = 1; i <= 50; ++i) {
    launch(fill, {x}, {}, {static_cast<double>(i)});
    launch(accumulate, {sum}, {x});
  }
  EXPECT_EQ(sum.storage()->queue, opencl::chip().queue(0));
  Queue* queue = sum.storage()->queue;
  void* event = opencl::chip().record_event(queue);
  opencl::chip().wait_event(queue, event);
  opencl::chip().free_event(event);
  opencl::chip().synchronize(queue);
  for (float v : sum.to_vector<float>()) ASSERT_EQ(v, 1275);
}

TEST(Opencl, MemoryThatIsNotThereIsAnErrorWithSizes) {
  WS_NEEDS_DEVICE();
  const std::string why =
      error_of([] { Tensor::empty({int64_t{1} << 44}, DType::f32, parse_device("opencl:0")); },
               Fault::missing);
  EXPECT_NE(why.find("out of memory on opencl:0"), std::string::npos) << why;
  EXPECT_NE(why.find("70.4 TB"), std::string::npos) << why;
}

[[noreturn]] void ask_without_library() {
  setenv("WELLSPRING_OPENCL", "/nowhere/libOpenCL.so.1", 1);
  try {
    parse_device("opencl");
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    _exit(e.exit_status());
  }
  _exit(0);
}

TEST(OpenclDeathTest, AnAbsentLibrarySaysWhy) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(ask_without_library(), ::testing::ExitedWithCode(69),
              "device 'opencl': OpenCL is not installed .*/nowhere/libOpenCL.so.1.*install "
              "ocl-icd-libopencl1");
}

// Threads of a driver do not come along: the child is told instead of hanging.
TEST(Opencl, AForkedChildIsTold) {
  WS_NEEDS_DEVICE();
  const Tensor there = counted(3).to_device(parse_device("opencl:0"));
  const pid_t child = fork();
  if (child == 0) {
    try {
      there.to_vector<float>();
    } catch (const Error& e) {
      _exit(std::string(e.what()).find("fork") != std::string::npos ? e.exit_status() : 1);
    }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 69);
  EXPECT_EQ(there.to_vector<float>(), (std::vector<float>{0, 1, 2}));
}

}  // namespace
}  // namespace wellspring
