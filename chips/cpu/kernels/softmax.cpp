// softmax and log_softmax of packed tensors seen as [outer, n, inner], over n; and their
// derivatives. inner 1: a row at a time. Else strips of `inner`, a row of 16 or more columns at a
// time.

#include <cmath>

#include "chips/cpu/kernels/reduce_fold.h"
#include "chips/cpu/kernels/reduce_ops.h"

WS_KERNELS_BEGIN

// Vectors of simd.h for f32, whose exponential takes them; else one register.
template <class W>
struct Wide {
  using V = native<W>;
  static constexpr int64_t kCount = kWidth<W>;
  static WS_INLINE V load(const W* p) { return load_native(p); }
  static WS_INLINE void store(W* p, V v) { store_native(p, v); }
  static WS_INLINE V greater(V a, V b) { return choose(a > b, a, b); }
  static WS_INLINE V exp(V x) {
    for (int64_t l = 0; l < kCount; ++l) x[l] = std::exp(x[l]);
    return x;
  }
  static WS_INLINE W sum(V v) { return join_lanes<Sum<W>>(v); }
  static WS_INLINE W greatest(V v) { return join_lanes<Greatest<W>>(v); }
};
template <>
struct Wide<float> {
  using V = vf;
  static constexpr int64_t kCount = kLanes;
  static WS_INLINE V load(const float* p) { return WS_CONCAT(isa_, WS_ISA)::load(p); }
  static WS_INLINE void store(float* p, V v) { WS_CONCAT(isa_, WS_ISA)::store(p, v); }
  static WS_INLINE V greater(V a, V b) { return vmax(a, b); }
  static WS_INLINE V exp(V x) { return vexp(x); }
  static WS_INLINE float sum(V v) { return sum_lanes(v); }
  static WS_INLINE float greatest(V v) { return max_lanes(v); }
};

// Calls f(v...) with vectors of successive elements of the rows in x, the last padded; what f gives
// goes to y, unless that is null.
template <class W, class F, class... X>
WS_INLINE void for_vectors(int64_t n, W pad, W* y, F f, const X*... x) {
  constexpr int64_t L = Wide<W>::kCount;
  int64_t k = 0;
  for (; k + L <= n; k += L) {
    const auto v = f(Wide<W>::load(x + k)...);
    if (y) Wide<W>::store(y + k, v);
  }
  if (k == n) return;
  const auto part = [&](const W* p) {
    alignas(64) W rest[L];
    for (int64_t l = 0; l < L; ++l) rest[l] = k + l < n ? p[k + l] : pad;
    return Wide<W>::load(rest);
  };
  const auto v = f(part(x)...);
  if (!y) return;
  alignas(64) W rest[L];
  Wide<W>::store(rest, v);
  std::memcpy(y + k, rest, static_cast<size_t>(n - k) * sizeof(W));
}

// What all four kernels work on: tensors [outer, n, inner].
template <class W>
struct SoftmaxWork {
  int64_t outer = 1, n = 1, inner = 1;
  char* out;
  const char* in[2];
  int64_t out_size, in_size[2];
  LoadRow<W> load[2];
  StoreRow<W> put;
  bool direct;  // out holds W

  SoftmaxWork(const Call& call) {
    const View& o = call.out[0];
    const int dim = static_cast<int>(call.attr[0].i);
    for (int k = 0; k < o.dims; ++k) (k < dim ? outer : k == dim ? n : inner) *= o.shape[k];
    out = static_cast<char*>(o.data), out_size = static_cast<int64_t>(size_of(o.dtype));
    for (int k = 0; k < call.ins; ++k) {
      in[k] = static_cast<const char*>(call.in[k].data);
      in_size[k] = static_cast<int64_t>(size_of(call.in[k].dtype));
      load[k] = loader<W>(call.in[k].dtype);
    }
    put = storer<W>(o.dtype);
    direct = o.dtype == (same_type<W, float> ? DType::f32 : DType::f64);
  }

  WS_INLINE const W* row(int k, int64_t at, int64_t count, W* buffer) const {
    return load[k](in[k] + at * in_size[k], 1, count, buffer);
  }
  WS_INLINE W* target(int64_t at, W* buffer) const {
    return direct ? reinterpret_cast<W*>(out + at * out_size) : buffer;
  }
  WS_INLINE void finish(int64_t at, int64_t count, const W* v) const {
    if (!direct) put(out + at * out_size, 1, count, v);
  }

