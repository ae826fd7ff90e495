#pragma once
// Folding a view into partial results, one for each output and piece of what it reduces; pieces are
// cut by shape alone and joined in pairs, so that the rounding error of a sum grows with the
// logarithm of its length. A Fold says what is done:
//   using W                      accumulates in float, double or int64_t
//   static V none()              joins without effect; V is one register of W
//   static V map(V x, V center)  what of an element is joined
//   static W pad(W center)       an element whose map is none()
//   static V join(V a, V b)

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/reduce_plan.h"
#include "chips/cpu/native.h"

WS_KERNELS_BEGIN

constexpr int64_t kFoldRow = 2048;       // elements that one set of lanes folds
constexpr int64_t kFoldPiece = 1 << 15;  // elements of a piece along rows
constexpr int64_t kFoldRows = 512;       // rows of a piece across them
constexpr int64_t kFoldGroup = 64;       // of which so many are folded by one set of lanes
template <class W>
constexpr int64_t kFoldColumns = 4096 / static_cast<int64_t>(sizeof(W));

// The lanes from the Nth on, as the first N.
template <int N, class V, size_t... I>
WS_INLINE V upper_lanes(V v, std::index_sequence<I...>) {
  return __builtin_shufflevector(
      v, v, (static_cast<int>(I) < N ? static_cast<int>(I) + N : static_cast<int>(I))...);
}
template <class F>
WS_INLINE typename F::W join_lanes(native<typename F::W> v) {
  constexpr int64_t n = kWidth<typename F::W>;
  constexpr auto lanes = std::make_index_sequence<n>();
  v = F::join(v, upper_lanes<n / 2>(v, lanes));
  if constexpr (n > 2) v = F::join(v, upper_lanes<n / 4>(v, lanes));
  if constexpr (n > 4) v = F::join(v, upper_lanes<n / 8>(v, lanes));
  if constexpr (n > 8) v = F::join(v, upper_lanes<n / 16>(v, lanes));
  return v[0];
}

// n <= kFoldRow successive elements.
template <class F, class T, class W = typename F::W>
WS_INLINE native<W> fold_row(const T* x, int64_t n, W center) {
  using V = native<W>;
  constexpr int64_t L = kWidth<W>;
  const V c = V{} + center;
  V a = F::none();
  int64_t k = 0;
  if (n >= 4 * L) {
    V a1 = a, a2 = a, a3 = a;
    for (; k + 4 * L <= n; k += 4 * L) {
      a = F::join(a, F::map(load_native(x + k), c));
      a1 = F::join(a1, F::map(load_native(x + k + L), c));
      a2 = F::join(a2, F::map(load_native(x + k + 2 * L), c));
      a3 = F::join(a3, F::map(load_native(x + k + 3 * L), c));
    }
    a = F::join(F::join(a, a1), F::join(a2, a3));
  }
  for (; k + L <= n; k += L) a = F::join(a, F::map(load_native(x + k), c));
  if (k < n) {
    alignas(64) W rest[L];
    for (int64_t l = 0; l < L; ++l) rest[l] = k + l < n ? to_wide<W>(x[k + l]) : F::pad(center);
    a = F::join(a, F::map(load_native(rest), c));
  }
  return a;
}

// What a fold works on; center (per output) may be null.
template <class F>
struct FoldWork {
  using W = typename F::W;
  const ReducePlan& p;
  const char* data;
  int64_t size;  // bytes of an element
  LoadRow<W> load;
  const W* center;
  bool halves = false;  // of bf16
  int64_t pieces = 1;
  W* partial = nullptr;  // [pieces][outputs]
};

// Elements [begin, end) of the rows [row, row + rows) of the reduced group, for one output.
template <class F>
typename F::W fold_rows(const FoldWork<F>& w, int64_t base, int64_t row, int64_t rows,
                        int64_t begin, int64_t end, typename F::W center) {
  using W = typename F::W;
  const DimGroup& g = w.p.reduced;
  const int64_t step = g.i[g.dims - 1];
  alignas(64) W buffer[kFoldRow];
  auto total = F::none();
  GroupWalk walk(g, g.dims - 1, row);
  for (int64_t r = 0; r < rows; ++r, walk.next())
    for (int64_t k = begin; k < end; k += kFoldRow) {
      const int64_t n = end - k < kFoldRow ? end - k : kFoldRow;
      if constexpr (same_type<W, float>)
        if (w.halves && step == 1) {
          const char* x = w.data + (base + walk.in + k) * w.size;
          total = F::join(total, fold_row<F>(reinterpret_cast<const bf16_t*>(x), n, center));
          continue;
        }
      const W* x = w.load(w.data + (base + walk.in + k * step) * w.size, step, n, buffer);
      total = F::join(total, fold_row<F>(x, n, center));
    }
  return join_lanes<F>(total);
}

