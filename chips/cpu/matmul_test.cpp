// What the case lists of matmul cannot say: the same bits for any number of rows, columns and
// threads, pair products, accumulation, results with any strides.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/threads.h"
#include "chips/cpu/test_kernels.h"
#include "tensor/tensor.h"

namespace wellspring {
namespace {

void call(Kernel kernel, const Tensor& out, const std::vector<Tensor>& ins,
          bool accumulate = false) {
  call(kernel, std::vector<Tensor>{out}, ins, std::vector<Attr>{Attr(accumulate)});
}

Tensor random_tensor(const Shape& shape, DType dtype, uint64_t seed) {
  return random_tensor(shape, dtype, seed, -1, 1);
}

Tensor turned(const Tensor& t) {
  return t.as_strided({t.size(1), t.size(0)}, {t.strides()[1], t.strides()[0]}, t.offset());
}
Tensor part(const Tensor& t, int64_t rows, int64_t columns) {
  return t.as_strided({rows, columns}, t.strides(), t.offset());
}

template <class F>
void each_isa(F&& f) {
  for (cpu::Isa isa : sets_with("matmul")) {
    SCOPED_TRACE(std::string(cpu::name_of(isa)));
    f(isa);
  }
}

// Row by row, the first rows and columns of a product are the product of the first rows and
// columns.
TEST(Matmul, SameBitsForAnyRowsAndColumns) {
  each_isa([](cpu::Isa isa) {
    const Kernel kernel = find_kernel(isa, "matmul");
    for (DType in : {DType::f32, DType::bf16})
      for (DType out : {DType::f32, DType::bf16})
        for (int64_t K : {70, 512, 900}) {
          const int64_t M = 150, N = 77;
          const Tensor a = random_tensor({M, K}, in, 1), w = random_tensor({N, K}, in, 2);
          const Tensor b = random_tensor({K, N}, in, 2), whole = Tensor::empty({M, N}, out);
          for (const Tensor& right : {b, turned(w)}) {
            call(kernel, whole, {a, right, Tensor()});
            for (int64_t m : {1, 2, 3, 4, 5, 13, 96, 97})
              for (int64_t n : {1, 7, 8, 76}) {
                const Tensor some = Tensor::empty({m, n}, out);
                call(kernel, some, {part(a, m, K), part(right, K, n), Tensor()});
                ASSERT_EQ(some.to_vector<float>(), part(whole, m, n).to_vector<float>())
                    << m << " x " << n << " of " << K << " " << name_of(in) << " " << name_of(out);
              }
          }
        }
  });
}

TEST(Matmul, SameBitsForAnyNumberOfThreads) {
  const int before = threads();
  each_isa([](cpu::Isa isa) {
    const Kernel kernel = find_kernel(isa, "matmul"), sums = find_kernel(isa, "column_sum");
    for (DType in : {DType::f32, DType::bf16})
      for (int64_t width : {64, 192, 300}) {
        // A weight gradient: few rows and columns, a long sum.
        const Tensor dy = random_tensor({2100, width}, in, 1),
                     x = random_tensor({2100, width}, in, 2);
        std::vector<float> first, first_sum;
        for (int team : {1, 2, 3, 16, 64}) {
          set_threads(team);
          const Tensor dw = Tensor::empty({width, width}), db = Tensor::empty({width});
          call(kernel, dw, {turned(dy), x, Tensor()});
          call(sums, db, {dy});
          if (team == 1) first = dw.to_vector<float>(), first_sum = db.to_vector<float>();
          EXPECT_EQ(dw.to_vector<float>(), first) << team;
          EXPECT_EQ(db.to_vector<float>(), first_sum) << team;
        }
      }
  });
  set_threads(before);
}

// bf16 pairs, where needed emulated: packing, odd K, tails and rows in the pair layout.
TEST(Matmul, PairProductsAgreeWithF64) {
  each_isa([](cpu::Isa isa) {
    const Kernel kernel = find_kernel(isa, "matmul_pairs");
    for (int64_t K : {1, 2, 31, 70, 901})
      for (int64_t M : {1, 3, 20, 130})
        for (bool turn_a : {false, true})
          for (bool turn_b : {false, true}) {
            const int64_t N = 45;
            const Tensor a0 = random_tensor(turn_a ? Shape{K, M} : Shape{M, K}, DType::bf16, 1);
            const Tensor b0 = random_tensor(turn_b ? Shape{N, K} : Shape{K, N}, DType::bf16, 2);
            const Tensor a = turn_a ? turned(a0) : a0, b = turn_b ? turned(b0) : b0;
            const Tensor c = Tensor::full({M, N}, NAN), bias = random_tensor({N}, DType::bf16, 3);
            call(kernel, c, {a, b, bias});
            const auto x = a.to_vector<double>(), y = b.to_vector<double>(),
                       z = bias.to_vector<double>();
            const auto got = c.to_vector<double>();
            for (int64_t m = 0; m < M; ++m)
              for (int64_t n = 0; n < N; ++n) {
                double sum = z[n];
                for (int64_t k = 0; k < K; ++k) sum += x[m * K + k] * y[k * N + n];
                ASSERT_NEAR(got[m * N + n], sum, 1e-4) << K << " " << M << " at " << m << ", " << n;
              }
          }
  });
}

TEST(Matmul, AccumulatesAndWritesAnyStrides) {
  each_isa([](cpu::Isa isa) {
    const Kernel kernel = find_kernel(isa, "matmul");
    const int64_t M = 21, K = 500, N = 34;
    const Tensor a = random_tensor({M, K}, DType::f32, 1), w = random_tensor({N, K}, DType::f32, 2);
    for (int64_t rows : {int64_t{3}, M}) {
      const Tensor plain = Tensor::empty({rows, N}),
                   start = random_tensor({rows, N}, DType::f32, 3);
      call(kernel, plain, {part(a, rows, K), turned(w), Tensor()});
      const auto product = plain.to_vector<double>(), begin = start.to_vector<double>();
      // Row-major, column-major, and with gaps in both directions.
      const Shape strides[] = {{N, 1}, {1, rows}, {3 * N, 2}};
      for (const Shape& s : strides) {
        const Tensor c = Tensor::zeros({3 * rows * N}).as_strided({rows, N}, s, 0);
        c.copy_from(start);
        call(kernel, c, {part(a, rows, K), turned(w), Tensor()}, true);
        const auto got = c.to_vector<double>();
        for (size_t i = 0; i < got.size(); ++i)
          ASSERT_NEAR(got[i], begin[i] + product[i], 1e-4) << i;
      }
    }
    const Tensor bf16 = Tensor::zeros({M, N}, DType::bf16);
    EXPECT_THROW(call(kernel, bf16, {a, turned(w), Tensor()}, true), Error);
  });
}

}  // namespace
}  // namespace wellspring
