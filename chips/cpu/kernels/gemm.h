#pragma once
// The matrix product that kernels of one instruction set share. Include inside kernel sources only.

#include "chips/cpu/kernel.h"

WS_SHARED_BEGIN

/// What a moving window reads of images [N, C, rows, columns]: the operand of a convolution. It has
/// an element for each position (image, y, x) and each place (channel, r, s) of the patch there:
/// row y step_y + r tap_y + base_y, column x step_x + s tap_x + base_x of the channel, or zero
/// outside the image. Positions count row-major within [N, out_rows, out_columns], places within
/// [C, taps_y, taps_x]. An image has fewer than 2^31 elements, and so do two neighbours.
struct Window {
  const void* data = nullptr;
  int64_t image_stride = 0, channel_stride = 0, row_stride = 0, column_stride = 0;
  int64_t rows = 1, columns = 1, out_rows = 1, out_columns = 1, taps_y = 1, taps_x = 1;
  int64_t step_y = 1, step_x = 1, tap_y = 1, tap_x = 1, base_y = 0, base_x = 0;
};

/// Columns of C that are positions (image, y, x), each with its stride.
struct Positions {
  int64_t out_rows = 1, out_columns = 1;
  int64_t image_stride = 0, row_stride = 0, column_stride = 0;
};

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
  bool bias_by_row = false;  // [M] instead, one for each row
  // Operands read by windows instead of strides. Of a_window the rows are places and K counts
  // positions; of b_window the columns are positions and K counts places, or with b_by_place the
  // other way round.
  const Window *a_window = nullptr, *b_window = nullptr;
  bool b_by_place = false;
  const Positions* c_positions = nullptr;  // where columns of C lie, instead of c_col
  bool force_pairs = false;  // bf16 pair products where the processor has none (for tests)
};

/// Computes on the team, or inside parallel_for on the calling thread. An element of C is the sum
/// of its products in an order that K alone decides (blocks of at most 384, each added up from
/// its first product to its last, and the blocks in their order), so its bits depend neither on M
/// and N, nor on its place, the strides, or the number of threads. Uses scratch slots 4 to 7.
/// Sums are f32 (f64 for f64).
void gemm(const Gemm& g);

WS_SHARED_END
