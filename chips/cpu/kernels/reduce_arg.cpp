// argmax, argmin over one dimension (or none): the place of the first element that none beats, NaN
// beating all. Values are folded first, a block at a time; the place is looked for only in a block
// that brought a better one.

#include "chips/cpu/kernels/reduce_fold.h"
#include "chips/cpu/kernels/reduce_ops.h"

WS_KERNELS_BEGIN

// beats() takes numbers and vectors.
template <class T, bool Max>
struct BestOf : Greatest<T> {
  template <class X>
  static WS_INLINE auto beats(X a, X b) {
    return (a > b) | ((a != a) & (b == b));
  }
};
template <class T>
struct BestOf<T, false> : Least<T> {
  template <class X>
  static WS_INLINE auto beats(X a, X b) {
    return (a < b) | ((a != a) & (b == b));
  }
};

template <class W>
struct Found {
  W value;
  int64_t place;
};

// The first place of `value` (or of NaN, when it is) among n elements that hold it.
template <class W>
WS_INLINE int64_t place_of(const W* x, int64_t n, W value) {
  using V = native<W>;
  constexpr int64_t L = kWidth<W>;
  const V v = V{} + value;
  int64_t k = 0;
  for (; k + L <= n; k += L) {
    const V at = load_native(x + k);
    const auto hit = (at == v) | (at != at);
    int64_t words[sizeof hit / 8], any = 0;
    std::memcpy(words, &hit, sizeof words);
    for (int64_t w : words) any |= w;
    if (any) break;
  }
  while (k < n - 1 && x[k] != value && x[k] == x[k]) ++k;
  return k;
}

template <class F, class W = typename F::W>
WS_INLINE void improve(Found<W>& best, W value, int64_t place) {
  if (best.place < 0 || F::beats(value, best.value)) best = {value, place};
}

template <class F>
Found<typename F::W> best_of_row(const FoldWork<F>& w, int64_t base, int64_t begin, int64_t end) {
  using W = typename F::W;
  const int64_t step = w.p.reduced.i[0];
  alignas(64) W buffer[kFoldRow];
  Found<W> best{W{}, -1};
  for (int64_t k = begin; k < end; k += kFoldRow) {
    const int64_t n = end - k < kFoldRow ? end - k : kFoldRow;
    const W* x = w.load(w.data + (base + k * step) * w.size, step, n, buffer);
    const W value = join_lanes<F>(fold_row<F>(x, n, W{}));
    if (best.place < 0 || F::beats(value, best.value)) best = {value, k + place_of(x, n, value)};
  }
  return best;
}

template <class F>
void best_along(const FoldWork<F>& w, int64_t outputs, Found<typename F::W>* found) {
  const int64_t n = w.p.reduced.count;
  const int64_t share = w.pieces > 1 ? 1 : 1 + (kFoldPiece - 1) / n;
  parallel_for((outputs + share - 1) / share * w.pieces, [&](int64_t t) {
    const int64_t piece = t % w.pieces, first = t / w.pieces * share;
    const int64_t last = first + share < outputs ? first + share : outputs;
    const int64_t begin = piece * kFoldPiece, end = begin + kFoldPiece < n ? begin + kFoldPiece : n;
    GroupWalk walk(w.p.kept, w.p.kept.dims, first);
    for (int64_t k = first; k < last; ++k, walk.next())
      found[piece * outputs + walk.out] = best_of_row<F>(w, walk.in, begin, end);
  });
}

template <class F>
void best_across(const FoldWork<F>& w, int64_t outputs, Found<typename F::W>* found) {
  using W = typename F::W;
  using V = native<W>;
  using I = decltype(V{} > V{});
  constexpr int64_t L = kWidth<W>, C = kFoldColumns<W>;
  const DimGroup& kept = w.p.kept;
  const int64_t n = kept.n[kept.dims - 1], step = kept.i[kept.dims - 1],
                place = kept.o[kept.dims - 1];
  const int64_t strips = (n + C - 1) / C, outer = kept.count / n, rows = w.p.reduced.count;
  parallel_for(outer * strips * w.pieces, [&](int64_t t) {
    const int64_t piece = t % w.pieces, strip = t / w.pieces % strips * C;
    const GroupWalk o(kept, kept.dims - 1, t / w.pieces / strips);
    const int64_t width = n - strip < C ? n - strip : C;
    const int64_t first = piece * kFoldRows,
                  last = first + kFoldRows < rows ? first + kFoldRows : rows;
    alignas(64) W buffer[C], best[C];
    alignas(64) I places[C / L];
    for (int64_t r = first; r < last; ++r) {
      const int64_t at = o.in + r * w.p.reduced.i[0] + strip * step;
      const W* x = w.load(w.data + at * w.size, step, width, buffer);
      if (r == first) {
        std::memcpy(best, x, static_cast<size_t>(width) * sizeof(W));
        for (I& p : places) p = I{};
        continue;
      }
      I row{};
      for (int64_t l = 0; l < L; ++l) row[l] = r - first;
      int64_t k = 0;
      for (; k + L <= width; k += L) {
        const V a = load_native(x + k), b = load_native(best + k);
        const I better = F::beats(a, b);
        store_native(best + k, choose(better, a, b));
        places[k / L] = choose(better, row, places[k / L]);
      }
      for (; k < width; ++k)
        if (F::beats(x[k], best[k])) best[k] = x[k], places[k / L][k % L] = r - first;
    }
    Found<W>* target = found + piece * outputs + o.out;
    for (int64_t k = 0; k < width; ++k)
      target[(strip + k) * place] = {best[k], first + static_cast<int64_t>(places[k / L][k % L])};
  });
}

template <class F>
void find(const Call& call) {
  using W = typename F::W;
  const View& x = call.in[0];
  const ReducePlan p = plan_reduce(call.out[0], x);
  const int64_t outputs = p.kept.count, count = p.reduced.count;
  if (outputs == 0) return;
  if (p.reduced.dims != 1 || count == 0)
    cpu::kernel_refuses("reduce_arg", "one dimension at a time");
  FoldWork<F> w{p, static_cast<const char*>(x.data), static_cast<int64_t>(size_of(x.dtype)),
                loader<W>(x.dtype), nullptr};
  const int64_t piece = p.along_rows ? kFoldPiece : kFoldRows;
  w.pieces = (count + piece - 1) / piece;
  auto* found = static_cast<Found<W>*>(
      cpu::scratch(6, static_cast<size_t>(w.pieces * outputs) * sizeof(Found<W>)));
  if (p.along_rows)
    best_along<F>(w, outputs, found);
  else
    best_across<F>(w, outputs, found);
  int64_t* out = static_cast<int64_t*>(call.out[0].data);
  for (int64_t k = 0; k < outputs; ++k) {
    Found<W> best = found[k];
    for (int64_t q = 1; q < w.pieces; ++q)
      improve<F>(best, found[q * outputs + k].value, found[q * outputs + k].place);
    out[k] = best.place;
  }
}

template <bool Max>
void find_best(const Call& call) {
  const DType t = call.in[0].dtype;
  if (is_complex(t)) cpu::kernel_refuses("reduce_arg", "complex values");
  if (t == DType::f64)
    find<BestOf<double, Max>>(call);
  else if (is_float(t))
    find<BestOf<float, Max>>(call);
  else
    find<BestOf<int64_t, Max>>(call);
}

void reduce_argmax(const Call& call) { find_best<true>(call); }
WS_KERNEL("reduce_argmax", reduce_argmax)

void reduce_argmin(const Call& call) { find_best<false>(call); }
WS_KERNEL("reduce_argmin", reduce_argmin)

WS_KERNELS_END