// Reading along the last reduced dimension.
template <class F>
void fold_along(const FoldWork<F>& w, int64_t outputs) {
  const DimGroup& g = w.p.reduced;
  const int64_t n = g.n[g.dims - 1], rows = g.count / n;
  const int64_t cuts = n > kFoldPiece ? (n + kFoldPiece - 1) / kFoldPiece : 1;  // of a row
  const int64_t group = n > kFoldPiece ? 1 : kFoldPiece / n;                    // rows of a piece
  // Many small outputs share a tile.
  const int64_t share = w.pieces > 1 ? 1 : 1 + (kFoldPiece - 1) / g.count;
  const int64_t blocks = (outputs + share - 1) / share;
  parallel_for(blocks * w.pieces, [&](int64_t t) {
    const int64_t piece = t % w.pieces, first = t / w.pieces * share;
    const int64_t last = first + share < outputs ? first + share : outputs;
    const int64_t row = piece / cuts * group, begin = piece % cuts * kFoldPiece;
    const int64_t end = n > kFoldPiece && begin + kFoldPiece < n ? begin + kFoldPiece : n;
    GroupWalk walk(w.p.kept, w.p.kept.dims, first);
    for (int64_t k = first; k < last; ++k, walk.next())
      w.partial[piece * outputs + walk.out] =
          fold_rows<F>(w, walk.in, row, rows - row < group ? rows - row : group, begin, end,
                       w.center ? w.center[walk.out] : typename F::W{});
  });
}

// a[k] = join(a[k], joined map of up to 4 rows)
template <class F, class T, class W = typename F::W>
WS_INLINE void fold_columns(W* a, const T* const (&row)[4], int rows, int64_t n, const W* center) {
  using V = native<W>;
  constexpr int64_t L = kWidth<W>;
  const auto at = [&](int r, int64_t k) {
    return F::map(load_native(row[r] + k), center ? load_native(center + k) : V{});
  };
  if (rows == 4)
    for (int64_t k = 0; k < n; k += L)
      store_native(a + k, F::join(load_native(a + k), F::join(F::join(at(0, k), at(1, k)),
                                                              F::join(at(2, k), at(3, k)))));
  else
    for (int r = 0; r < rows; ++r)
      for (int64_t k = 0; k < n; k += L) store_native(a + k, F::join(load_native(a + k), at(r, k)));
}

