// Picking by a mask, in two steps: nonzero_count counts each tile of 16384 elements, and the others
// write from where the tiles before end. All tensors row-major.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/indices.h"

WS_KERNELS_BEGIN

constexpr int64_t kMaskTile = 1 << 14;

WS_INLINE int64_t elements_of(const View& v) {
  int64_t n = 1;
  for (int k = 0; k < v.dims; ++k) n *= v.shape[k];
  return n;
}

template <class T>
WS_INLINE bool is_set(T v) {
  if constexpr (same_type<T, bf16_t> || same_type<T, f16_t>)
    return (v.bits & 0x7fff) != 0;
  else if constexpr (same_type<T, bool_t>)
    return v.bits != 0;
  else
    return v != 0;
}

// out i64 [tiles]; in x.
void nonzero_count(const Call& call) {
  const View& x = call.in[0];
  const int64_t count = elements_of(x);
  auto* counts = static_cast<int64_t*>(call.out[0].data);
  const bool known = with_type(x.dtype, [&]<class T>(T) {
    const T* v = static_cast<const T*>(x.data);
    parallel_for((count + kMaskTile - 1) / kMaskTile, [&](int64_t t) {
      const int64_t end = (t + 1) * kMaskTile < count ? (t + 1) * kMaskTile : count;
      int32_t n = 0;
      for (int64_t k = t * kMaskTile; k < end; ++k) n += is_set(v[k]);
      counts[t] = n;
    });
  });
  if (!known) cpu::kernel_refuses("nonzero_count", "complex values");
}
WS_KERNEL("nonzero_count", nonzero_count)

// Calls f(tile's first element, its end, how many are set before it, how many in it) for each tile.
template <class F>
void each_tile(const View& x, const View& counts, F&& f) {
  const int64_t count = elements_of(x), tiles = counts.shape[0];
  const auto* n = static_cast<const int64_t*>(counts.data);
  auto* before =
      static_cast<int64_t*>(cpu::scratch(6, static_cast<size_t>(tiles) * sizeof(int64_t)));
  int64_t sum = 0;
  for (int64_t t = 0; t < tiles; ++t) before[t] = sum, sum += n[t];
  parallel_for(tiles, [&](int64_t t) {
    if (n[t] == 0) return;
    f(t * kMaskTile, (t + 1) * kMaskTile < count ? (t + 1) * kMaskTile : count, before[t], n[t]);
  }, Deal::in_turn);  // apart, 1024 x 1024 values take a tenth longer
}

// The coordinates of an element.
struct Coordinates {
  const View& x;
  int64_t at[kMaxDims];
  Coordinates(const View& x, int64_t k) : x(x) {
    for (int d = x.dims - 1; d >= 0; --d) at[d] = k % x.shape[d], k /= x.shape[d];
  }
  WS_INLINE void next() {
    for (int d = x.dims - 1; d >= 0; --d) {
      if (++at[d] < x.shape[d]) return;
      at[d] = 0;
    }
  }
};

// out i64 [n, dims] places; in x, counts.
void nonzero(const Call& call) {
  const View& x = call.in[0];
  auto* places = static_cast<int64_t*>(call.out[0].data);
  const int dims = x.dims;
  with_type(x.dtype, [&]<class T>(T) {
    const T* v = static_cast<const T*>(x.data);
    each_tile(x, call.in[1], [&](int64_t k, int64_t, int64_t before, int64_t n) {
      int64_t* out = places + before * dims;
      // Written for every element, kept where it is set: no branch to guess wrong.
      if (dims == 1) {
        for (int64_t found = 0; found < n; ++k) out[found] = k, found += is_set(v[k]);
        return;
      }
      Coordinates c(x, k);
      if (dims == 2) {
        int64_t row = c.at[0], column = c.at[1];
        for (int64_t found = 0; found < n; ++k) {
          out[2 * found] = row, out[2 * found + 1] = column;
          found += is_set(v[k]);
          if (++column == x.shape[1]) column = 0, ++row;
        }
        return;
      }
      for (int64_t found = 0; found < n; ++k, c.next()) {
        if (!is_set(v[k])) continue;
        for (int d = 0; d < dims; ++d) out[found * dims + d] = c.at[d];
        ++found;
      }
    });
  });
}
WS_KERNEL("nonzero", nonzero)

// out [n]; in x, bool mask of its shape, counts of the mask.
void masked_select(const Call& call) {
  const auto* mask = static_cast<const uint8_t*>(call.in[1].data);
  with_size(size_of(call.in[0].dtype), [&]<class U>(U) {
    const U* x = static_cast<const U*>(call.in[0].data);
    U* y = static_cast<U*>(call.out[0].data);
    each_tile(call.in[1], call.in[2], [&](int64_t k, int64_t, int64_t before, int64_t n) {
      for (int64_t found = 0; found < n; ++k) y[before + found] = x[k], found += mask[k] != 0;
    });
  });
}
WS_KERNEL("masked_select", masked_select)

// out x; in source, bool mask of the shape of x, counts of the mask. The places of the mask take
// the elements of source in their order.
void masked_scatter(const Call& call) {
  const auto* mask = static_cast<const uint8_t*>(call.in[1].data);
  with_size(size_of(call.out[0].dtype), [&]<class U>(U) {
    U* x = static_cast<U*>(call.out[0].data);
    const U* source = static_cast<const U*>(call.in[0].data);
    each_tile(call.in[1], call.in[2], [&](int64_t k, int64_t end, int64_t before, int64_t) {
      for (int64_t found = before; k < end; ++k)
        if (mask[k]) x[k] = source[found++];
    });
  });
}
WS_KERNEL("masked_scatter", masked_scatter)

WS_KERNELS_END
