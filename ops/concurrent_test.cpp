// Operators called by several threads of the program at once.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "ops/check.h"
#include "ops/conv.h"
#include "ops/fft.h"
#include "ops/generator.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/random.h"
#include "ops/random_calls.h"
#include "ops/reduce.h"
#include "ops/scan.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "ops/sort.h"
#include "tensor/autograd.h"
#include "tensor/hit_log.h"
#include "tensor/switches.h"

namespace wellspring {
namespace {

Tensor numbers_of(const Shape& shape, int seed) {
  Tensor t = Tensor::empty(shape, DType::f32);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data_as<float>()[i] = static_cast<float>((i * 37 + seed * 11) % 101) / 50 - 1;
  return t;
}

// One operator of each kind of kernel, with a gradient where it has one.
std::vector<Tensor> each_kind(int seed) {
  const Tensor x = numbers_of({65, 129}, seed), y = numbers_of({129, 65}, seed + 1);
  const Tensor images = numbers_of({2, 3, 16, 16}, seed), weight = numbers_of({8, 3, 3, 3}, seed);
  Tensor leaf = numbers_of({65, 129}, seed);
  leaf.set_requires_grad(true);
  backward(sum(mul(softmax(matmul(leaf, y), -1), matmul(leaf, y))));
  return {add(x, 1.5),    exp(x),
          sum(x, {1}),    cumsum(x, 1),
          matmul(x, y),   conv2d(images, weight, {}, {1}, {1}),
          softmax(x, -1), std::get<0>(sort(x)),
          fft_rfft(x),    contiguous(transpose(x, 0, 1)),
          leaf.grad()};
}

constexpr int kThreads = 4;

// Runs f(thread) on all threads at once.
template <class F>
void at_once(F&& f) {
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back([&f, t] { f(t); });
  for (std::thread& thread : threads) thread.join();
}

// each_kind() on all threads has the bits that it has on one, while `meanwhile` runs.
template <class F>
void expect_bits_of_one_thread(F&& meanwhile) {
  std::vector<std::vector<Tensor>> expected, got(kThreads);
  for (int t = 0; t < kThreads; ++t) expected.push_back(each_kind(t));
  std::atomic<int> running{kThreads};
  std::thread beside([&] {
    do meanwhile();
    while (running.load());
  });
  at_once([&](int t) {
    for (int round = 0; round < 3; ++round) got[t] = each_kind(t);
    running.fetch_sub(1);
  });
  beside.join();
  for (int t = 0; t < kThreads; ++t)
    for (size_t i = 0; i < expected[t].size(); ++i)
      EXPECT_TRUE(same_bits(got[t][i], expected[t][i])) << "thread " << t << " result " << i;
}

TEST(Concurrent, CallsHaveTheBitsOfOneThread) {
  expect_bits_of_one_thread([] { std::this_thread::yield(); });
}

TEST(Concurrent, TheHitLogAndTheShadowAreOn) {
  set_hit_details(true), set_shadow(1 << 20);
  expect_bits_of_one_thread([] { kernel_hits(), kernel_details(), shadow_errors(); });
  uint64_t counted = 0;
  for (const KernelHits& h : kernel_details())
    if (h.kernel == "exp") counted += h.calls;
  int64_t compared = 0;
  for (const ShadowError& e : shadow_errors())
    if (e.kernel == "exp") compared += e.calls;
  set_hit_details(false), set_shadow(0);
  EXPECT_GE(counted, static_cast<uint64_t>(4 * kThreads));
  EXPECT_GE(compared, 4 * kThreads);
}

// Kernels of some are switched off and on during calls. The switched ones have the same bits by the
// reference, so a call may meet either.
TEST(Concurrent, KernelsAreSwitched) {
  int switched = 0;
  expect_bits_of_one_thread([&] {
    const KernelScope off("exclude copy fill; exclude accumulate");
    ++switched;
  });
  EXPECT_GT(switched, 0);
}

// Calls without a seed share the process's generator: the numbers that all threads draw are those
// that one would, each call's from one place.
TEST(Concurrent, RandomCallsShareTheGenerator) {
  constexpr int kDraws = 40;
  const RandomPlace before = random_state();
  manual_seed(11);
  std::vector<std::vector<float>> expected, got(kThreads * kDraws);
  for (int i = 0; i < kThreads * kDraws; ++i) expected.push_back(randn({70}).to_vector<float>());
  manual_seed(11);
  at_once([&](int t) {
    for (int i = 0; i < kDraws; ++i) got[t * kDraws + i] = randn({70}).to_vector<float>();
  });
  set_random_state(before);
  std::sort(expected.begin(), expected.end()), std::sort(got.begin(), got.end());
  EXPECT_EQ(got, expected);
}

// A call of every family on each thread, again and again: the same on all.
TEST(Concurrent, EveryFamily) {
  const LogLevel before = log_level();
  set_log_level(LogLevel::off);  // resized targets
  at_once([](int t) {
    for (const RandomFamily& family : random_families())
      for (uint64_t draw = 0; draw < 40; ++draw) {
        Random random(20261127, draw * kThreads + static_cast<uint64_t>(t));
        std::vector<uint8_t> bytes(48);
        for (uint8_t& b : bytes) b = static_cast<uint8_t>(random.below(256));
        Choices choices(bytes, true);
        try {
          for (const Tensor& y : family.call(choices))
            if (y.defined() && y.requires_grad() && !is_complex(y.dtype()))
              backward(sum(y), {}, true);
        } catch (const Error& e) {
          EXPECT_NE(e.fault(), Fault::internal) << family.name << ": " << e.what();
        }
      }
  });
  set_log_level(before);
}

}  // namespace
}  // namespace wellspring