// Reading along the last kept dimension.
template <class F>
void fold_across(const FoldWork<F>& w, int64_t outputs) {
  using W = typename F::W;
  constexpr int64_t L = kWidth<W>, C = kFoldColumns<W>;
  const DimGroup& kept = w.p.kept;
  const int64_t n = kept.n[kept.dims - 1], step = kept.i[kept.dims - 1],
                place = kept.o[kept.dims - 1];
  const int64_t strips = (n + C - 1) / C, outer = kept.count / n, rows = w.p.reduced.count;
  parallel_for(outer * strips * w.pieces, [&](int64_t t) {
    const int64_t piece = t % w.pieces, strip = t / w.pieces % strips * C;
    const GroupWalk o(kept, kept.dims - 1, t / w.pieces / strips);
    const int64_t width = n - strip < C ? n - strip : C, padded = (width + L - 1) / L * L;
    const int64_t first = piece * kFoldRows,
                  last = first + kFoldRows < rows ? first + kFoldRows : rows;
    alignas(64) W buffer[4][C], sums[2][C], center[C];
    const bool whole = padded == width;
    for (int64_t k = 0; k < padded; k += L) store_native(sums[1] + k, F::none());
    if (w.center)
      for (int64_t k = 0; k < padded; ++k)
        center[k] = k < width ? w.center[o.out + (strip + k) * place] : W{};
    if (!whole)
      for (int r = 0; r < 4; ++r)
        for (int64_t k = width; k < padded; ++k) buffer[r][k] = W{};
    GroupWalk walk(w.p.reduced, w.p.reduced.dims, first);
    for (int64_t group = first; group < last; group += kFoldGroup) {
      const int64_t end = group + kFoldGroup < last ? group + kFoldGroup : last;
      for (int64_t k = 0; k < padded; k += L) store_native(sums[0] + k, F::none());
      for (int64_t r = group; r < end; r += 4) {
        const int high = end - r < 4 ? static_cast<int>(end - r) : 4;
        if constexpr (same_type<W, float>)
          if (w.halves && step == 1 && whole) {
            const bf16_t* row[4] = {};
            for (int k = 0; k < high; ++k, walk.next())
              row[k] = reinterpret_cast<const bf16_t*>(w.data) + o.in + walk.in + strip;
            fold_columns<F>(sums[0], row, high, padded, w.center ? center : nullptr);
            continue;
          }
        const W* row[4] = {};
        for (int k = 0; k < high; ++k, walk.next()) {
          row[k] =
              w.load(w.data + (o.in + walk.in + strip * step) * w.size, step, width, buffer[k]);
          if (!whole && row[k] != buffer[k]) {  // whole vectors must be readable
            std::memcpy(buffer[k], row[k], static_cast<size_t>(width) * sizeof(W));
            row[k] = buffer[k];
          }
        }
        fold_columns<F>(sums[0], row, high, padded, w.center ? center : nullptr);
      }
      for (int64_t k = 0; k < padded; k += L)
        store_native(sums[1] + k, F::join(load_native(sums[1] + k), load_native(sums[0] + k)));
    }
    W* target = w.partial + piece * outputs + o.out;
    for (int64_t k = 0; k < width; ++k) target[(strip + k) * place] = sums[1][k];
  });
}

// Folds everything; returns the results, one for each output, in scratch memory (slot 6) that the
// next fold reuses.
template <class F>
typename F::W* fold(const ReducePlan& p, const View& x, const typename F::W* center) {
  using W = typename F::W;
  constexpr int64_t L = kWidth<W>;
  const int64_t outputs = p.kept.count, count = p.reduced.count;
  FoldWork<F> w{p,
                static_cast<const char*>(x.data),
                static_cast<int64_t>(size_of(x.dtype)),
                loader<W>(x.dtype),
                center,
                x.dtype == DType::bf16};
  if (!w.load) cpu::kernel_refuses("reduce", "complex values");
  if (count > 0) {
    const int64_t n = p.reduced.n[p.reduced.dims - 1];
    if (!p.along_rows)
      w.pieces = (count + kFoldRows - 1) / kFoldRows;
    else if (n > kFoldPiece)
      w.pieces = count / n * ((n + kFoldPiece - 1) / kFoldPiece);
    else
      w.pieces = (count / n + kFoldPiece / n - 1) / (kFoldPiece / n);
  }
  w.partial =
      static_cast<W*>(cpu::scratch(6, static_cast<size_t>((w.pieces * outputs + L)) * sizeof(W)));
  if (count == 0) {
    for (int64_t k = 0; k < outputs; ++k) w.partial[k] = F::none()[0];
    return w.partial;
  }
  if (p.along_rows)
    fold_along<F>(w, outputs);
  else
    fold_across<F>(w, outputs);
  // Pairs of pieces, then pairs of pairs.
  constexpr int64_t kBlock = 1024;
  if (w.pieces > 1)
    parallel_for((outputs + kBlock - 1) / kBlock, [&](int64_t t) {
      const int64_t begin = t * kBlock, end = begin + kBlock < outputs ? begin + kBlock : outputs;
      for (int64_t s = 1; s < w.pieces; s *= 2)
        for (int64_t q = 0; q + s < w.pieces; q += 2 * s) {
          W* a = w.partial + q * outputs;
          const W* b = a + s * outputs;
          for (int64_t k = begin; k < end; ++k)
            a[k] = F::join(native<W>{} + a[k], native<W>{} + b[k])[0];
        }
    });
  return w.partial;
}

WS_KERNELS_END
