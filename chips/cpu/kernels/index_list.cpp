// Reading and writing by several index tensors at once. The first m dimensions of x (any strides)
// are indexed by m row-major i64 tensors of B elements (negative ones count from the end); the
// others, `inner`, are taken whole. attr 0: m.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/indices.h"
#include "chips/cpu/kernels/reduce_plan.h"

WS_KERNELS_BEGIN

struct IndexList {
  int m = 0;
  int64_t count = 1;
  const int64_t* index[kMaxDims];
  int64_t extent[kMaxDims], step[kMaxDims];

  IndexList(const View& x, const View* indices, int m) : m(m) {
    for (int k = 0; k < indices[0].dims; ++k) count *= indices[0].shape[k];
    for (int k = 0; k < m; ++k)
      index[k] = static_cast<const int64_t*>(indices[k].data), extent[k] = x.shape[k],
      step[k] = x.strides[k];
  }
  // Where the slice of element b begins.
  WS_INLINE int64_t offset(const char* name, int64_t b) const {
    int64_t at = 0;
    for (int k = 0; k < m; ++k) {
      int64_t i = index[k][b];
      if (static_cast<uint64_t>(i) >= static_cast<uint64_t>(extent[k])) {
        if (i < -extent[k] || i >= extent[k]) cpu::bad_index(name, i, extent[k], k);
        i += extent[k];
      }
      at += i * step[k];
    }
    return at;
  }
};

// Dimensions first ... of x, with the strides of another tensor that has them from `other_first`
// on.
DimGroup inner_of(const View& x, int first, const View& other, int other_first) {
  DimGroup g;
  for (int k = first; k < x.dims; ++k) {
    const int d = g.dims++;
    g.n[d] = x.shape[k], g.i[d] = x.strides[k], g.o[d] = other.strides[other_first + k - first];
    g.count *= x.shape[k];
  }
  merge_dims(g);
  return g;
}

// Elements [begin, end) of the inner dimensions: f(x, other, n) for each run, places in elements.
template <class F>
WS_INLINE void each_run(const DimGroup& g, int64_t begin, int64_t end, F&& f) {
  const int last = g.dims - 1;
  const int64_t n = g.n[last];
  GroupWalk walk(g, last, begin / n);
  for (int64_t k = begin; k < end; walk.next()) {
    const int64_t at = k % n, m = n - at < end - k ? n - at : end - k;
    f(walk.in + at * g.i[last], walk.out + at * g.o[last], m);
    k += m;
  }
}

template <class U>
void read_list(const Call& call, int m) {
  const View& x = call.in[0];
  const View& y = call.out[0];
  const IndexList list(x, call.in + 1, m);
  const DimGroup inner = inner_of(x, m, y, y.dims - (x.dims - m));
  const U* from = static_cast<const U*>(x.data);
  U* to = static_cast<U*>(y.data);
  const int64_t width = inner.count, step = inner.i[inner.dims - 1];
  if (list.count * width == 0) return;
  const int64_t share = 1 + ((1 << 14) - 1) / width;
  parallel_for((list.count + share - 1) / share, [&](int64_t t) {
    const int64_t end = (t + 1) * share < list.count ? (t + 1) * share : list.count;
    for (int64_t b = t * share; b < end; ++b) {
      const U* slice = from + list.offset("index", b);
      U* target = to + b * width;
      if (width == 1)
        *target = *slice;
      else
        each_run(inner, 0, width, [&](int64_t i, int64_t o, int64_t n) {
          if (step == 1)
            std::memcpy(target + o, slice + i, static_cast<size_t>(n) * sizeof(U));
          else
            for (int64_t k = 0; k < n; ++k) target[o + k] = slice[i + k * step];
        });
    }
  });
}

// out y [B..., inner...] row-major; in x, m indices.
void index(const Call& call) {
  with_size(size_of(call.in[0].dtype),
            [&]<class U>(U) { read_list<U>(call, static_cast<int>(call.attr[0].i)); });
}
WS_KERNEL("index", index)

template <class T>
WS_INLINE T plus(T a, T b) {
  if constexpr (same_type<T, bf16_t>)
    return to_bf16(to_float(a) + to_float(b));
  else if constexpr (same_type<T, f16_t>)
    return to_f16(to_float(a) + to_float(b));
  else if constexpr (same_type<T, bool_t>)
    return {static_cast<uint8_t>((a.bits | b.bits) != 0)};
  else if constexpr (same_type<T, int64_t>)
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  else
    return static_cast<T>(a + b);
}

// What meets in one place meets in the order of the list. Wide slices are cut into strips; narrow
// ones are shared out by the page of memory where they begin, each tile reading the whole list.
template <class T, bool Accumulate>
void write_list(const Call& call, int m) {
  constexpr int64_t kStrip = 1024, kOwners = 4, kPage = 4096;
  const View& x = call.out[0];
  const View& values = call.in[0];
  const IndexList list(x, call.in + 1, m);
  const DimGroup inner = inner_of(x, m, values, values.dims - (x.dims - m));
  DimGroup outer;
  for (int k = 0; k < values.dims - (x.dims - m); ++k) {
    outer.n[k] = values.shape[k], outer.i[k] = values.strides[k], outer.o[k] = 0;
    outer.count *= values.shape[k], ++outer.dims;
  }
  const int64_t width = inner.count;
  if (list.count * width == 0) return;
  const int last = inner.dims - 1;
  const int64_t sx = inner.i[last], sv = inner.o[last];
  const bool strips = width >= 2 * kStrip;
  const int64_t owners = list.count * width < (1 << 15) ? 1 : kOwners;
  const auto first = static_cast<T*>(x.data);
  parallel_for(strips ? (width + kStrip - 1) / kStrip : owners, [&](int64_t t) {
    const int64_t begin = strips ? t * kStrip : 0;
    const int64_t end = strips && begin + kStrip < width ? begin + kStrip : width;
    GroupWalk walk(outer, outer.dims, 0);
    for (int64_t b = 0; b < list.count; ++b, walk.next()) {
      T* slice = first + list.offset("index_put_", b);
      if (!strips && owners > 1 &&
          static_cast<int64_t>(reinterpret_cast<uintptr_t>(slice) / kPage % kOwners) != t)
        continue;
      const T* value = static_cast<const T*>(values.data) + walk.in;
      each_run(inner, begin, end, [&](int64_t i, int64_t o, int64_t n) {
        T* to = slice + i;
        const T* from = value + o;
        for (int64_t k = 0; k < n; ++k)
          to[k * sx] = Accumulate ? plus(to[k * sx], from[k * sv]) : from[k * sv];
      });
    }
  });
}

// out x; in values [B..., inner...] of its dtype, any strides, m indices. attr: m, accumulate.
void index_put(const Call& call) {
  const View& x = call.out[0];
  const int m = static_cast<int>(call.attr[0].i);
  if (call.in[0].dtype != x.dtype) cpu::kernel_refuses("index_put", "two dtypes");
  if (!call.attr[1].i)
    return with_size(size_of(x.dtype), [&]<class U>(U) { write_list<U, false>(call, m); });
  if (!with_type(x.dtype, [&]<class T>(T) { write_list<T, true>(call, m); }))
    cpu::kernel_refuses("index_put", "complex values are not added");
}
WS_KERNEL("index_put", index_put)

WS_KERNELS_END
