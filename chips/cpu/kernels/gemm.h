#pragma once
// The matrix product that kernels of one instruction set share. Include inside kernel sources only.

#include "chips/cpu/kernel.h"

WS_SHARED_BEGIN

/// C[M,N] = A[M,K] B[K,N] + bias, or with `accumulate` C + A B + bias; all with any element
/// strides. Types: a and b f32 or bf16 (also mixed) with c f32 or bf16, or all f64. `accumulate`
/// wants c f32 or f64.
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t a_row = 0, a_col = 0;
  const void* b = nullptr;
  int64_t b_row = 0, b_col = 0;
  void* c = nullptr;
  int64_t c_row = 0, c_col = 1;
  DType a_type = DType::f32, b_type = DType::f32, c_type = DType::f32;
  bool accumulate = false;
  const void* bias = nullptr;  // [N] or null
  int64_t bias_stride = 1;
  DType bias_type = DType::f32;
  bool force_pairs = false;  // bf16 pair products where the processor has none (for tests)
};

/// Computes on the team, or inside parallel_for on the calling thread. An element of C is the sum
/// of its products in an order that K alone decides (blocks of at most 384, each added up from
/// its first product to its last, and the blocks in their order), so its bits depend neither on M
/// and N, nor on its place, the strides, or the number of threads. Uses scratch slots 4 to 7.
/// Sums are f32 (f64 for f64).
void gemm(const Gemm& g);

WS_SHARED_END
