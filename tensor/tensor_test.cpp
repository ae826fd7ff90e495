#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "base/error.h"
#include "tensor/allocator.h"

namespace wellspring {
namespace {

TEST(Tensor, FromValuesAndBack) {
  std::vector<float> v = {1, 2, 3, 4, 5, 6};
  Tensor t = Tensor::from(v, {2, 3});
  EXPECT_EQ(t.shape(), (Shape{2, 3}));
  EXPECT_EQ(t.to_vector<float>(), v);
  EXPECT_TRUE(t.is_contiguous());
  EXPECT_EQ(t.text(), "f32[2, 3]");
  EXPECT_EQ(t.size(-1), 3);
  EXPECT_THROW(t.size(2), Error);
  EXPECT_THROW(Tensor::from(v, {2, 2}), Error);
}

TEST(Tensor, ViewsShareStorage) {
  std::vector<float> v = {1, 2, 3, 4, 5, 6};
  Tensor t = Tensor::from(v, {2, 3});
  Tensor transposed = t.as_strided({3, 2}, {1, 3}, 0);
  EXPECT_EQ(transposed.to_vector<float>(), (std::vector<float>{1, 4, 2, 5, 3, 6}));
  EXPECT_FALSE(transposed.is_contiguous());
  t.data_as<float>()[1] = 9;
  EXPECT_EQ(transposed.to_vector<float>()[2], 9);
  Tensor reversed = t.as_strided({6}, {-1}, 5);
  EXPECT_EQ(reversed.to_vector<float>()[0], 6);
  EXPECT_THROW(t.as_strided({7}, {1}, 0), Error);
  EXPECT_THROW(t.as_strided({2}, {-1}, 0), Error);
}

TEST(Tensor, DtypesConvert) {
  std::vector<float> v = {-1.5f, 0, 3.1415927f, 1e30f};
  EXPECT_EQ(Tensor::from(v, {4}, DType::f64).to_vector<float>(), v);
  EXPECT_EQ(Tensor::from(v, {4}, DType::bf16).to_vector<float>()[2], 3.140625f);
  EXPECT_TRUE(std::isinf(Tensor::from(v, {4}, DType::f16).to_vector<float>()[3]));
  EXPECT_EQ(Tensor::full({2}, 7, DType::i32).to_vector<int64_t>(), (std::vector<int64_t>{7, 7}));
  EXPECT_EQ(Tensor::full({}, -2.5).item(), -2.5);
  EXPECT_THROW(Tensor::full({2}, 1).item(), Error);
}

TEST(Tensor, Bf16RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(to_bf16(1.00390625f).bits, 0x3f80);  // a tie: to even
  EXPECT_EQ(to_bf16(1.01171875f).bits, 0x3f82);  // a tie: to even
  EXPECT_TRUE(std::isnan(to_float(to_bf16(NAN))));
  EXPECT_TRUE(std::isinf(to_float(to_bf16(3.4e38f))));
  for (uint32_t b = 0; b < 65536; ++b) {
    float f = to_float(bf16_t{static_cast<uint16_t>(b)});
    if (!std::isnan(f)) {
      EXPECT_EQ(to_bf16(f).bits, b);
    }
  }
}

TEST(Tensor, EmptyAndZeroDimensional) {
  Tensor none = Tensor::empty({0, 3});
  EXPECT_EQ(none.numel(), 0);
  EXPECT_TRUE(none.to_vector<float>().empty());
  EXPECT_EQ(Tensor::empty({}).numel(), 1);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), Error);
  EXPECT_THROW(Tensor::empty({int64_t{1} << 40, int64_t{1} << 40}), Error);
  EXPECT_THROW(Tensor::empty({-1}), Error);
}

TEST(Tensor, DeviceNames) {
  EXPECT_EQ(parse_device("cpu"), Device{});
  EXPECT_THROW(parse_device("cpu:1"), Error);
  try {
    parse_device("cpx");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean 'cpu'"), std::string::npos) << e.what();
  }
}

TEST(Allocator, ReusesAndMerges) {
  MemoryFigures before = memory_figures({});
  {
    std::vector<Tensor> live;
    for (int i = 0; i < 100; ++i) live.push_back(Tensor::empty({1000 + i * 37}));
    EXPECT_GT(memory_figures({}).in_use, before.in_use + 400000);
  }
  EXPECT_EQ(memory_figures({}).in_use, before.in_use);
  int64_t reserved = memory_figures({}).reserved;
  for (int round = 0; round < 50; ++round) {
    std::vector<Tensor> live;
    for (int i = 99; i >= 0; i -= 3) live.push_back(Tensor::empty({1000 + i * 37}));
  }
  EXPECT_EQ(memory_figures({}).reserved, reserved);
}

TEST(Allocator, RefusesTheImpossibleClearly) {
  try {
    Tensor::empty({int64_t{1} << 50}, DType::u8);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::missing);
    EXPECT_NE(std::string(e.what()).find("out of memory"), std::string::npos);
  }
}

TEST(Allocator, ManyThreads) {
  std::vector<std::thread> all;
  for (int k = 0; k < 4; ++k)
    all.emplace_back([k] {
      for (int i = 0; i < 500; ++i) {
        Tensor t = Tensor::full({100 + i}, k);
        ASSERT_EQ(t.to_vector<float>()[i], static_cast<float>(k));
      }
    });
  for (auto& t : all) t.join();
}

TEST(Tensor, WrapsViewsOfForeignMemory) {
  float memory[12];
  for (int i = 0; i < 12; ++i) memory[i] = static_cast<float>(i);
  const int64_t shape[] = {2, 3}, strides[] = {1, 4}, none[] = {0, 3};
  const Tensor t = Tensor::wrap(View{memory, DType::f32, 2, shape, strides});
  EXPECT_EQ(t.storage()->bytes, 10 * sizeof(float));  // from the first to behind the last
  EXPECT_EQ(t.data(), memory);
  memory[5] = 50;
  const Tensor copy = Tensor::empty({2, 3});
  copy.copy_from(t);
  EXPECT_EQ(copy.to_vector<float>(), (std::vector<float>{0, 4, 8, 1, 50, 9}));
  EXPECT_EQ(Tensor::wrap(View{memory, DType::f32, 2, none, strides}).storage()->bytes, 0u);
}

}  // namespace
}  // namespace wellspring
