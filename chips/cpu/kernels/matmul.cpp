// Kernels "matmul" (out c; in a, b, bias; attr accumulate) with batches, and "column_sum" (out [N];
// in [M, N]).
#include "chips/cpu/kernels/gemm.h"
#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

constexpr int64_t kSmallProduct =
    1 << 20;  // multiply-adds below which a batch is cut, not its members

int64_t extent(const View& v, int from_end) { return v.shape[v.dims - from_end]; }
int64_t stride(const View& v, int from_end) { return v.strides[v.dims - from_end]; }

// Dimensions before the matrices: extents, and the strides of a, b, c.
struct Batch {
  int dims = 0;
  int64_t size = 1;
  int64_t shape[kMaxDims] = {}, a[kMaxDims] = {}, b[kMaxDims] = {}, c[kMaxDims] = {};
};

Gemm of_views(const Call& call, bool pairs) {
  const View &a = call.in[0], &b = call.in[1], &c = call.out[0];
  if (a.dims < 2 || b.dims != a.dims || c.dims != a.dims)
    cpu::kernel_refuses("matmul", "operands differ in dimensions or have fewer than 2");
  Gemm g;
  g.m = extent(a, 2), g.k = extent(a, 1), g.n = extent(b, 1);
  if (extent(b, 2) != g.k || extent(c, 2) != g.m || extent(c, 1) != g.n)
    cpu::kernel_refuses("matmul", "the extents do not fit");
  g.a = a.data, g.a_row = stride(a, 2), g.a_col = stride(a, 1), g.a_type = a.dtype;
  g.b = b.data, g.b_row = stride(b, 2), g.b_col = stride(b, 1), g.b_type = b.dtype;
  g.c = c.data, g.c_row = stride(c, 2), g.c_col = stride(c, 1), g.c_type = c.dtype;
  g.accumulate = call.attr[0].i != 0;
  g.force_pairs = pairs;
  if (call.ins > 2 && call.in[2].defined())
    g.bias = call.in[2].data, g.bias_stride = stride(call.in[2], 1), g.bias_type = call.in[2].dtype;
  const auto narrow = [](DType t) { return t == DType::f32 || t == DType::bf16; };
  const auto fits = [&](DType t) { return c.dtype == DType::f64 ? t == DType::f64 : narrow(t); };
  if (!(c.dtype == DType::f64 || narrow(c.dtype)) || !fits(a.dtype) || !fits(b.dtype) ||
      (g.bias && !fits(g.bias_type)))
    cpu::kernel_refuses("matmul", "the dtypes are not f32, bf16 or all f64");
  return g;
}

// The batch dimensions; those that only repeat b join the rows of a and c where strides allow it.
Batch batch_of(const Call& call, Gemm& g) {
  const View &a = call.in[0], &b = call.in[1], &c = call.out[0];
  Batch batch;
  bool joins = true;
  for (int d = a.dims - 3; d >= 0; --d) {
    const int64_t n = c.shape[d];
    if (a.shape[d] != n || b.shape[d] != n)
      cpu::kernel_refuses("matmul", "the batch extents differ");
    if (n == 1) continue;
    joins = joins && b.strides[d] == 0;
    if (joins && g.m == 1)
      g.a_row = a.strides[d], g.c_row = c.strides[d], g.m = n;
    else if (joins && a.strides[d] == g.m * g.a_row && c.strides[d] == g.m * g.c_row)
      g.m *= n;
    else {
      joins = false;
      batch.shape[batch.dims] = n, batch.a[batch.dims] = a.strides[d];
      batch.b[batch.dims] = b.strides[d], batch.c[batch.dims++] = c.strides[d];
      batch.size *= n;
    }
  }
  return batch;
}

void multiply_member(const Gemm& g, const Batch& batch, int64_t index) {
  Gemm one = g;
  int64_t a = 0, b = 0, c = 0;
  for (int d = 0; d < batch.dims; ++d) {
    const int64_t i = index % batch.shape[d];
    index /= batch.shape[d];
    a += i * batch.a[d], b += i * batch.b[d], c += i * batch.c[d];
  }
  const auto moved = [](const void* p, int64_t elements, DType t) {
    return static_cast<const char*>(p) + elements * static_cast<int64_t>(size_of(t));
  };
  one.a = moved(g.a, a, g.a_type), one.b = moved(g.b, b, g.b_type);
  one.c = const_cast<char*>(moved(g.c, c, g.c_type));
  gemm(one);
}