  // Rows: f(at, buffers of n).
  template <class F>
  void rows(F f) const {
    constexpr int64_t kTile = 1 << 13;
    const int64_t share = 1 + (kTile - 1) / n;
    parallel_for((outer + share - 1) / share, [&](int64_t t) {
      const int64_t stride = (n + 15) / 16 * 16;
      W* buffer = static_cast<W*>(cpu::scratch(0, static_cast<size_t>(3 * stride) * sizeof(W)));
      for (int64_t r = t * share; r < outer && r < (t + 1) * share; ++r)
        f(r * n, buffer, buffer + stride, buffer + 2 * stride);
    });
  }
  // Fetches the strip's row some turns ahead: its rows lie too far apart for the processor to
  // guess.
  WS_INLINE void ahead(const char* base, int64_t at, int64_t size, int64_t width) const {
    const char* p = base + (at + 12 * inner) * size;
    for (int64_t k = 0; k < width * size; k += 64) __builtin_prefetch(p + k);
  }
  // Strips of columns: f(at, width, buffers of n x kStrip).
  static constexpr int64_t kStrip = 64;
  template <class F>
  void strips(F f) const {
    const int64_t count = (inner + kStrip - 1) / kStrip;
    parallel_for(outer * count, [&](int64_t t) {
      const int64_t c = t % count * kStrip;
      W* buffer = static_cast<W*>(cpu::scratch(0, static_cast<size_t>(2 * n * kStrip) * sizeof(W)));
      f(t / count * n * inner + c, inner - c < kStrip ? inner - c : kStrip, buffer,
        buffer + n * kStrip);
    });
  }
};

template <class W>
constexpr W kNone = static_cast<W>(-__builtin_inff());

template <class W, bool Log>
void softmax_row(const SoftmaxWork<W>& w, int64_t at, W* a, W* b) {
  using V = typename Wide<W>::V;
  const W* x = w.row(0, at, w.n, a);
  W* y = w.target(at, b);
  V top = V{} + kNone<W>;
  for_vectors<W>(
      w.n, kNone<W>, nullptr, [&](V v) { return top = Wide<W>::greater(v, top); }, x);
  const W shift = Wide<W>::greatest(top);
  // The next row comes while this one is computed; one that is widened first has been read by then.
  const char* next = w.in[0] + (at + w.n) * w.in_size[0];
  const int64_t step = w.in_size[0] == sizeof(W) ? Wide<W>::kCount * w.in_size[0] : 0;
  // Sums of blocks, so that the error does not grow with the length of the row.
  V total{};
  for (int64_t k = 0; k < w.n; k += kFoldRow) {
    V sum{};
    for_vectors<W>(
        w.n - k < kFoldRow ? w.n - k : kFoldRow, kNone<W>, Log ? nullptr : y + k,
        [&](V v) {
          const V e = Wide<W>::exp(v - shift);
          sum += e;
          __builtin_prefetch(next, 0, 2);
          next += step;
          return e;
        },
        x + k);
    total += sum;
  }
  const W sum = Wide<W>::sum(total);
  if constexpr (Log) {
    const W log_sum = std::log(sum);
    for_vectors<W>(
        w.n, 0, y, [&](V v) { return (v - shift) - log_sum; }, x);
  } else {
    const W inverse = 1 / sum;
    for_vectors<W>(
        w.n, 0, y, [&](V v) { return v * inverse; }, y);
  }
  w.finish(at, w.n, y);
}

template <class W, bool Log>
void softmax_strip(const SoftmaxWork<W>& w, int64_t at, int64_t width, W* a) {
  using V = typename Wide<W>::V;
  constexpr int64_t L = Wide<W>::kCount, S = SoftmaxWork<W>::kStrip;
  const int64_t padded = (width + L - 1) / L * L;
  alignas(64) W top[S], sum[S], row[S] = {};
  for (int64_t k = 0; k < padded; k += L)
    Wide<W>::store(top + k, V{} + kNone<W>), Wide<W>::store(sum + k, V{});
  for (int64_t r = 0; r < w.n; ++r) {
    w.ahead(w.in[0], at + r * w.inner, w.in_size[0], width);
    const W* x = w.row(0, at + r * w.inner, width, row);
    W* copy = a + r * S;
    std::memcpy(copy, x, static_cast<size_t>(width) * sizeof(W));
    for (int64_t k = width; k < padded; ++k) copy[k] = 0;
    for (int64_t k = 0; k < padded; k += L) {
      const V v = Wide<W>::load(copy + k), t = Wide<W>::load(top + k);
      Wide<W>::store(top + k, Wide<W>::greater(v, t));
    }
  }
  for (int64_t group = 0; group < w.n; group += 64) {
    alignas(64) W part[S] = {};
    for (int64_t r = group; r < w.n && r < group + 64; ++r)
      for (int64_t k = 0; k < padded; k += L) {
        const V e = Wide<W>::exp(Wide<W>::load(a + r * S + k) - Wide<W>::load(top + k));
        if (!Log) Wide<W>::store(a + r * S + k, e);
        Wide<W>::store(part + k, Wide<W>::load(part + k) + e);
      }
    for (int64_t k = 0; k < padded; k += L)
      Wide<W>::store(sum + k, Wide<W>::load(sum + k) + Wide<W>::load(part + k));
  }
  for (int64_t k = 0; k < padded; ++k) sum[k] = Log ? std::log(sum[k]) : 1 / sum[k];
  for (int64_t r = 0; r < w.n; ++r) {
    W* e = a + r * S;
    for (int64_t k = 0; k < padded; k += L) {
      const V v = Wide<W>::load(e + k), s = Wide<W>::load(sum + k);
      Wide<W>::store(e + k, Log ? (v - Wide<W>::load(top + k)) - s : v * s);
    }
    w.put(w.out + (at + r * w.inner) * w.out_size, 1, width, e);
  }
}

