#pragma once
// The geometry of elementwise work on a pair of views of one shape: dimensions sorted so that the
// last has the smallest step in `out`, seamless ones merged, and the rest cut into tiles by shape
// alone.

#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

struct PairPlan {
  int dims = 0;                                   // at least 1
  int64_t n[kMaxDims], o[kMaxDims], i[kMaxDims];  // extents; strides in elements (o >= 0)
  char* out;
  const char* in;
  int64_t out_size, in_size;  // bytes of an element
  int64_t count = 1;          // elements in all
};

// in_strides may be null: then every element reads the same place.
inline PairPlan plan_pair(const View& out, const void* in, DType in_type,
                          const int64_t* in_strides) {
  PairPlan p;
  p.out = static_cast<char*>(out.data), p.in = static_cast<const char*>(in);
  p.out_size = static_cast<int64_t>(size_of(out.dtype));
  p.in_size = static_cast<int64_t>(size_of(in_type));
  int d = 0;
  for (int k = 0; k < out.dims; ++k) {
    const int64_t n = out.shape[k];
    int64_t o = out.strides[k], i = in_strides ? in_strides[k] : 0;
    p.count *= n;
    if (n <= 1) continue;
    if (o < 0) {  // from the other end
      p.out += (n - 1) * o * p.out_size, p.in += (n - 1) * i * p.in_size;
      o = -o, i = -i;
    }
    int at = d++;
    for (; at > 0 && (p.o[at - 1] < o || (p.o[at - 1] == o && p.n[at - 1] < n)); --at)
      p.n[at] = p.n[at - 1], p.o[at] = p.o[at - 1], p.i[at] = p.i[at - 1];
    p.n[at] = n, p.o[at] = o, p.i[at] = i;
  }
  for (int k = 0; k < d; ++k) {
    int& m = p.dims;
    if (m && p.o[m - 1] == p.n[k] * p.o[k] && p.i[m - 1] == p.n[k] * p.i[k]) {
      p.n[m - 1] *= p.n[k], p.o[m - 1] = p.o[k], p.i[m - 1] = p.i[k];
    } else {
      p.n[m] = p.n[k], p.o[m] = p.o[k], p.i[m] = p.i[k];
      ++m;
    }
  }
  if (p.dims == 0) p.dims = 1, p.n[0] = 1, p.o[0] = 1, p.i[0] = 1;
  return p;
}

// Walks the first `dims` dimensions of a plan, row-major, from place `index` on.
struct PairWalk {
  const PairPlan& p;
  int dims;
  int64_t at[kMaxDims];
  char* out;
  const char* in;
  PairWalk(const PairPlan& p, int dims, int64_t index) : p(p), dims(dims), out(p.out), in(p.in) {
    for (int k = dims - 1; k >= 0; --k) {
      at[k] = index % p.n[k], index /= p.n[k];
      out += at[k] * p.o[k] * p.out_size, in += at[k] * p.i[k] * p.in_size;
    }
  }
  WS_INLINE void next() {
    for (int k = dims - 1; k >= 0; --k) {
      out += p.o[k] * p.out_size, in += p.i[k] * p.in_size;
      if (++at[k] < p.n[k]) return;
      out -= p.n[k] * p.o[k] * p.out_size, in -= p.n[k] * p.i[k] * p.in_size;
      at[k] = 0;
    }
  }
};

// Calls row(out, in, n) for pieces of the last dimension that cover everything, in parallel, and
// done() at the end of each tile. n is at most `most`, pieces start at multiples of it.
template <class Row, class Done>
void for_each_row(const PairPlan& p, int64_t most, Row row, Done done) {
  if (p.count == 0) return;
  const int last = p.dims - 1;
  const int64_t n = p.n[last], rows = p.count / n;
  constexpr int64_t kTile = 1 << 15;  // elements
  if (n > kTile) {
    const int64_t pieces = (n + kTile - 1) / kTile;
    parallel_for(rows * pieces, [&](int64_t t) {
      const PairWalk w(p, last, t / pieces);
      const int64_t begin = t % pieces * kTile;
      const int64_t end = begin + kTile < n ? begin + kTile : n;
      for (int64_t x = begin; x < end; x += most)
        row(w.out + x * p.o[last] * p.out_size, w.in + x * p.i[last] * p.in_size,
            end - x < most ? end - x : most);
      done();
    });
    return;
  }
  const int64_t group = kTile / n;
  parallel_for((rows + group - 1) / group, [&](int64_t t) {
    PairWalk w(p, last, t * group);
    const int64_t end = (t + 1) * group < rows ? (t + 1) * group : rows;
    for (int64_t r = t * group; r < end; ++r, w.next())
      for (int64_t x = 0; x < n; x += most)
        row(w.out + x * p.o[last] * p.out_size, w.in + x * p.i[last] * p.in_size,
            n - x < most ? n - x : most);
    done();
  });
}

WS_KERNELS_END