void multiply_views(const Call& call, bool pairs) {
  Gemm g = of_views(call, pairs);
  const Batch batch = batch_of(call, g);
  if (batch.size == 0) return;
  const double work = static_cast<double>(g.m) * g.n * (g.k > 16 ? g.k : 16);
  if (batch.size >= 64 || (batch.size > 1 && work <= kSmallProduct)) {
    // Each tile takes whole members, of together at least some 32 thousand multiply-adds.
    int64_t share = work < 32768 ? static_cast<int64_t>(32768 / (work > 1 ? work : 1)) : 1;
    if (share > batch.size) share = batch.size;
    parallel_for((batch.size + share - 1) / share, [&](int64_t tile) {
      for (int64_t i = tile * share; i < (tile + 1) * share && i < batch.size; ++i)
        multiply_member(g, batch, i);
    });
  } else {
    for (int64_t i = 0; i < batch.size; ++i) multiply_member(g, batch, i);
  }
}

void matmul(const Call& call) { multiply_views(call, false); }
WS_KERNEL("matmul", matmul)

// bf16 by pair products on every instruction set: for the tests of what surrounds the instruction.
void matmul_pairs(const Call& call) { multiply_views(call, true); }
WS_KERNEL("matmul_pairs", matmul_pairs)

constexpr int64_t kSumRows = 256, kSumColumns = 512;  // of a tile of column_sum

WS_INLINE float widened(float v) { return v; }
WS_INLINE float widened(bf16_t v) { return to_float(v); }
WS_INLINE double widened(double v) { return v; }

// Sums of rows [from, to) of columns [first, last) into out[first ...].
template <class In, class Sum>
void add_rows(const View& x, int64_t from, int64_t to, int64_t first, int64_t last, Sum* out) {
  const int64_t row = x.strides[0], col = x.strides[1];
  for (int64_t n = first; n < last; ++n) out[n] = 0;
  for (int64_t m = from; m < to; ++m) {
    const In* in = static_cast<const In*>(x.data) + m * row;
    if (col == 1)
      for (int64_t n = first; n < last; ++n) out[n] += widened(in[n]);
    else
      for (int64_t n = first; n < last; ++n) out[n] += widened(in[n * col]);
  }
}

// Column sums in blocks of 256 rows, added in the order of the rows.
template <class In, class Sum>
void sum_columns(const View& x, const View& out) {
  const int64_t rows = x.shape[0], columns = x.shape[1];
  const int64_t down = (rows + kSumRows - 1) / kSumRows;
  const int64_t across = (columns + kSumColumns - 1) / kSumColumns;
  Sum* sums = static_cast<Sum*>(cpu::scratch(4, (down * columns + 1) * sizeof(Sum)));
  parallel_for(down * across, [&](int64_t tile) {
    const int64_t m = tile / across * kSumRows, n = tile % across * kSumColumns;
    add_rows<In>(x, m, m + kSumRows < rows ? m + kSumRows : rows, n,
                 n + kSumColumns < columns ? n + kSumColumns : columns,
                 sums + tile / across * columns);
  });
  for (int64_t n = 0; n < columns; ++n) {
    Sum sum = 0;
    for (int64_t i = 0; i < down; ++i) sum += sums[i * columns + n];
    static_cast<Sum*>(out.data)[n * out.strides[0]] = sum;
  }
}

void column_sum(const Call& call) {
  const View &x = call.in[0], &out = call.out[0];
  if (x.dims != 2 || out.dims != 1 || out.shape[0] != x.shape[1])
    cpu::kernel_refuses("column_sum", "it takes [M, N] and gives [N]");
  if (x.dtype == DType::f64 && out.dtype == DType::f64) return sum_columns<double, double>(x, out);
  if (out.dtype != DType::f32) cpu::kernel_refuses("column_sum", "the result is not f32");
  if (x.dtype == DType::f32) return sum_columns<float, float>(x, out);
  if (x.dtype == DType::bf16) return sum_columns<bf16_t, float>(x, out);
  cpu::kernel_refuses("column_sum", "the dtype is not f64, f32 or bf16");
}
WS_KERNEL("column_sum", column_sum)

WS_KERNELS_END
