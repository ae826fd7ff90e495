// Picking by index. What is added twice to one place is added in the order of the index: work is
// cut along the other dimensions alone.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/reduce_plan.h"

WS_KERNELS_BEGIN

constexpr int64_t kTileElements = 1 << 15;

WS_INLINE int64_t index_at(const View& index, int64_t at) {
  return index.dtype == DType::i64 ? static_cast<const int64_t*>(index.data)[at]
                                   : static_cast<const int32_t*>(index.data)[at];
}

// Calls f with an unsigned value of `size` bytes.
template <class F>
WS_INLINE void with_size(size_t size, F&& f) {
  switch (size) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

// x [outer, N, inner] with `inner` successive elements, out [outer, count, inner] row-major.
template <class U>
void select_slices(const Call& call, int dim) {
  const View& x = call.in[0];
  const View& index = call.in[1];
  DimGroup outer;
  int64_t inner = 1;
  for (int k = 0; k < dim; ++k)
    outer.n[k] = x.shape[k], outer.i[k] = x.strides[k], outer.o[k] = 0, outer.count *= x.shape[k];
  outer.dims = dim;
  for (int k = dim + 1; k < x.dims; ++k) inner *= x.shape[k];
  const int64_t count = index.shape[0], step = x.strides[dim];
  if (outer.count * count * inner == 0) return;
  const int64_t share = 1 + (kTileElements - 1) / inner, tiles = (count + share - 1) / share;
  U* out = static_cast<U*>(call.out[0].data);
  parallel_for(outer.count * tiles, [&](int64_t t) {
    const GroupWalk o(outer, outer.dims, t / tiles);
    const int64_t begin = t % tiles * share, end = begin + share < count ? begin + share : count;
    const U* from = static_cast<const U*>(x.data) + o.in;
    U* to = out + (t / tiles * count + begin) * inner;
    for (int64_t k = begin; k < end; ++k, to += inner) {
      const U* slice = from + index_at(index, k * index.strides[0]) * step;
      if (inner == 1)
        *to = *slice;
      else
        std::memcpy(to, slice, static_cast<size_t>(inner) * sizeof(U));
    }
  });
}

// out [..., count, ...] row-major; in x (elements after `dim` successive), index [count]. attr:
// dim.
void index_select(const Call& call) {
  const int dim = static_cast<int>(call.attr[0].i);
  with_size(size_of(call.in[0].dtype), [&]<class U>(U) { select_slices<U>(call, dim); });
}
WS_KERNEL("index_select", index_select)

template <class T>
WS_INLINE T added(T a, T b) {
  if constexpr (same_type<T, bf16_t>)
    return to_bf16(to_float(a) + to_float(b));
  else if constexpr (same_type<T, f16_t>)
    return to_f16(to_float(a) + to_float(b));
  else
    return a + b;
}

// out x, in place; in index, source: element [..., k, ...] of source goes to x [..., index, ...].
// With index of the source's shape (scatter_add) or 1-d along `dim` (index_add): `index_strides`
// says which.
template <class T>
void add_at(const View& x, const View& index, const int64_t* index_strides, const View& source,
            int dim) {
  // Lines along dim; the innermost other dimension is walked inside, in strips.
  int inner = -1;
  for (int k = source.dims - 1; k >= 0 && inner < 0; --k)
    if (k != dim && source.shape[k] > 1) inner = k;
  constexpr int64_t kStrip = 256;
  const int64_t width = inner < 0 ? 1 : source.shape[inner], strips = (width + kStrip - 1) / kStrip;
  DimGroup to, from, at;
  for (int k = 0; k < source.dims; ++k) {
    if (k == dim || k == inner) continue;
    to.n[to.dims] = from.n[to.dims] = at.n[to.dims] = source.shape[k];
    to.i[to.dims] = x.strides[k], from.i[to.dims] = source.strides[k],
    at.i[to.dims] = index_strides[k];
    to.o[to.dims] = from.o[to.dims] = at.o[to.dims] = 0;
    to.count *= source.shape[k];
    ++to.dims, ++from.dims, ++at.dims;
  }
  const int64_t n = source.shape[dim];
  if (to.count * n * width == 0) return;
  const int64_t sx = inner < 0 ? 0 : x.strides[inner], ss = inner < 0 ? 0 : source.strides[inner];
  const int64_t si = inner < 0 ? 0 : index_strides[inner];
  parallel_for(to.count * strips, [&](int64_t t) {
    const GroupWalk a(to, to.dims, t / strips), b(from, from.dims, t / strips),
        c(at, at.dims, t / strips);
    const int64_t begin = t % strips * kStrip,
                  end = begin + kStrip < width ? begin + kStrip : width;
    for (int64_t k = 0; k < n; ++k) {
      const T* s = static_cast<const T*>(source.data) + b.in + k * source.strides[dim];
      T* y = static_cast<T*>(x.data) + a.in;
      const int64_t place = c.in + k * index_strides[dim];
      if (si == 0) {
        y += index_at(index, place) * x.strides[dim];
        if (sx == 1 && ss == 1)
          for (int64_t j = begin; j < end; ++j) y[j] = added(y[j], s[j]);
        else
          for (int64_t j = begin; j < end; ++j) y[j * sx] = added(y[j * sx], s[j * ss]);
      } else {
        for (int64_t j = begin; j < end; ++j) {
          T& v = y[j * sx + index_at(index, place + j * si) * x.strides[dim]];
          v = added(v, s[j * ss]);
        }
      }
    }
  });
}

void add_with(const char* name, const Call& call, const int64_t* index_strides) {
  const View& x = call.out[0];
  const View& source = call.in[1];
  if (!is_float(x.dtype) || source.dtype != x.dtype)
    cpu::kernel_refuses(name, "x and source are floating and of one dtype");
  with_type(x.dtype, [&]<class T>(T) {
    if constexpr (same_type<T, double> || same_type<T, float> || same_type<T, bf16_t> ||
                  same_type<T, f16_t>)
      add_at<T>(x, call.in[0], index_strides, source, static_cast<int>(call.attr[0].i));
  });
}

// out x; in index [count], source. attr: dim.
void index_add(const Call& call) {
  int64_t strides[kMaxDims] = {};
  strides[call.attr[0].i] = call.in[0].strides[0];
  add_with("index_add", call, strides);
}
WS_KERNEL("index_add", index_add)

// out x; in index, source of its shape. attr: dim.
void scatter_add(const Call& call) { add_with("scatter_add", call, call.in[0].strides); }
WS_KERNEL("scatter_add", scatter_add)

// out row-major of index's shape; in x, index. attr: dim.
template <class U, class I>
void gather_as(const Call& call, int dim) {
  const View& x = call.in[0];
  const View& index = call.in[1];
  const int last = index.dims - 1;
  DimGroup from, at;
  for (int k = 0; k < last; ++k) {
    from.n[k] = at.n[k] = index.shape[k];
    from.i[k] = k == dim ? 0 : x.strides[k], at.i[k] = index.strides[k];
    from.o[k] = at.o[k] = 0;
    from.count *= index.shape[k];
  }
  from.dims = at.dims = last;
  const int64_t n = index.shape[last], rows = from.count;
  if (n * rows == 0) return;
  const int64_t step = x.strides[dim], sx = dim == last ? 0 : x.strides[last],
                si = index.strides[last];
  const int64_t cuts = (n + kTileElements - 1) / kTileElements, share = 1 + (kTileElements - 1) / n;
  U* out = static_cast<U*>(call.out[0].data);
  parallel_for((rows + share - 1) / share * cuts, [&](int64_t t) {
    const int64_t first = t / cuts * share, end = first + share < rows ? first + share : rows;
    const int64_t begin = t % cuts * kTileElements;
    const int64_t stop = begin + kTileElements < n ? begin + kTileElements : n;
    GroupWalk a(from, last, first), b(at, last, first);
    for (int64_t r = first; r < end; ++r, a.next(), b.next()) {
      const U* row = static_cast<const U*>(x.data) + a.in;
      const I* places = static_cast<const I*>(index.data) + b.in;
      U* y = out + r * n;
      if (sx == 0 && si == 1)
        for (int64_t j = begin; j < stop; ++j) y[j] = row[places[j] * step];
      else
        for (int64_t j = begin; j < stop; ++j) y[j] = row[places[j * si] * step + j * sx];
    }
  });
}

void gather(const Call& call) {
  const int dim = static_cast<int>(call.attr[0].i);
  with_size(size_of(call.in[0].dtype), [&]<class U>(U) {
    if (call.in[1].dtype == DType::i64)
      gather_as<U, int64_t>(call, dim);
    else
      gather_as<U, int32_t>(call, dim);
  });
}
WS_KERNEL("gather", gather)

WS_KERNELS_END
