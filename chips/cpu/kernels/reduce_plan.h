#pragma once
// The geometry of a reduction: the input's dimensions in two groups, kept and reduced, each sorted
// so that the last has the smallest step, seamless ones merged. A dimension is reduced where the
// output has extent 1.

#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

struct DimGroup {
  int dims = 0;
  int64_t count = 1;                                          // product of the extents
  int64_t n[kMaxDims + 1], i[kMaxDims + 1], o[kMaxDims + 1];  // extents, steps of input and output
};

WS_INLINE int64_t step_size(int64_t i) { return i == 0 ? INT64_MAX : i < 0 ? -i : i; }

inline void add_dim(DimGroup& g, int64_t n, int64_t i, int64_t o) {
  g.count *= n;
  if (n == 1) return;
  int at = g.dims++;
  for (; at > 0 && step_size(g.i[at - 1]) < step_size(i); --at)
    g.n[at] = g.n[at - 1], g.i[at] = g.i[at - 1], g.o[at] = g.o[at - 1];
  g.n[at] = n, g.i[at] = i, g.o[at] = o;
}

inline void merge_dims(DimGroup& g) {
  int m = 0;
  for (int k = 0; k < g.dims; ++k) {
    if (m && g.i[m - 1] == g.n[k] * g.i[k] && g.o[m - 1] == g.n[k] * g.o[k]) {
      g.n[m - 1] *= g.n[k], g.i[m - 1] = g.i[k], g.o[m - 1] = g.o[k];
    } else {
      g.n[m] = g.n[k], g.i[m] = g.i[k], g.o[m] = g.o[k];
      ++m;
    }
  }
  if (m == 0) g.n[0] = 1, g.i[0] = 1, g.o[0] = 1, m = 1;
  g.dims = m;
}

struct ReducePlan {
  DimGroup kept, reduced;
  bool along_rows;  // the last reduced dimension is read along; else the last kept one
};

// `out` has x's dimensions, with extent 1 where they are reduced. kept.o are places of a row-major
// out.
inline ReducePlan plan_reduce(const View& out, const View& x) {
  ReducePlan p;
  int64_t place[kMaxDims + 1];
  place[x.dims] = 1;
  for (int k = x.dims - 1; k >= 0; --k) place[k] = place[k + 1] * out.shape[k];
  for (int k = 0; k < x.dims; ++k) {
    if (out.shape[k] == 1 && x.shape[k] != 1)
      add_dim(p.reduced, x.shape[k], x.strides[k], 0);
    else
      add_dim(p.kept, x.shape[k], x.strides[k], place[k + 1]);
  }
  merge_dims(p.kept), merge_dims(p.reduced);
  const int64_t kn = p.kept.n[p.kept.dims - 1], rn = p.reduced.n[p.reduced.dims - 1];
  p.along_rows =
      p.reduced.count != 1 && (p.kept.count == 1 || step_size(p.reduced.i[p.reduced.dims - 1]) <
                                                        step_size(p.kept.i[p.kept.dims - 1]));
  // Reading along a few elements only wastes more than gathering along many.
  constexpr int64_t kFew = 16, kMany = 64;
  if (p.along_rows && rn < kFew && kn >= kMany)
    p.along_rows = false;
  else if (!p.along_rows && kn < kFew && rn >= kMany)
    p.along_rows = true;
  return p;
}

// Walks the first `dims` dimensions of a group, row-major, from place `index` on.
struct GroupWalk {
  const DimGroup& g;
  int dims;
  int64_t at[kMaxDims + 1];
  int64_t in = 0, out = 0;  // in elements
  GroupWalk(const DimGroup& g, int dims, int64_t index) : g(g), dims(dims) {
    for (int k = dims - 1; k >= 0; --k) {
      at[k] = index % g.n[k], index /= g.n[k];
      in += at[k] * g.i[k], out += at[k] * g.o[k];
    }
  }
  WS_INLINE void next() {
    for (int k = dims - 1; k >= 0; --k) {
      in += g.i[k], out += g.o[k];
      if (++at[k] < g.n[k]) return;
      in -= g.n[k] * g.i[k], out -= g.n[k] * g.o[k];
      at[k] = 0;
    }
  }
};

WS_KERNELS_END
