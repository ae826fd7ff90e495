// Writing by index along one dimension: out x, in place; in index, source; attr dim. Element
// [..., k, ...] of source goes to x [..., index, ...]. What meets in one place meets in the order
// of the index: work is cut along the other dimensions alone.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/indices.h"
#include "chips/cpu/kernels/reduce_plan.h"

WS_KERNELS_BEGIN

// What is done with the value that was there (a) and the one that comes (b).
struct Replace {
  template <class T>
  static WS_INLINE T number(T, T b) {
    return b;
  }
};
struct Add {
  template <class T>
  static WS_INLINE T number(T a, T b) {
    return static_cast<T>(a + b);
  }
};
struct Multiply {
  template <class T>
  static WS_INLINE T number(T a, T b) {
    return static_cast<T>(a * b);
  }
};
struct Maximum {  // NaN wins
  template <class T>
  static WS_INLINE T number(T a, T b) {
    return a != a || a >= b ? a : b;
  }
};
struct Minimum {
  template <class T>
  static WS_INLINE T number(T a, T b) {
    return a != a || a <= b ? a : b;
  }
};
template <class F, class T>
WS_INLINE T met(T a, T b) {
  if constexpr (same_type<F, Replace>)
    return b;
  else if constexpr (same_type<T, bf16_t>)
    return to_bf16(F::number(to_float(a), to_float(b)));
  else if constexpr (same_type<T, f16_t>)
    return to_f16(F::number(to_float(a), to_float(b)));
  else if constexpr (same_type<T, bool_t>)
    return {static_cast<uint8_t>(F::number(a.bits != 0, b.bits != 0) != 0)};
  else if constexpr (same_type<T, int64_t>)
    return same_type<F, Add> || same_type<F, Multiply>
               ? static_cast<T>(F::number(static_cast<uint64_t>(a), static_cast<uint64_t>(b)))
               : F::number(a, b);
  else
    return F::number(a, b);
}

// The dimensions other than `dim` and `inner`, for x, source and index alike.
struct Lines {
  DimGroup x, source, index;
  Lines(const View& to, const View& from, const int64_t* index_strides, int dim, int inner) {
    for (int k = 0; k < from.dims; ++k) {
      if (k == dim || k == inner) continue;
      const int d = x.dims++;
      ++source.dims, ++index.dims;
      x.n[d] = source.n[d] = index.n[d] = from.shape[k];
      x.i[d] = to.strides[k], source.i[d] = from.strides[k], index.i[d] = index_strides[k];
      x.o[d] = source.o[d] = index.o[d] = 0;
      x.count *= from.shape[k], source.count *= from.shape[k], index.count *= from.shape[k];
    }
  }
};

struct Scatter {
  const char* name;
  const View& x;
  const View& index;
  const View& source;
  const int64_t* index_strides;
  int dim;
};

// Line after line: for lines whose own elements lie closest.
template <class F, class T>
void write_lines(const Scatter& s) {
  const Lines lines(s.x, s.source, s.index_strides, s.dim, -1);
  const int64_t n = s.source.shape[s.dim], sx = s.x.strides[s.dim], ss = s.source.strides[s.dim],
                si = s.index_strides[s.dim], extent = s.x.shape[s.dim];
  const int64_t share = 1 + ((1 << 14) - 1) / n;
  parallel_for((lines.x.count + share - 1) / share, [&](int64_t t) {
    GroupWalk a(lines.x, lines.x.dims, t * share), b(lines.source, lines.source.dims, t * share),
        c(lines.index, lines.index.dims, t * share);
    const int64_t end = (t + 1) * share < lines.x.count ? (t + 1) * share : lines.x.count;
    for (int64_t r = t * share; r < end; ++r, a.next(), b.next(), c.next()) {
      T* y = static_cast<T*>(s.x.data) + a.in;
      const T* v = static_cast<const T*>(s.source.data) + b.in;
      int64_t buffer[kIndexBlock];
      for (int64_t begin = 0; begin < n; begin += kIndexBlock) {
        const int64_t m = n - begin < kIndexBlock ? n - begin : kIndexBlock;
        const int64_t* places =
            checked_places(s.name, s.index, c.in + begin * si, si, m, extent, s.dim, buffer);
        const T* from = v + begin * ss;
        if (sx == 1 && ss == 1)
          for (int64_t k = 0; k < m; ++k) y[places[k]] = met<F>(y[places[k]], from[k]);
        else
          for (int64_t k = 0; k < m; ++k)
            y[places[k] * sx] = met<F>(y[places[k] * sx], from[k * ss]);
      }
    }
  });
}

