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

// y[k] = at(k), element by element: vectors put together from single elements are slower.
template <class U, class At>
WS_INLINE void pick(U* y, int64_t n, At at) {
#pragma GCC unroll 4
  for (int64_t k = 0; k < n; ++k) {
    y[k] = at(k);
    asm volatile("");
  }
}

// x [outer, N], out [outer, count] row-major: a block of indices for many rows.
template <class U>
void select_elements(const Call& call, const DimGroup& outer, int dim) {
  constexpr int64_t kRows = 64;
  const View& x = call.in[0];
  const View& index = call.in[1];
  const int64_t count = index.shape[0], step = x.strides[dim],
                blocks = (count + kIndexBlock - 1) / kIndexBlock;
  U* out = static_cast<U*>(call.out[0].data);
  const bool streaming = is_large<U>(outer.count * count) && count >= 64;
  parallel_for((outer.count + kRows - 1) / kRows * blocks, [&](int64_t t) {
    const int64_t begin = t % blocks * kIndexBlock, first = t / blocks * kRows;
    const int64_t n = count - begin < kIndexBlock ? count - begin : kIndexBlock,
                  end = first + kRows < outer.count ? first + kRows : outer.count;
    int64_t buffer[kIndexBlock];
    const int64_t* places = checked_places("index_select", index, begin * index.strides[0],
                                           index.strides[0], n, x.shape[dim], dim, buffer);
    GroupWalk o(outer, outer.dims, first);
    for (int64_t r = first; r < end; ++r, o.next()) {
      const U* row = static_cast<const U*>(x.data) + o.in;
      U* to = out + r * count + begin;
      alignas(64) U staged[kIndexBlock];
      U* y = streaming ? staged : to;
      if (step == 1)
        pick(y, n, [&](int64_t j) { return row[places[j]]; });
      else
        pick(y, n, [&](int64_t j) { return row[places[j] * step]; });
      if (streaming)
        stream_copy(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(staged),
                    n * static_cast<int64_t>(sizeof(U)));
    }
    stream_done();
  });
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
  if (inner == 1) return select_elements<U>(call, outer, dim);
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
      if (streaming)
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

// `count` columns, side by side in rows of `width`, that gather() picks from when it goes across
// rows: copied once, so that their lines, a row apart, do not push one another out of the caches.
template <class U>
const U* packed_strip(const U* x, int64_t extent, int64_t step, int64_t width, int64_t count) {
  U* strip = static_cast<U*>(cpu::scratch(0, static_cast<size_t>(extent * width) * sizeof(U)));
  for (int64_t k = 0; k < extent; ++k)
    std::memcpy(strip + k * width, x + k * step, static_cast<size_t>(count) * sizeof(U));
  return strip;
}

// out row-major of index's shape; in x, index. attr: dim.
template <class U>
void gather_as(const Call& call, int dim) {
  const View& x = call.in[0];
  const View& index = call.in[1];
  const int last = index.dims - 1;
  DimGroup from, at;
  bool one_strip = dim != last;  // nothing but `dim` before the last dimension
  for (int k = 0; k < last; ++k) {
    from.n[k] = at.n[k] = index.shape[k];
    from.i[k] = k == dim ? 0 : x.strides[k], at.i[k] = index.strides[k];
    from.o[k] = at.o[k] = 0;
    from.count *= index.shape[k];
    one_strip &= k == dim || index.shape[k] == 1;
  }
  from.dims = at.dims = last;
  const int64_t n = index.shape[last], rows = from.count;
  if (n * rows == 0) return;
  const int64_t extent = x.shape[dim], step = x.strides[dim],
                sx = dim == last ? 0 : x.strides[last], si = index.strides[last];
  // Across rows, strips of some lines' width: what a strip picks from stays in the second cache.
  constexpr int64_t kLine = 64 / sizeof(U), kStripBytes = 1 << 17;
  const bool strips = sx != 0 && n >= 4 * kLine && rows >= 64;
  const bool packs = strips && one_strip && sx == 1 && extent <= 4096 && extent <= 4 * rows;
  int64_t width = strips ? kLine : kTileElements;
  int bits = __builtin_ctzll(kLine);
  while (packs && 2 * width * extent * static_cast<int64_t>(sizeof(U)) <= kStripBytes && width < n)
    width *= 2, ++bits;
  const int64_t cuts = (n + width - 1) / width;
  const int64_t share = strips ? 4096 : 1 + (kTileElements - 1) / n;
  constexpr int64_t kRowsAhead = 4;
  const auto index_size = static_cast<int64_t>(size_of(index.dtype));
  U* out = static_cast<U*>(call.out[0].data);
  const bool streaming =
      is_large<U>(rows * n) && n >= kIndexBlock && (!strips || (is_line(out) && n % kLine == 0));
  parallel_for((rows + share - 1) / share * cuts, [&](int64_t t) {
    const int64_t first = t / cuts * share, end = first + share < rows ? first + share : rows;
    const int64_t begin = t % cuts * width;
    const int64_t stop = begin + width < n ? begin + width : n;
    GroupWalk a(from, last, first), b(at, last, first);
    int64_t buffer[kIndexBlock];
    alignas(64) U staged[kIndexBlock];
    int64_t apart = step, beside = sx;
    const U* strip = nullptr;
    if (packs) {
      strip =
          packed_strip(static_cast<const U*>(x.data) + begin, extent, step, width, stop - begin);
      apart = width;
    }
    for (int64_t r = first; r < end; ++r, a.next(), b.next()) {
      const U* row = strip ? strip - begin : static_cast<const U*>(x.data) + a.in;
      if (strip && si == 1 && r + kRowsAhead < end) {
        const char* next = static_cast<const char*>(index.data) +
                           (b.in + kRowsAhead * index.strides[dim] + begin) * index_size;
        for (int64_t k = 0; k < (stop - begin) * index_size; k += 64) __builtin_prefetch(next + k);
      }
      for (int64_t j = begin; j < stop; j += kIndexBlock) {
        const int64_t m = stop - j < kIndexBlock ? stop - j : kIndexBlock;
        const int64_t* places =
            checked_places("gather", index, b.in + j * si, si, m, extent, dim, buffer);
        U* to = out + r * n + j;
        U* y = streaming ? staged : to;
        if (beside == 0 && apart == 1)
          pick(y, m, [&](int64_t k) { return row[places[k]]; });
        else if (strip)
          pick(y, m, [&](int64_t k) { return row[(places[k] << bits) + j + k]; });
        else
          pick(y, m, [&](int64_t k) { return row[places[k] * apart + (j + k) * beside]; });
        if (streaming)
          stream_copy(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(staged),
                      m * static_cast<int64_t>(sizeof(U)));
      }
    }
    stream_done();
  });
}

void gather(const Call& call) {
  const int dim = static_cast<int>(call.attr[0].i);
  with_size(size_of(call.in[0].dtype), [&]<class U>(U) { gather_as<U>(call, dim); });
}
WS_KERNEL("gather", gather)

WS_KERNELS_END
