// Reading by index.

#include "chips/cpu/kernels/indices.h"
#include "chips/cpu/kernels/reduce_plan.h"
#include "chips/cpu/kernels/stream.h"

WS_KERNELS_BEGIN

constexpr int64_t kTileElements = 1 << 15;

template <class U>
WS_INLINE bool is_large(int64_t elements) {
  return elements * static_cast<int64_t>(sizeof(U)) >= kStreamBytes;
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
  const bool streaming = is_large<U>(outer.count * count * inner) && inner * sizeof(U) >= 256;
  parallel_for(outer.count * tiles, [&](int64_t t) {
    const GroupWalk o(outer, outer.dims, t / tiles);
    const int64_t begin = t % tiles * share, end = begin + share < count ? begin + share : count;
    const U* from = static_cast<const U*>(x.data) + o.in;
    U* to = out + (t / tiles * count + begin) * inner;
    for (int64_t k = begin; k < end; ++k, to += inner) {
      const int64_t at = index_at(index, k * index.strides[0]);
      check_place("index_select", at, x.shape[dim], dim);
      const U* slice = from + at * step;
      if (inner == 1)
        *to = *slice;
      else if (streaming)
        stream_copy(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(slice),
                    inner * static_cast<int64_t>(sizeof(U)));
      else
        std::memcpy(to, slice, static_cast<size_t>(inner) * sizeof(U));
    }
    stream_done();
  });
}

// out [..., count, ...] row-major; in x (elements after `dim` successive), index [count]. attr:
// dim.
void index_select(const Call& call) {
  const int dim = static_cast<int>(call.attr[0].i);
  with_size(size_of(call.in[0].dtype), [&]<class U>(U) { select_slices<U>(call, dim); });
}
WS_KERNEL("index_select", index_select)

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
  // Across rows, strips of a line's width: what a strip picks from stays in the second cache.
  constexpr int64_t kStaged = 512, kLine = 64 / sizeof(U);
  const bool strips = sx != 0 && n >= 4 * kLine && rows >= 64;
  const int64_t width = strips ? kLine : kTileElements, cuts = (n + width - 1) / width;
  const int64_t share = strips ? 4096 : 1 + (kTileElements - 1) / n;
  U* out = static_cast<U*>(call.out[0].data);
  const bool streaming =
      is_large<U>(rows * n) && n >= kStaged && (!strips || (is_line(out) && n % kLine == 0));
  parallel_for((rows + share - 1) / share * cuts, [&](int64_t t) {
    const int64_t first = t / cuts * share, end = first + share < rows ? first + share : rows;
    const int64_t begin = t % cuts * width;
    const int64_t stop = begin + width < n ? begin + width : n;
    GroupWalk a(from, last, first), b(at, last, first);
    for (int64_t r = first; r < end; ++r, a.next(), b.next()) {
      const U* row = static_cast<const U*>(x.data) + a.in;
      const I* places = static_cast<const I*>(index.data) + b.in;
      U* y = out + r * n;
      const auto place = [&](int64_t j) __attribute__((always_inline)) {
        const int64_t at = places[j];
        check_place("gather", at, x.shape[dim], dim);
        return at * step;
      };
      const auto pick = [&](U * to, int64_t from, int64_t to_end) __attribute__((always_inline)) {
        if (sx == 0 && si == 1)
          for (int64_t j = from; j < to_end; ++j) to[j - from] = row[place(j)];
        else
          for (int64_t j = from; j < to_end; ++j) to[j - from] = row[place(j * si) + j * sx];
      };
      if (!streaming) {
        pick(y + begin, begin, stop);
        continue;
      }
      alignas(64) U staged[kStaged];
      for (int64_t j = begin; j < stop; j += kStaged) {
        const int64_t m = stop - j < kStaged ? stop - j : kStaged;
        pick(staged, j, j + m);
        stream_copy(reinterpret_cast<char*>(y + j), reinterpret_cast<const char*>(staged),
                    m * static_cast<int64_t>(sizeof(U)));
      }
    }
    stream_done();
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
