// Dispatch with a second chip (ops/test_chip.h): queues, the CPU standing in, the hit log, the
// switches.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/process.h"
#include "base/test_error.h"
#include "ops/norm.h"
#include "ops/pointwise.h"
#include "ops/reference/reference.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "ops/test_chip.h"
#include "tensor/autograd.h"
#include "tensor/hit_log.h"
#include "tensor/switches.h"

namespace wellspring {
namespace {

Device fake_device(int index = 0) { return {fake::chip(), static_cast<uint8_t>(index)}; }
fake::Queue& fake_queue(int index = 0) { return fake::queues[index]; }

Tensor counted(const Shape& shape, Device device = {}) {
  std::vector<float> values(shape.numel());
  std::iota(values.begin(), values.end(), 0.f);
  return Tensor::from(values, shape, DType::f32, device);
}

uint64_t hits(const std::string& kernel, const std::string& chip, const std::string& ran) {
  for (const KernelHits& h : kernel_hits())
    if (h.kernel == kernel && h.chip == chip && h.ran == ran) return h.calls;
  return 0;
}
std::string cpu_set() { return std::string(chips()[0].kernel_set()); }

TEST(SecondChip, TensorsTravel) {
  const Tensor x = counted({3, 4}), there = x.to_device(fake_device());
  EXPECT_EQ(device_name(there.device()), "fake:0");
  EXPECT_EQ(there.text(), "f32[3, 4] on fake:0");
  EXPECT_EQ(there.storage()->queue, &fake_queue());
  EXPECT_EQ(there.to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(there.as_strided({1}, {1}, 7).item(), 7);
  // What is strided there, and reversed, and what lies there between.
  const Tensor turned = there.as_strided({4, 3}, {1, 4}, 0),
               back = there.as_strided({2, 2}, {-4, -1}, 11);
  EXPECT_EQ(turned.to_vector<float>(), x.as_strided({4, 3}, {1, 4}, 0).to_vector<float>());
  EXPECT_EQ(back.to_vector<float>(), (std::vector<float>{11, 10, 7, 6}));
  EXPECT_EQ(turned.to_device(fake_device(1)).to_vector<float>(), turned.to_vector<float>());
  back.copy_from(Tensor::full({2, 2}, 50));
  EXPECT_EQ(there.to_vector<float>(), (std::vector<float>{0, 1, 2, 3, 4, 5, 50, 50, 8, 9, 50, 50}));
  there.copy_from(counted({3, 4}));
  EXPECT_EQ(there.to_device(fake_device(1)).to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(Tensor::empty({0, 3}, DType::f32, fake_device()).to_vector<float>().size(), 0u);
  // The host's memory may go as soon as the copy was asked for.
  Tensor soon = counted({1000});
  const Tensor kept = soon.to_device(fake_device());
  fill_(soon, 0);
  EXPECT_EQ(kept.to_vector<float>()[999], 999);
}

TEST(SecondChip, WorkRunsInTheOrderOfItsQueue) {
  fake_queue().drain();
  fake_queue().done.clear();
  const Tensor x = counted({5}, fake_device()), y = add(x, x);
  fill_(x, 100);  // after the addition has read it
  const Tensor z = add(x, y);
  EXPECT_EQ(fake_queue().work.size(), 4u) << "work was done before anybody asked for it";
  EXPECT_TRUE(fake_queue().done.empty());
  EXPECT_EQ(z.storage()->queue, &fake_queue());
  chips()[fake::chip()].synchronize(&fake_queue());
  EXPECT_EQ(fake_queue().done, (std::vector<std::string>{"from_host", "add", "fill", "add"}));
  EXPECT_EQ(z.to_vector<float>(), (std::vector<float>{100, 102, 104, 106, 108}));
}

TEST(SecondChip, TheCpuStandsInAndTheHitLogSaysSo) {
  const uint64_t own = hits("add", "fake", "fake"), absent = hits("mul", "fake", "on the cpu"),
                 cpu = hits("mul", "cpu", cpu_set());
  const Tensor x = counted({4}, fake_device()), y = mul(add(x, x), x);
  EXPECT_EQ(y.device(), fake_device());
  EXPECT_EQ(y.to_vector<float>(), (std::vector<float>{0, 2, 8, 18}));
  EXPECT_EQ(hits("add", "fake", "fake"), own + 1);
  EXPECT_EQ(hits("add", "fake", "on the cpu"), 0u);
  EXPECT_EQ(hits("mul", "fake", "on the cpu"), absent + 1);
  EXPECT_EQ(hits("mul", "cpu", cpu_set()), cpu + 1);
  EXPECT_EQ(hits("mul", "fake", "fake"), 0u);
}

TEST(SecondChip, DerivativesStayOnTheirDevice) {
  const Tensor x = counted({3}, fake_device(1)).set_requires_grad(true);
  const uint64_t before = hits("accumulate", "fake", "on the cpu");
  backward(sum_to(mul(add(x, x), x), {1}));
  EXPECT_EQ(x.grad().device(), fake_device(1));
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{0, 4, 8}));
  EXPECT_GT(hits("accumulate", "fake", "on the cpu"), before);
}

TEST(SecondChip, DevicesMustAgree) {
  const std::string why = error_of([] { add(counted({2}, fake_device()), counted({2})); });
  EXPECT_NE(why.find("fake:0"), std::string::npos) << why;
  EXPECT_NE(why.find("cpu"), std::string::npos) << why;
}

TEST(SecondChip, AnAbsentOneSaysWhy) {
  fake::chip();
  Chip none = chips()[fake::chip()];
  none.name = "absent";
  none.device_count = [] { return 0; };
  none.why_absent = [] { return std::string("there is no libabsent.so.1"); };
  register_chip(none);
  EXPECT_NE(
      error_of([] { parse_device("absent"); }, Fault::missing).find("there is no libabsent.so.1"),
      std::string::npos);
  EXPECT_EQ(parse_device("fake:1"), fake_device(1));
  EXPECT_NE(error_of([] { parse_device("fake:2"); }, Fault::missing).find("(0 to 1)"),
            std::string::npos);
  EXPECT_NE(error_of([] { parse_device("fale"); }).find("did you mean 'fake'"), std::string::npos);
}

TEST(Switches, AKernelGoesOutAndComesBack) {
  const Tensor x = counted({2, 5});
  const std::vector<float> fast = softmax(x, -1).to_vector<float>();
  const uint64_t own = hits("softmax", "cpu", cpu_set()),
                 slow = hits("softmax", "cpu", "reference");
  {
    KernelScope off("exclude softmax");
    EXPECT_EQ(kernels_chosen(), "exclude softmax");
    EXPECT_STREQ(std::getenv("WELLSPRING_KERNELS"), "exclude softmax");
    const std::vector<float> other = softmax(x, -1).to_vector<float>();
    EXPECT_EQ(hits("softmax", "cpu", cpu_set()), own);
    EXPECT_EQ(hits("softmax", "cpu", "reference"), slow + 1);
    for (size_t i = 0; i < fast.size(); ++i) EXPECT_NEAR(fast[i], other[i], 1e-6);
  }
  EXPECT_EQ(kernels_chosen(), "all");
  softmax(x, -1);
  EXPECT_EQ(hits("softmax", "cpu", cpu_set()), own + 1);

  const Tensor there = counted({3}, fake_device());
  const uint64_t stood_in = hits("add", "fake", "on the cpu"), cpu = hits("add", "cpu", cpu_set());
  {
    KernelScope off("exclude fake:add");
    EXPECT_EQ(add(there, there).to_vector<float>(), (std::vector<float>{0, 2, 4}));
  }
  EXPECT_EQ(hits("add", "fake", "on the cpu"), stood_in + 1);
  EXPECT_EQ(hits("add", "cpu", cpu_set()), cpu + 1);
}

// An operator's name covers its kernels, forward and backward, whatever the form or overload; a
// family's all of its operators'.
TEST(Switches, CoverEveryOverloadOfAName) {
  const auto slow = [](const char* kernel) { return hits(kernel, "cpu", "reference"); };
  const uint64_t forward = slow("mul"), back = slow("mul_backward"), rms = slow("rms_norm");
  KernelScope off("exclude mul norm");
  const Tensor x = counted({2, 3}).set_requires_grad(true), y = counted({2, 3});
  backward(sum_to(mul(x, counted({2, 3})), {1}));
  mul(x, 2.5), mul(2, x);
  mul_(y, 3), mul_out(y, y, y);
  EXPECT_EQ(slow("mul"), forward + 5);
  EXPECT_EQ(slow("mul_backward"), back + 1);
  rms_norm(y, Tensor::full({3}, 1));
  EXPECT_EQ(slow("rms_norm"), rms + 1);
}

TEST(Switches, OnlyLeavesOnWhatItNames) {
  fake::chip();
  const Tensor x = counted({2, 5});
  const auto run = [&] { return softmax(add(x, x), -1); };
  const uint64_t own = hits("softmax", "cpu", cpu_set()), slow = hits("add", "cpu", "reference");
  {
    KernelScope only("only softmax");
    run();
    EXPECT_EQ(hits("softmax", "cpu", cpu_set()), own + 1);
    EXPECT_EQ(hits("add", "cpu", "reference"), slow + 1);
    KernelScope off("exclude softmax");
    run();
    EXPECT_EQ(hits("softmax", "cpu", cpu_set()), own + 1);
    EXPECT_EQ(kernels_chosen(), "only softmax; exclude softmax");
    KernelScope all("all");
    run();
    EXPECT_EQ(hits("softmax", "cpu", cpu_set()), own + 2);
  }
  set_kernels("only fake:add");  // says nothing of the processor
  run();
  EXPECT_EQ(hits("softmax", "cpu", cpu_set()), own + 3);
  const Tensor there = Tensor::full({3}, 1, DType::f32, fake_device());
  const uint64_t stood_in = hits("fill", "fake", "on the cpu");
  fill_(there, 2);
  EXPECT_EQ(hits("fill", "fake", "on the cpu"), stood_in + 1);
  set_kernels("all");
  EXPECT_EQ(std::getenv("WELLSPRING_KERNELS"), nullptr);
}

TEST(Switches, TakeShapes) {
  const uint64_t slow = hits("softmax", "cpu", "reference");
  KernelScope off("exclude cpu:softmax@f32[2,5]|f32[2,5]");
  softmax(counted({5, 2}), -1), softmax(counted({10}), -1);
  EXPECT_EQ(hits("softmax", "cpu", "reference"), slow);
  softmax(counted({2, 5}), -1);
  EXPECT_EQ(hits("softmax", "cpu", "reference"), slow + 1);
}

TEST(Switches, RefuseWhatNothingIsCalled) {
  fake::chip();
  const auto why = [](const char* choice) { return error_of([&] { KernelScope scope(choice); }); };
  EXPECT_NE(why("exclude sofmax").find("did you mean 'softmax'"), std::string::npos);
  EXPECT_NE(why("exclude fake:mul").find("chip fake has no kernel 'mul'"), std::string::npos);
  EXPECT_NE(why("exclude cpuu:add").find("unknown chip 'cpuu'"), std::string::npos);
  EXPECT_NE(why("without add").find("expected all, only"), std::string::npos);
  EXPECT_NE(why("only").find("wants names"), std::string::npos);
  EXPECT_NE(why("all add").find("takes no names"), std::string::npos);
  EXPECT_EQ(kernels_chosen(), "all");
}

// A kernel that is wrong, for the shadow to see: the CPU's "add", with a bit more on the first
// element.
TEST(HitLog, ShadowFindsWhatDiffers) {
  std::vector<NamedKernel> kernels = chips()[0].kernels();
  static Kernel right = nullptr;
  for (NamedKernel& k : kernels)
    if (!std::strcmp(k.name, "add")) {
      right = k.kernel;
      k.kernel = [](const Call& c) { right(c), static_cast<float*>(c.out[0].data)[0] += 0.25f; };
    }
  set_shadow(2);
  {
    UseKernels wrong("wrong", kernels);
    const Tensor x = Tensor::full({4}, 1);
    for (int i = 0; i < 5; ++i) add(x, x);
    mul_(x, x);  // in place: the reference reads what was there before
  }
  set_shadow(0);
  std::map<std::string, ShadowError> found;
  for (const ShadowError& e : shadow_errors()) found[e.kernel] = e;
  ASSERT_TRUE(found.contains("add") && found.contains("mul"));
  EXPECT_EQ(found["add"].calls, 2);
  EXPECT_NEAR(found["add"].greatest, 0.25, 1e-6);
  EXPECT_NEAR(found["add"].relative, 0.125, 1e-6);
  EXPECT_EQ(found["add"].shapes, "f32[4]|f32[4]|f32[4]");
  EXPECT_EQ(found["mul"].greatest, 0);
  EXPECT_EQ(shadow_errors().front().kernel, "add");
}

TEST(HitLog, KnowsShapesAndTimes) {
  set_hit_details(true);
  const Tensor x = counted({7, 11});
  softmax(x, -1), softmax(x, -1), softmax(counted({3}), 0);
  set_hit_details(false);
  softmax(x, -1);
  uint64_t wide = 0, narrow = 0;
  double seconds = 0;
  for (const KernelHits& h : kernel_details()) {
    if (h.kernel != "softmax" || h.ran != cpu_set()) continue;
    if (h.shapes == "f32[7,11]|f32[7,11]") wide = h.calls, seconds = h.seconds;
    if (h.shapes == "f32[3]|f32[3]") narrow = h.calls;
  }
  EXPECT_EQ(wide, 2u);
  EXPECT_EQ(narrow, 1u);
  EXPECT_GT(seconds, 0);
}

// The set that a scope asks for sums the gradients, too.
TEST(UseKernels, GovernsTheTape) {
  const uint64_t slow = hits("accumulate", "cpu", "reference"),
                 own = hits("accumulate", "cpu", cpu_set());
  const Tensor x = counted({3}).set_requires_grad(true);
  {
    UseKernels reference("reference", reference::kernels());
    backward(add(x, mul(x, x)), Tensor::full({3}, 1));
  }
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{1, 3, 5}));
  EXPECT_GT(hits("accumulate", "cpu", "reference"), slow);
  EXPECT_EQ(hits("accumulate", "cpu", cpu_set()), own);
}

