// Running sums, products, extremes along one dimension. out row-major; attr {dim, reverse}: reverse
// begins at the end. f32 runs in f64, the 16-bit floats in f32, integers in i64.
//
// Lines along a dimension whose elements follow each other are scanned a chunk at a time, in
// vectors: prefixes inside a vector by shifting, then one operation carries on. Long ones are cut
// into pieces, whose totals come first. Other lines are scanned many at once, side by side.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/reduce_plan.h"
#include "chips/cpu/kernels/stream.h"
#include "chips/cpu/vector_math.h"

WS_KERNELS_BEGIN

constexpr int64_t kScanChunk = 512, kScanPiece = 1 << 16, kScanColumns = 512;

struct SumScan {
  static constexpr int kStart = 0;
  template <class V>
  static WS_INLINE V join(V a, V b) {
    return a + b;
  }
};
struct ProductScan {
  static constexpr int kStart = 1;
  template <class V>
  static WS_INLINE V join(V a, V b) {
    return a * b;
  }
};
// Integers wrap.
template <class F>
WS_INLINE int64_t joined(int64_t a, int64_t b) {
  return static_cast<int64_t>(F::join(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
}
template <class F, class W>
WS_INLINE W joined(W a, W b) {
  return F::join(a, b);
}

// v with its lanes moved by K towards the end (the start, when reverse) and `fill` where none came.
template <int K, bool Reverse, class V, size_t... I>
WS_INLINE V shifted(V v, V fill, std::index_sequence<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(
      v, fill,
      (Reverse ? (static_cast<int>(I) + K < n ? static_cast<int>(I) + K : n)
               : (static_cast<int>(I) >= K ? static_cast<int>(I) - K : n))...);
}
template <bool Reverse, class V, size_t... I>
WS_INLINE V last_lane(V v, std::index_sequence<I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(v, v, (static_cast<void>(I), Reverse ? 0 : n - 1)...);
}

// Scans n values in place, beginning with `carry` (from the end when reverse); returns the last.
template <class F, bool Reverse, class W>
WS_INLINE W scan_chunk(W* x, int64_t n, W carry) {
  using V = native<W>;
  using U = typename NativeOf<W>::unaligned;
  constexpr int L = kWidth<W>;
  constexpr auto lanes = std::make_index_sequence<L>();
  const int64_t whole = n / L * L;
  if (Reverse)
    for (int64_t k = n - 1; k >= whole; --k) carry = x[k] = joined<F>(carry, x[k]);
  const V start = V{} + static_cast<W>(F::kStart);
  V c = V{} + carry;
  for (int64_t k = 0; k < whole; k += L) {
    U* at = reinterpret_cast<U*>(x + (Reverse ? whole - L - k : k));
    V v = *at;
    v = F::join(v, shifted<1, Reverse>(v, start, lanes));
    if constexpr (L > 2) v = F::join(v, shifted<2, Reverse>(v, start, lanes));
    if constexpr (L > 4) v = F::join(v, shifted<4, Reverse>(v, start, lanes));
    if constexpr (L > 8) v = F::join(v, shifted<8, Reverse>(v, start, lanes));
    *at = F::join(c, v);
    c = F::join(c, last_lane<Reverse>(v, lanes));
  }
  carry = c[0];
  if (!Reverse)
    for (int64_t k = whole; k < n; ++k) carry = x[k] = joined<F>(carry, x[k]);
  return carry;
}

template <class W>
struct ScanWork {
  const char* in;
  char* out;
  int64_t in_size, out_size, step;  // bytes of an element; elements between those of a line of `in`
  LoadRow<W> load;
  StoreRow<W> store;
  bool streaming;

  // n results to place `at` of out; at most kScanChunk.
  WS_INLINE void put(int64_t at, int64_t n, const W* values) const {
    if (!streaming) return store(out + at * out_size, 1, n, values);
    alignas(64) char staged[kScanChunk * 8];
    store(staged, 1, n, values);
    stream_copy(out + at * out_size, staged, n * out_size);
  }
};

// Elements [begin, end) of the line whose first elements are at base (in) and place (out). Writes
// when `put`.
template <class F, bool Reverse, class W>
W scan_piece(const ScanWork<W>& w, int64_t base, int64_t place, int64_t begin, int64_t end, W carry,
             bool put) {
  alignas(64) W buffer[kScanChunk];
  const int64_t chunks = (end - begin + kScanChunk - 1) / kScanChunk;
  for (int64_t q = 0; q < chunks; ++q) {
    const int64_t k = begin + (Reverse ? chunks - 1 - q : q) * kScanChunk;
    const int64_t n = end - k < kScanChunk ? end - k : kScanChunk;
    const W* x = w.load(w.in + (base + k * w.step) * w.in_size, w.step, n, buffer);
    if (x != buffer) std::memcpy(buffer, x, static_cast<size_t>(n) * sizeof(W));
    carry = scan_chunk<F, Reverse>(buffer, n, carry);
    if (put) w.put(place + k, n, buffer);
  }
  return carry;
}

// Lines along the last dimension: line r begins at place r * n of out.
template <class F, bool Reverse, class W>
void scan_along(const ScanWork<W>& w, const DimGroup& rows, int64_t n) {
  constexpr W kStart = F::kStart;
  if (n <= kScanPiece) {
    const int64_t share = 1 + ((1 << 15) - 1) / n;
    parallel_for((rows.count + share - 1) / share, [&](int64_t t) {
      const int64_t end = (t + 1) * share < rows.count ? (t + 1) * share : rows.count;
      GroupWalk walk(rows, rows.dims, t * share);
      for (int64_t r = t * share; r < end; ++r, walk.next())
        scan_piece<F, Reverse>(w, walk.in, r * n, 0, n, kStart, true);
      stream_done();
    });
    return;
  }
  const int64_t pieces = (n + kScanPiece - 1) / kScanPiece;
  W* totals =
      static_cast<W*>(cpu::scratch(6, static_cast<size_t>(rows.count * pieces) * sizeof(W)));
  const auto each = [&](auto&& f) {
    parallel_for(rows.count * pieces, [&](int64_t t) {
      const int64_t begin = t % pieces * kScanPiece;
      const GroupWalk walk(rows, rows.dims, t / pieces);
      f(t, walk.in, t / pieces * n, begin, begin + kScanPiece < n ? begin + kScanPiece : n);
    });
  };
  each([&](int64_t t, int64_t base, int64_t place, int64_t begin, int64_t end) {
    totals[t] = scan_piece<F, Reverse>(w, base, place, begin, end, kStart, false);
  });
  for (int64_t r = 0; r < rows.count; ++r) {
    W carry = kStart;
    for (int64_t q = 0; q < pieces; ++q) {
      W& total = totals[r * pieces + (Reverse ? pieces - 1 - q : q)];
      const W next = joined<F>(carry, total);
      total = carry, carry = next;
    }
  }
  each([&](int64_t t, int64_t base, int64_t place, int64_t begin, int64_t end) {
    scan_piece<F, Reverse>(w, base, place, begin, end, totals[t], true);
    stream_done();
  });
}

// Lines side by side: `width` of them, `across` elements apart in `in`, next to each other in out.
template <class F, bool Reverse, class W>
void scan_across(const ScanWork<W>& w, const DimGroup& outer, int64_t n, int64_t width,
                 int64_t across) {
  const int64_t strips = (width + kScanColumns - 1) / kScanColumns;
  parallel_for(outer.count * strips, [&](int64_t t) {
    const GroupWalk walk(outer, outer.dims, t / strips);
    const int64_t at = t % strips * kScanColumns;
    const int64_t m = width - at < kScanColumns ? width - at : kScanColumns;
    alignas(64) W buffer[kScanColumns], sums[kScanColumns];
    for (int64_t j = 0; j < m; ++j) sums[j] = F::kStart;
    for (int64_t q = 0; q < n; ++q) {
      const int64_t k = Reverse ? n - 1 - q : q;
      const W* x =
          w.load(w.in + (walk.in + k * w.step + at * across) * w.in_size, across, m, buffer);
      for (int64_t j = 0; j < m; ++j) sums[j] = joined<F>(sums[j], x[j]);
      w.put(walk.out + k * width + at, m, sums);
    }
    stream_done();
  });
}

template <class F, class W>
void scan_as(const Call& call) {
  const View& y = call.out[0];
  const View& x = call.in[0];
  const int dim = static_cast<int>(call.attr[0].i);
  const bool reverse = call.attr[1].i != 0;
  ScanWork<W> w{static_cast<const char*>(x.data),
                static_cast<char*>(y.data),
                static_cast<int64_t>(size_of(x.dtype)),
                static_cast<int64_t>(size_of(y.dtype)),
                x.strides[dim],
                loader<W>(x.dtype),
                storer<W>(y.dtype),
                false};
  if (!w.load || !w.store) cpu::kernel_refuses("scan", "complex values");
  // Dimensions before `dim`, and those after it as one when they are seamless, else the last alone.
  DimGroup outer;
  const int64_t n = x.shape[dim];
  int64_t place = 1, width = 1, across = 0;
  int first = x.dims;
  for (int k = x.dims - 1; k > dim; --k) {
    if (x.shape[k] != 1 && width != 1 && x.strides[k] != width * across) break;
    if (x.shape[k] != 1 && width == 1) across = x.strides[k];
    width *= x.shape[k], first = k;
  }
  // What could not be joined is walked; its places in out are no longer those of whole lines.
  const bool joined_all = first == dim + 1 || dim == x.dims - 1;
  if (!joined_all) cpu::kernel_refuses("scan", "dimensions after the scanned one have gaps");
  for (int k = dim; k < x.dims; ++k) place *= x.shape[k];
  for (int k = dim - 1; k >= 0; --k) {
    outer.n[k] = x.shape[k], outer.i[k] = x.strides[k], outer.o[k] = place;
    place *= x.shape[k], outer.count *= x.shape[k];
  }
  outer.dims = dim;
  if (place == 0) return;
  w.streaming = place * w.out_size >= kStreamBytes && (width == 1 ? n : width) >= kScanChunk;
  if (width == 1)
    reverse ? scan_along<F, true>(w, outer, n) : scan_along<F, false>(w, outer, n);
  else
    reverse ? scan_across<F, true>(w, outer, n, width, across)
            : scan_across<F, false>(w, outer, n, width, across);
}

template <class F>
void scan(const Call& call) {
  const DType x = call.in[0].dtype, y = call.out[0].dtype;
  if (!is_float(y))
    scan_as<F, int64_t>(call);
  else if (x == DType::bf16 || x == DType::f16)
    scan_as<F, float>(call);
  else
    scan_as<F, double>(call);
}
void scan_sum(const Call& call) { scan<SumScan>(call); }
void scan_prod(const Call& call) { scan<ProductScan>(call); }
WS_KERNEL("scan_sum", scan_sum)
WS_KERNEL("scan_prod", scan_prod)

// Successive elements of a line: the first one's number in it, and their places in out.
struct Steps {
  int64_t n, first, place, step;
  bool reverse;
};

// Lines by chunks, for scans that keep more than a number. Run: (state, values, where).
template <class W, class State, class Begin, class Run>
void scan_lines(const Call& call, Begin begin, Run run) {
  const View& x = call.in[0];
  const int dim = static_cast<int>(call.attr[0].i);
  const bool reverse = call.attr[1].i != 0;
  const LoadRow<W> load = loader<W>(x.dtype);
  if (!load) cpu::kernel_refuses("scan", "complex values");
  DimGroup lines;
  int64_t place = 1, inner = 1;
  for (int k = x.dims - 1; k >= 0; --k) {
    lines.n[k] = k == dim ? 1 : x.shape[k];
    lines.i[k] = x.strides[k], lines.o[k] = place;
    lines.count *= lines.n[k], place *= x.shape[k];
    if (k > dim) inner *= x.shape[k];
  }
  lines.dims = x.dims;
  if (place == 0) return;
  const int64_t n = x.shape[dim], share = 1 + ((1 << 14) - 1) / n;
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  parallel_for((lines.count + share - 1) / share, [&](int64_t t) {
    const int64_t end = (t + 1) * share < lines.count ? (t + 1) * share : lines.count;
    GroupWalk walk(lines, lines.dims, t * share);
    alignas(64) W buffer[kScanChunk];
    for (int64_t r = t * share; r < end; ++r, walk.next()) {
      State s = begin();
      const int64_t chunks = (n + kScanChunk - 1) / kScanChunk;
      for (int64_t q = 0; q < chunks; ++q) {
        const int64_t k = (reverse ? chunks - 1 - q : q) * kScanChunk;
        const int64_t m = n - k < kScanChunk ? n - k : kScanChunk;
        const char* from = static_cast<const char*>(x.data) + (walk.in + k * x.strides[dim]) * size;
        const W* v = load(from, x.strides[dim], m, buffer);
        run(s, v, Steps{m, k, walk.out + k * inner, inner, reverse});
      }
    }
  });
}

template <class W>
struct Extreme {
  W value;
  int64_t place;
};

// out: values of x's dtype, i64 places. Of equal ones the last; NaN stays once met.
template <class W, bool Max>
void scan_extreme_as(const Call& call) {
  const StoreRow<W> put = storer<W>(call.out[0].dtype);
  const auto size = static_cast<int64_t>(size_of(call.out[0].dtype));
  char* values = static_cast<char*>(call.out[0].data);
  auto* places = static_cast<int64_t*>(call.out[1].data);
  scan_lines<W, Extreme<W>>(
      call,
      [] {
        return Extreme<W>{W{}, -1};
      },
      [=](Extreme<W>& best, const W* v, const Steps& s) {
        alignas(64) W found[kScanChunk];
        Extreme<W> e = best;
        for (int64_t j = 0; j < s.n; ++j) {
          const int64_t at = s.reverse ? s.n - 1 - j : j;
          const W x = v[at];
          if (e.place < 0 || x != x || (e.value == e.value && (Max ? x >= e.value : x <= e.value)))
            e = {x, s.first + at};
          found[at] = e.value;
          places[s.place + at * s.step] = e.place;
        }
        best = e;
        put(values + s.place * size, s.step, s.n, found);
      });
}
template <bool Max>
void scan_extreme(const Call& call) {
  const DType t = call.in[0].dtype;
  if (t == DType::f64)
    scan_extreme_as<double, Max>(call);
  else if (is_float(t))
    scan_extreme_as<float, Max>(call);
  else
    scan_extreme_as<int64_t, Max>(call);
}
void scan_max(const Call& call) { scan_extreme<true>(call); }
void scan_min(const Call& call) { scan_extreme<false>(call); }
WS_KERNEL("scan_max", scan_max)
WS_KERNEL("scan_min", scan_min)

struct LogSum {
  double most, sum;  // sum of exp(x - most)
};

// out: log of the running sum of exponentials.
void scan_logsumexp(const Call& call) {
  const StoreRow<double> put = storer<double>(call.out[0].dtype);
  const auto size = static_cast<int64_t>(size_of(call.out[0].dtype));
  char* out = static_cast<char*>(call.out[0].data);
  scan_lines<double, LogSum>(
      call,
      [] {
        return LogSum{-__builtin_inf(), 0};
      },
      [=](LogSum& s, const double* values, const Steps& steps) {
        alignas(64) double sums[kScanChunk];
        for (int64_t j = 0; j < steps.n; ++j) {
          const int64_t at = steps.reverse ? steps.n - 1 - j : j;
          const double v = values[at];
          if (v > s.most) {
            s.sum = s.sum * __builtin_exp(s.most - v) + 1;
            s.most = v;
          } else if (v == s.most) {
            s.sum += v > -__builtin_inf();
          } else {
            s.sum += __builtin_exp(v - s.most);  // NaN stays
          }
          sums[at] = s.sum == 0 ? -__builtin_inf() : s.most + __builtin_log(s.sum);
        }
        put(out + steps.place * size, steps.step, steps.n, sums);
      });
}
WS_KERNEL("scan_logsumexp", scan_logsumexp)

WS_KERNELS_END