// softmax: y (g - sum(g y)); log_softmax: g - exp(y) sum(g). In y, g.
template <class W, bool Log>
void backward_row(const SoftmaxWork<W>& w, int64_t at, W* a, W* b, W* c) {
  using V = typename Wide<W>::V;
  const W* y = w.row(0, at, w.n, a);
  const W* g = w.row(1, at, w.n, b);
  W* d = w.target(at, c);
  V total{};
  for (int64_t k = 0; k < w.n; k += kFoldRow) {
    V sum{};
    for_vectors<W>(
        w.n - k < kFoldRow ? w.n - k : kFoldRow, 0, nullptr,
        [&](V p, V q) { return sum += Log ? q : p * q; }, y + k, g + k);
    total += sum;
  }
  const W sum = Wide<W>::sum(total);
  for_vectors<W>(
      w.n, 0, d, [&](V p, V q) { return Log ? q - Wide<W>::exp(p) * sum : p * (q - sum); }, y, g);
  w.finish(at, w.n, d);
}

template <class W, bool Log>
void backward_strip(const SoftmaxWork<W>& w, int64_t at, int64_t width, W* a, W* b) {
  using V = typename Wide<W>::V;
  constexpr int64_t L = Wide<W>::kCount, S = SoftmaxWork<W>::kStrip;
  const int64_t padded = (width + L - 1) / L * L;
  alignas(64) W sum[S] = {}, row[S] = {};
  for (int64_t group = 0; group < w.n; group += 64) {
    alignas(64) W part[S] = {};
    for (int64_t r = group; r < w.n && r < group + 64; ++r) {
      W* const copies[2] = {a + r * S, b + r * S};
      for (int k = 0; k < 2; ++k) {
        w.ahead(w.in[k], at + r * w.inner, w.in_size[k], width);
        const W* x = w.row(k, at + r * w.inner, width, row);
        std::memcpy(copies[k], x, static_cast<size_t>(width) * sizeof(W));
        for (int64_t l = width; l < padded; ++l) copies[k][l] = 0;
      }
      for (int64_t k = 0; k < padded; k += L) {
        const V p = Wide<W>::load(copies[0] + k), q = Wide<W>::load(copies[1] + k);
        Wide<W>::store(part + k, Wide<W>::load(part + k) + (Log ? q : p * q));
      }
    }
    for (int64_t k = 0; k < padded; k += L)
      Wide<W>::store(sum + k, Wide<W>::load(sum + k) + Wide<W>::load(part + k));
  }
  for (int64_t r = 0; r < w.n; ++r) {
    W* y = a + r * S;
    for (int64_t k = 0; k < padded; k += L) {
      const V p = Wide<W>::load(y + k), q = Wide<W>::load(b + r * S + k),
              s = Wide<W>::load(sum + k);
      Wide<W>::store(y + k, Log ? q - Wide<W>::exp(p) * s : p * (q - s));
    }
    w.put(w.out + (at + r * w.inner) * w.out_size, 1, width, y);
  }
}

template <class W, bool Log>
void forward_as(const Call& call) {
  const SoftmaxWork<W> w(call);
  if (w.outer * w.n * w.inner == 0) return;
  if (w.inner == 1)
    w.rows([&](int64_t at, W* a, W* b, W*) { softmax_row<W, Log>(w, at, a, b); });
  else
    w.strips([&](int64_t at, int64_t width, W* a, W*) { softmax_strip<W, Log>(w, at, width, a); });
}

template <class W, bool Log>
void backward_as(const Call& call) {
  const SoftmaxWork<W> w(call);
  if (w.outer * w.n * w.inner == 0) return;
  if (w.inner == 1)
    w.rows([&](int64_t at, W* a, W* b, W* c) { backward_row<W, Log>(w, at, a, b, c); });
  else
    w.strips(
        [&](int64_t at, int64_t width, W* a, W* b) { backward_strip<W, Log>(w, at, width, a, b); });
}

// In f64 when an operand is f64.
bool wide(const Call& call) {
  bool f64 = call.out[0].dtype == DType::f64, floating = is_float(call.out[0].dtype);
  for (int k = 0; k < call.ins; ++k)
    f64 |= call.in[k].dtype == DType::f64, floating &= is_float(call.in[k].dtype);
  if (!floating) cpu::kernel_refuses("softmax", "integers");
  return f64;
}

void softmax(const Call& call) {
  wide(call) ? forward_as<double, false>(call) : forward_as<float, false>(call);
}
WS_KERNEL("softmax", softmax)

void log_softmax(const Call& call) {
  wide(call) ? forward_as<double, true>(call) : forward_as<float, true>(call);
}
WS_KERNEL("log_softmax", log_softmax)

void softmax_backward(const Call& call) {
  wide(call) ? backward_as<double, false>(call) : backward_as<float, false>(call);
}
WS_KERNEL("softmax_backward", softmax_backward)

void log_softmax_backward(const Call& call) {
  wide(call) ? backward_as<double, true>(call) : backward_as<float, true>(call);
}
WS_KERNEL("log_softmax_backward", log_softmax_backward)

WS_KERNELS_END
