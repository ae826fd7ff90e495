// Operators called by several threads of the program at once.

#include <gtest/gtest.h>

#include <thread>

#include "ops/check.h"
#include "ops/conv.h"
#include "ops/fft.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/scan.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "ops/sort.h"
#include "tensor/autograd.h"

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

TEST(Concurrent, CallsHaveTheBitsOfOneThread) {
  constexpr int kThreads = 4;
  std::vector<std::vector<Tensor>> expected, got(kThreads);
  for (int t = 0; t < kThreads; ++t) expected.push_back(each_kind(t));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < 3; ++round) got[t] = each_kind(t);
    });
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < kThreads; ++t)
    for (size_t i = 0; i < expected[t].size(); ++i)
      EXPECT_TRUE(same_bits(got[t][i], expected[t][i])) << "thread " << t << " result " << i;
}

}  // namespace
}  // namespace wellspring