// Many lines side by side, in strips of the innermost other dimension.
template <class F, class T>
void write_strips(const Scatter& s, int inner) {
  const int dim = s.dim;
  const int64_t sx = s.x.strides[inner], ss = s.source.strides[inner], si = s.index_strides[inner];
  // Where each element has its place, a line's width: what is written then stays in the second
  // cache.
  const int64_t strip = si == 0 ? 256 : 64 / static_cast<int64_t>(sizeof(T));
  const int64_t width = s.source.shape[inner], strips = (width + strip - 1) / strip;
  const Lines lines(s.x, s.source, s.index_strides, dim, inner);
  const int64_t n = s.source.shape[dim], extent = s.x.shape[dim];
  parallel_for(lines.x.count * strips, [&](int64_t t) {
    const GroupWalk a(lines.x, lines.x.dims, t / strips),
        b(lines.source, lines.source.dims, t / strips),
        c(lines.index, lines.index.dims, t / strips);
    const int64_t begin = t % strips * strip, end = begin + strip < width ? begin + strip : width;
    for (int64_t k = 0; k < n; ++k) {
      const T* v = static_cast<const T*>(s.source.data) + b.in + k * s.source.strides[dim];
      T* y = static_cast<T*>(s.x.data) + a.in;
      const int64_t place = c.in + k * s.index_strides[dim];
      if (si == 0) {
        const int64_t at = index_at(s.index, place);
        check_place(s.name, at, extent, dim);
        y += at * s.x.strides[dim];
        if (sx == 1 && ss == 1)
          for (int64_t j = begin; j < end; ++j) y[j] = met<F>(y[j], v[j]);
        else
          for (int64_t j = begin; j < end; ++j) y[j * sx] = met<F>(y[j * sx], v[j * ss]);
      } else {
        for (int64_t j = begin; j < end; ++j) {
          const int64_t at = index_at(s.index, place + j * si);
          check_place(s.name, at, extent, dim);
          T& to = y[j * sx + at * s.x.strides[dim]];
          to = met<F>(to, v[j * ss]);
        }
      }
    }
  });
}

template <class F, class T>
void write_at(const Scatter& s) {
  int inner = -1;
  for (int k = s.source.dims - 1; k >= 0 && inner < 0; --k)
    if (k != s.dim && s.source.shape[k] > 1) inner = k;
  for (int k = 0; k < s.source.dims; ++k)
    if (s.source.shape[k] == 0) return;
  if (inner < 0 || step_size(s.x.strides[s.dim]) < step_size(s.x.strides[inner]))
    write_lines<F, T>(s);
  else
    write_strips<F, T>(s, inner);
}

template <class F>
void write_typed(const Scatter& s) {
  bool known = s.source.dtype == s.x.dtype;
  if constexpr (same_type<F, Replace>)
    with_size(size_of(s.x.dtype), [&]<class U>(U) { write_at<F, U>(s); });
  else
    known &= with_type(s.x.dtype, [&]<class T>(T) { write_at<F, T>(s); });
  if (!known) cpu::kernel_refuses(s.name, "complex values, or two dtypes");
}

// index of the source's shape.
template <class F>
void by_place(const char* name, const Call& call) {
  write_typed<F>({name, call.out[0], call.in[0], call.in[1], call.in[0].strides,
                  static_cast<int>(call.attr[0].i)});
}
// index 1-d, along dim.
template <class F>
void by_slice(const char* name, const Call& call) {
  int64_t strides[kMaxDims] = {};
  strides[call.attr[0].i] = call.in[0].strides[0];
  write_typed<F>(
      {name, call.out[0], call.in[0], call.in[1], strides, static_cast<int>(call.attr[0].i)});
}

void scatter(const Call& call) { by_place<Replace>("scatter", call); }
void scatter_add(const Call& call) { by_place<Add>("scatter_add", call); }
void scatter_prod(const Call& call) { by_place<Multiply>("scatter_prod", call); }
void scatter_amax(const Call& call) { by_place<Maximum>("scatter_amax", call); }
void scatter_amin(const Call& call) { by_place<Minimum>("scatter_amin", call); }
void index_copy(const Call& call) { by_slice<Replace>("index_copy", call); }
void index_add(const Call& call) { by_slice<Add>("index_add", call); }
WS_KERNEL("scatter", scatter)
WS_KERNEL("scatter_add", scatter_add)
WS_KERNEL("scatter_prod", scatter_prod)
WS_KERNEL("scatter_amax", scatter_amax)
WS_KERNEL("scatter_amin", scatter_amin)
WS_KERNEL("index_copy", index_copy)
WS_KERNEL("index_add", index_add)

WS_KERNELS_END