// In a process of its own, for the environment is read once.
[[noreturn]] void run_with(const char* hit_log, const char* kernels, const char* shadow = "") {
  setenv("WELLSPRING_HITS", hit_log, 1), setenv("WELLSPRING_KERNELS", kernels, 1);
  setenv("WELLSPRING_SHADOW", shadow, 1);
  try {
    const Tensor x = counted({2, 5}), there = counted({3}, fake_device());
    softmax(add(x, x), -1), add(there, there);
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    std::exit(e.exit_status());
  }
  std::exit(0);
}

TEST(EnvironmentDeathTest, PrintsHitsAndTakesKernelsOut) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string set = cpu_set();
  EXPECT_EXIT(run_with("1", "exclude softmax fake:add"), ::testing::ExitedWithCode(0),
              "kernel +chip +ran +calls +ms +operator +shapes");
  EXPECT_EXIT(
      run_with("1", "exclude softmax fake:add"), ::testing::ExitedWithCode(0),
      "softmax +cpu +reference +1 +[0-9.]+ +[a-z_ ]*softmax +f32\\[2,5\\]\\|f32\\[2,5\\]\n");
  EXPECT_EXIT(run_with("1", "exclude softmax fake:add"), ::testing::ExitedWithCode(0),
              "add +fake +on the cpu +1 ");
  EXPECT_EXIT(run_with("1", "exclude cpu:fill"), ::testing::ExitedWithCode(0),
              "add +fake +fake +1 ");
  EXPECT_EXIT(run_with("json", "all"), ::testing::ExitedWithCode(0),
              "\"kernel\": \"softmax\",\n +\"chip\": \"cpu\"");
  EXPECT_EXIT(run_with("", "all", "1"), ::testing::ExitedWithCode(0),
              "kernel +chip +compared +greatest +relative +NaN +shapes\n");
  EXPECT_EXIT(run_with("", ""), ::testing::ExitedWithCode(0), "^$");
  EXPECT_EXIT(run_with("", "exclude sofmax"), ::testing::ExitedWithCode(64),
              "WELLSPRING_KERNELS: no kernel, operator or family is called 'sofmax'; did you mean "
              "'softmax'");
  EXPECT_EXIT(run_with("", "exclude transpose"), ::testing::ExitedWithCode(64),
              "WELLSPRING_KERNELS: 'transpose' runs no kernel that could be switched");
  EXPECT_EXIT(run_with("", "exclude fakes:add"), ::testing::ExitedWithCode(64),
              "WELLSPRING_KERNELS: unknown chip 'fakes'");
  EXPECT_EXIT(run_with("", "all", "many"), ::testing::ExitedWithCode(64),
              "WELLSPRING_SHADOW=many: expected a number of calls");
}

// What a process chose holds in its forked children and in the programs that it starts.
TEST(Switches, SurviveForkAndSpawn) {
  KernelScope off("exclude softmax");
  const pid_t child = fork();
  if (child == 0) {
    const uint64_t before = hits("softmax", "cpu", "reference");
    softmax(counted({3}), -1);
    _exit(hits("softmax", "cpu", "reference") == before + 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(run_process({"/bin/sh", "-c", "printf %s \"$WELLSPRING_KERNELS\""}).output,
            "exclude softmax");
}

}  // namespace
}  // namespace wellspring
