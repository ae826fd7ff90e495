// Which kernels run, and that the library leaves the processor's floating-point modes alone.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/error.h"
#include "base/threads.h"
#include "chips/cpu/cpu.h"
#include "tensor/dispatch.h"
#include "tensor/hit_log.h"

namespace wellspring {
namespace {

// Twice the least positive float: a denormal, which flags of the kind "flush to zero" would make 0.
float doubled_denormal() {
  volatile float least = std::numeric_limits<float>::denorm_min();
  return least + least;
}

TEST(FloatingPoint, DenormalsStayAsTheyAre) {
#if defined(__x86_64__)
  EXPECT_EQ(_mm_getcsr() & (_MM_FLUSH_ZERO_ON | 0x0040u), 0u)
      << "loading the library set FTZ (0x8000) or DAZ (0x40)";
#endif
  EXPECT_GT(doubled_denormal(), 0);
  const int before = threads();
  set_threads(4);
  std::vector<float> seen(64);
  parallel_for(64, [&](int64_t i) { seen[i] = doubled_denormal(); });
  set_threads(before);
  for (float f : seen) EXPECT_GT(f, 0) << "a thread of the team flushes denormals";
  // Kernels neither: x + 0 for the least float and a denormal of bf16.
  static KernelRef accumulate("accumulate");
  for (DType dtype : {DType::f32, DType::bf16}) {
    const Tensor sum = Tensor::zeros({70}, dtype), x = Tensor::full({70}, 1e-40, dtype);
    launch(accumulate, {sum}, {x});
    EXPECT_EQ(sum.to_vector<float>(), x.to_vector<float>());
    EXPECT_GT(x.to_vector<float>()[0], 0);
  }
#if defined(__x86_64__)
  EXPECT_EQ(_mm_getcsr() & (_MM_FLUSH_ZERO_ON | 0x0040u), 0u) << "a kernel set them";
#endif
}

// In a process of its own, since the set is decided once: the set and the kernels' chip, or the
// error.
[[noreturn]] void show_choice(const char* wanted) {
  setenv("WELLSPRING_ISA", wanted, 1);
  try {
    const std::string set(cpu::name_of(cpu::isa()));
    std::fprintf(stderr, "set %s, chip runs %s\n", set.c_str(),
                 std::string(chips()[0].kernel_set()).c_str());
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    std::_Exit(e.exit_status());
  }
  static KernelRef fill("fill");
  launch(fill, {Tensor::empty({3})}, {}, {1.0});
  for (const KernelHits& h : kernel_hits())
    std::fprintf(stderr, "hit %s by %s\n", h.kernel.c_str(), h.ran.c_str());
  std::_Exit(0);
}

class IsaDeathTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(IsaDeathTest, TheEnvironmentForcesALowerSet) {
  for (int i = 0; i <= static_cast<int>(cpu::best_isa()); ++i) {
    const cpu::Isa isa = static_cast<cpu::Isa>(i);
    if (!cpu::has(isa)) continue;
    const std::string name(cpu::name_of(isa));
    EXPECT_EXIT(show_choice(name.c_str()), testing::ExitedWithCode(0),
                "set " + name + ", chip runs " + name + "\nhit fill by " + name + "\n");
  }
  const std::string best(cpu::name_of(cpu::best_isa()));
  EXPECT_EXIT(show_choice(""), testing::ExitedWithCode(0), "set " + best + ",");
}

TEST_F(IsaDeathTest, WrongNamesAndSetsThatAreNotHereAreErrors) {
  EXPECT_EXIT(show_choice("avx3"), testing::ExitedWithCode(64),
              "WELLSPRING_ISA=avx3: expected one of portable, avx2, avx512, avx512vnni, avx512bf16");
  EXPECT_EXIT(show_choice("AVX2"), testing::ExitedWithCode(64), "expected one of portable");
  for (int i = 0; i < cpu::kIsaCount; ++i) {
    const cpu::Isa isa = static_cast<cpu::Isa>(i);
    if (cpu::has(isa)) continue;
    const std::string name(cpu::name_of(isa));
    EXPECT_EXIT(show_choice(name.c_str()), testing::ExitedWithCode(64),
                "WELLSPRING_ISA=" + name + ": this (processor has up to|build has no kernels)");
  }
}

}  // namespace
}  // namespace wellspring
