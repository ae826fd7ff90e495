#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/threads.h"
#include "nn/init.h"
#include "nn/kv_cache.h"
#include "nn/module.h"
#include "nn/parameter.h"
#include "ops/test_chip.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

Parameter parameter(const Shape& shape, std::vector<ParameterPart> parts) {
  Parameter p;
  p.name = "test";
  p.master = Tensor::zeros(shape);
  p.compute = p.master;
  p.parts = std::move(parts);
  return p;
}

TEST(Init, DependsOnNameAndSeedAlone) {
  Parameter fused = parameter({6, 10}, {{"a", 0, 4, false}, {"b", 4, 2, false}});
  Parameter alone = parameter({2, 10}, {{"b", 0, 2, false}});
  init_normal(fused, 5, 0.1);
  init_normal(alone, 5, 0.1);
  std::vector<float> f = fused.master.to_vector<float>(), b = alone.master.to_vector<float>();
  EXPECT_TRUE(std::equal(b.begin(), b.end(), f.begin() + 40));
  init_normal(alone, 6, 0.1);
  EXPECT_NE(b, alone.master.to_vector<float>());
}

TEST(Init, MomentsBoundsAndThreads) {
  Parameter p = parameter({500, 400}, {{"w", 0, 500, false}});
  init_normal(p, 1, 0.5, 2);
  std::vector<float> one = p.master.to_vector<float>();
  double sum = 0, squares = 0, most = 0;
  for (float v : one)
    sum += v, squares += v * v, most = std::max(most, std::fabs(static_cast<double>(v)));
  EXPECT_NEAR(sum / 2e5, 0, 0.005);
  EXPECT_NEAR(std::sqrt(squares / 2e5), 0.5 * 0.8796, 0.005);  // deviation of a normal cut at +-2
  EXPECT_LE(most, 1.0);
  int before = threads();
  set_threads(16);
  init_normal(p, 1, 0.5, 2);
  set_threads(before);
  EXPECT_EQ(one, p.master.to_vector<float>());
}

// On a chip whose memory the host cannot follow: the same values as here, in master and compute
// copy.
TEST(Init, FillsAMasterOnAnotherChip) {
  for (auto fill : {+[](const Parameter& p) { init_normal(p, 5, 0.1); },
                    +[](const Parameter& p) { init_constant(p, 2.5); }}) {
    Parameter here = parameter({6, 10}, {{"a", 0, 4, false}, {"b", 4, 2, true}}), there = here;
    there.master = Tensor::zeros({6, 10}, DType::f32, {fake::chip(), 0});
    there.compute = Tensor::zeros({6, 10}, DType::bf16, {fake::chip(), 0});
    here.compute = Tensor::zeros({6, 10}, DType::bf16);
    fill(here), fill(there);
    EXPECT_EQ(there.master.to_vector<float>(), here.master.to_vector<float>());
    EXPECT_EQ(there.compute.to_vector<float>(), here.compute.to_vector<float>());
    for (auto& [name, piece] : split_parts(here, here.master))
      for (const ParameterPart& part : there.parts)
        if (part.name == name) merge_part(there, part, piece, there.compute, "file");
    EXPECT_EQ(there.compute.to_vector<float>(), here.compute.to_vector<float>());
  }
}

TEST(Parameter, PartsRoundTrip) {
  Parameter p = parameter({4, 3}, {{"a", 0, 1, false}, {"b", 1, 3, true}});
  for (int i = 0; i < 12; ++i) p.master.data_as<float>()[i] = static_cast<float>(i);
  auto parts = split_parts(p, p.master);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].second.shape(), (Shape{3, 3}));
  EXPECT_EQ(parts[1].second.to_vector<float>(), (std::vector<float>{3, 6, 9, 4, 7, 10, 5, 8, 11}));
  Parameter q = parameter({4, 3}, p.parts);
  for (size_t i = 0; i < 2; ++i) merge_part(q, q.parts[i], parts[i].second, q.master, "file");
  EXPECT_EQ(p.master.to_vector<float>(), q.master.to_vector<float>());
  EXPECT_THROW(merge_part(q, q.parts[0], parts[1].second, q.master, "file"), Error);
  EXPECT_THROW(merge_part(q, q.parts[0], Tensor::zeros({1, 3}, DType::i32), q.master, "file"),
               Error);
}

TEST(Rotary, TableAndLlama3Scaling) {
  RotaryTable plain = rotary_table(4, 8, 10000);
  EXPECT_NEAR(plain.cos.to_vector<float>()[4], std::cos(1.0), 1e-6);
  EXPECT_NEAR(plain.sin.to_vector<float>()[4 * 3 + 3], std::sin(0.003), 1e-6);
  RopeScaling scaling;
  scaling.original_context = 64;
  RotaryTable stretched = rotary_table(4, 8, 10000, &scaling);
  EXPECT_EQ(plain.sin.to_vector<float>()[4], stretched.sin.to_vector<float>()[4])
      << "high frequencies stay";
  EXPECT_NEAR(stretched.sin.to_vector<float>()[7], std::sin(0.001 / 8), 1e-7)
      << "low ones are stretched";
  EXPECT_THROW(rotary_table(4, 7, 10000), Error);
}

TEST(KvCache, GrowsKeepsAndEnds) {
  auto cache = make_contiguous_cache(1, 2, 1, 4, 600, DType::f32);
  for (int i = 0; i < 6; ++i) {
    Tensor k = Tensor::full({2, 100, 1, 4}, i), v = Tensor::full({2, 100, 1, 4}, -i);
    auto held = cache->put(0, k, v);
    cache->advance(100);
    ASSERT_GE(held.keys.size(1), cache->length());
    std::vector<float> all = held.keys.to_vector<float>();
    for (int j = 0; j <= i; ++j) EXPECT_EQ(all[j * 400 + 7], j);
  }
  EXPECT_THROW(cache->put(0, Tensor::zeros({2, 1, 1, 4}), Tensor::zeros({2, 1, 1, 4})), Error);
  cache->truncate(10);
  EXPECT_EQ(cache->length(), 10);
}

TEST(Linear, LogitsInF32FromBf16) {
  std::vector<float> values = {1, 2, 3, 4, 5, 6};
  Tensor x = Tensor::from(std::span<const float>(values), {2, 3}, DType::bf16);
  Tensor w = Tensor::from(std::span<const float>(values), {2, 3}, DType::bf16);
  EXPECT_EQ(linear_f32(x, w).to_vector<float>(), (std::vector<float>{14, 32, 32, 77}));
}

}  // namespace
}  // namespace wellspring
