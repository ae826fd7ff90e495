// What the case list of linear_quantized cannot say: SwiGLU on the way changes no bit.
#include <gtest/gtest.h>

#include <utility>

#include "base/threads.h"
#include "chips/cpu/test_kernels.h"
#include "tensor/tensor.h"

namespace wellspring {
namespace {

// {values, scales, levels} of a weight [N, K] in 4 bits, 8 by group, 8 by row, and 16.
std::vector<std::vector<Tensor>> weights(const Tensor& w) {
  const int64_t blocks = (w.size(0) + 15) / 16, groups = (w.size(1) + 31) / 32, pairs = (w.size(1) + 3) / 4 * 2;
  std::vector<int8_t> rising;
  for (int i = -8; i < 8; ++i) rising.push_back(static_cast<int8_t>(15 * i + 7));
  const Tensor levels = Tensor::empty({16}, DType::i8);
  std::memcpy(levels.data(), rising.data(), rising.size());
  const std::vector<std::vector<Tensor>> all = {
      {Tensor::empty({blocks, groups, 256}, DType::u8), Tensor::empty({blocks, groups, 16}, DType::f16), levels},
      {Tensor::empty({blocks, groups, 512}, DType::u8), Tensor::empty({blocks, groups, 16}, DType::f16), {}},
      {Tensor::empty({blocks, groups, 512}, DType::u8), Tensor::empty({blocks, 16}), {}},
      {Tensor::empty({blocks, pairs, 32}, DType::bf16), {}, {}}};
  const Kernel quantize = find_kernel(cpu::best_isa(), "quantize_weight");
  for (const std::vector<Tensor>& p : all) call(quantize, {p[0], p[1]}, {w, p[2], {}}, {});
  return all;
}

TEST(LinearQuantized, SwigluOnTheWayChangesNoBit) {
  const int before = threads();
  for (cpu::Isa isa : sets_with("linear_quantized")) {
    const Kernel linear = find_kernel(isa, "linear_quantized"), swiglu = find_kernel(isa, "swiglu");
    for (const auto& [N, K] : {std::pair<int64_t, int64_t>{16, 40}, {176, 96}, {48, 3000}}) {
      const Tensor w = random_tensor({2 * N, K}, DType::f32, 3, -1, 1), bias = random_tensor({2 * N}, DType::f32, 4, -1, 1);
      for (const std::vector<Tensor>& p : weights(w))
        for (DType in : {DType::f32, DType::bf16})
          for (DType out : {DType::f32, DType::bf16})
            for (int64_t M : {1, 16, 17, 110}) {
              const Tensor x = random_tensor({M, K}, in, 5, -2, 2), both = Tensor::empty({M, 2 * N}, out);
              const Tensor apart = Tensor::empty({M, N}, out), together = Tensor::empty({M, N}, out);
              const std::vector<Tensor> operands{x, p[0], p[1], p[2], M % 2 ? bias : Tensor()};
              call(linear, {both}, operands, {Attr(false)});
              call(swiglu, {apart}, {both}, {});
              set_threads(M % 2 ? 1 : 3);
              call(linear, {together}, operands, {Attr(true)});
              set_threads(before);
              ASSERT_EQ(0, std::memcmp(together.data(), apart.data(), static_cast<size_t>(M * N) * size_of(out)))
                  << cpu::name_of(isa) << " " << M << " x " << K << " x " << N << " " << p[0].text() << " " << name_of(in) << " to " << name_of(out);
            }
    }
  }
}

}  // namespace
}  // namespace wellspring
