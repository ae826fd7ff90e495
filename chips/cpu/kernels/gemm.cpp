// The matrix product: blocks of K, chunks of M and N whose packed panels fit into the shared cache,
// and tiles of C that the team works on. All sizes follow from the shape alone.
#include "chips/cpu/kernels/gemm.h"

#include <type_traits>

#include "chips/cpu/kernels/gemm_rows.h"
#include "chips/cpu/kernels/gemm_window.h"

WS_KERNELS_BEGIN

constexpr int64_t kMostBlock = 384;       // elements of K in a block: a panel of B stays in L1
constexpr int64_t kMostDepth = 4096;      // elements of K packed at once
constexpr int64_t kChunkWords = 2 << 20;  // packed words of an operand at once
constexpr int64_t kTileRows = 144, kTileColumns = 256;  // greatest tile
constexpr int64_t kTilesOfThread = 8;    // tiles to have for each thread when the work is enough
constexpr int64_t kLeastWork = 1 << 17;  // multiply-adds of a tile
constexpr int64_t kFewRows = 96;         // up to here each panel of B is packed by its only user

WS_INLINE int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }
WS_INLINE int64_t round_to(int64_t n, int64_t to) { return ceil_div(n, to) * to; }
WS_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// The blocks of K: what the order of additions depends on.
struct Blocks {
  int64_t count, length;  // the last may be shorter
};
inline Blocks blocks_of(int64_t k) {
  const int64_t count = k > kMostBlock ? ceil_div(k, kMostBlock) : 1;
  return {count, k > 0 ? round_to(ceil_div(k, count), 16) : 16};
}

// An operand by lanes (rows of A, columns of B).
struct Operand {
  const void* data;
  int64_t lanes, lane_stride, k_stride;
  DType type;
  const Window* window = nullptr;
  bool by_place = false;  // the lanes of the window are places, not positions
};

template <class Op, int P, class In>
void pack_as(const Operand& o, int64_t lane, int64_t panels, int64_t k, int64_t count,
             int64_t panel_words, typename Op::Sum* out) {
  if (o.window) {
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t first = lane + p * P;
      (o.by_place ? pack_elements<Op, P, In>
                  : pack_positions<Op, P, In>)(*o.window, first, least(P, o.lanes - first), k,
                                               count, out + p * panel_words);
    }
    return;
  }
  const Lanes<In> source{static_cast<const In*>(o.data), o.lane_stride, o.k_stride};
  // Lanes that are neighbours share cache lines, so few steps of all panels go before the next
  // steps.
  const int64_t run = o.k_stride == 1 ? count : 64;
  for (int64_t at = 0; at < count; at += run)
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t first = lane + p * P;
      pack_panel<Op, P>(source.at(first, k + at), least(P, o.lanes - first), least(run, count - at),
                        out + p * panel_words + at / Op::kStep * P);
    }
}

// Packs `panels` panels from `lane` on of elements [k, k + count).
template <class Op, int P>
void pack(const Operand& o, int64_t lane, int64_t panels, int64_t k, int64_t count,
          int64_t panel_words, typename Op::Sum* out) {
  if constexpr (std::is_same_v<typename Op::Sum, double>) {
    pack_as<Op, P, double>(o, lane, panels, k, count, panel_words, out);
  } else if constexpr (Op::kStep == 2) {
    pack_as<Op, P, bf16_t>(o, lane, panels, k, count, panel_words, out);
  } else {
    if (o.type == DType::f32)
      pack_as<Op, P, float>(o, lane, panels, k, count, panel_words, out);
    else
      pack_as<Op, P, bf16_t>(o, lane, panels, k, count, panel_words, out);
  }
}

// Where the columns of one panel lie in C, from its first.
struct PanelColumns {
  int64_t first, stride;
  bool whole = true;  // at `stride` from one another; else each at its offset
  int64_t offset[64];
};

// One product. Positions in C are absolute; `a` and `b` hold the packed chunk at (m0, n0, block0).
template <class Op, class Out>
struct Product {
  using Sum = typename Op::Sum;
  static constexpr bool kConverts = !std::is_same_v<Sum, Out>;
  static constexpr int64_t kNrOf = kNr<Op>;
  static constexpr int64_t kGroup = 8;  // panels packed in one go

  const Gemm& g;
  Operand left, right;
  Blocks k;
  const Sum *bias = nullptr, *row_bias = nullptr;
  Sum *a = nullptr, *b = nullptr;  // b null: panels of B are packed by the tile
  int64_t m0 = 0, mb = 0, n0 = 0, nb = 0, block0 = 0, blocks = 0;  // the chunk
  int64_t mt = 0, nt = 0;                                          // a tile
  Sum* partial = nullptr;  // of the whole chunk, for conversions that come with a later chunk of K

  explicit Product(const Gemm& g)
      : g(g),
        left{g.a, g.m, g.a_row, g.a_col, g.a_type, g.a_window, true},
        right{g.b, g.n, g.b_col, g.b_row, g.b_type, g.b_window, g.b_by_place},
        k(blocks_of(g.k)) {}

  int64_t block_words() const { return k.length / Op::kStep; }
  int64_t elements(int64_t block) const {
    const int64_t left_over = g.k - block * k.length;
    return left_over < k.length ? left_over : k.length;
  }

  // One share of packing: a group of panels in one block.
  template <int P>
  void pack_share(const Operand& o, int64_t from, int64_t size, int64_t share, Sum* out) const {
    const int64_t panels = ceil_div(size, P), groups = ceil_div(panels, kGroup);
    const int64_t block = share / groups, p = share % groups * kGroup;
    const int64_t panel_words = block_words() * P;
    pack<Op, P>(o, from + p * P, least(kGroup, panels - p), (block0 + block) * k.length,
                elements(block0 + block), panel_words, out + (block * panels + p) * panel_words);
  }
  void pack_chunk(bool with_a, bool with_b) const {
    const int64_t shares_a = with_a ? ceil_div(ceil_div(mb, kMr), kGroup) * blocks : 0;
    const int64_t shares_b = with_b ? ceil_div(ceil_div(nb, kNrOf), kGroup) * blocks : 0;
    parallel_for(shares_a + shares_b, [&](int64_t i) {
      if (i < shares_a)
        pack_share<kMr>(left, m0, mb, i, a);
      else
        pack_share<kNrOf>(right, n0, nb, i - shares_a, b);
    });
  }

  void choose_tile() {
    mt = round_to(least(kTileRows, mb), kMr);
    nt = round_to(least(kTileColumns, nb), kNrOf);
    if (!b) mt = round_to(mb, kMr);
    const int64_t tiles = kTilesOfThread * threads();
    while (ceil_div(mb, mt) * ceil_div(nb, nt) < tiles && mt * nt * g.k > 2 * kLeastWork) {
      const bool rows = b && mt > kMr && (mt >= nt || nt == kNrOf);
      if (!rows && nt == kNrOf) break;
      int64_t& side = rows ? mt : nt;
      side = round_to(side / 2, rows ? kMr : kNrOf);
    }
  }

  // Where a register tile finds its partial sums, and where it goes.
  template <class To>
  using Where = Target<Sum, To>;

  // The register tile at (row, column) of the whole product, at the columns that `columns` has; a
  // C that is scattered goes through a tile of its own.
  template <class To>
  void step(const Sum* pa, const Sum* pb, const Sum* next, int64_t words, Where<To> t,
            const PanelColumns& columns) const {
    if (columns.whole) return micro<Op>(pa, pb, next, words, t);
    alignas(64) To tile[kMr * kNrOf];
    To* out = t.out;
    if constexpr (std::is_same_v<To, Sum>)
      if (t.partial == t.out) {
        for (int m = 0; m < t.rows; ++m)
          for (int n = 0; n < t.cols; ++n)
            tile[m * kNrOf + n] = out[m * t.out_row + columns.offset[n]];
        t.partial = tile, t.partial_row = kNrOf, t.partial_col = 1;
      }
    const int64_t row = t.out_row;
    t.out = tile, t.out_row = kNrOf, t.out_col = 1;
    micro<Op>(pa, pb, next, words, t);
    for (int m = 0; m < t.rows; ++m)
      for (int n = 0; n < t.cols; ++n) out[m * row + columns.offset[n]] = tile[m * kNrOf + n];
  }

  // One panel of columns of C.
  PanelColumns columns_at(int64_t column, int64_t count) const {
    PanelColumns c;
    c.first = column * g.c_col, c.stride = g.c_col;
    if (!g.c_positions) return c;
    const Positions& p = *g.c_positions;
    int64_t x = column % p.out_columns, y = column / p.out_columns % p.out_rows,
            image = column / (p.out_columns * p.out_rows);
    const auto place = [&] {
      return image * p.image_stride + y * p.row_stride + x * p.column_stride;
    };
    c.first = place(), c.stride = p.column_stride;
    for (int64_t n = 0; n < count; ++n) {
      c.offset[n] = place() - c.first;
      c.whole = c.whole && c.offset[n] == n * c.stride;
      if (++x < p.out_columns) continue;
      x = 0;
      if (++y == p.out_rows) y = 0, ++image;
    }
    return c;
  }

  // Tile at (m, n) of the chunk.
  void tile(int64_t m, int64_t n) const {
    const int64_t rows = least(mt, mb - m), cols = least(nt, nb - n);
    const int64_t panels_a = ceil_div(mb, kMr), panels_b = ceil_div(nb, kNrOf);
    Out* c = static_cast<Out*>(g.c) + (m0 + m) * g.c_row;
    Sum *part, *panel;
    int64_t part_row = nt;
    carve(part, panel);
    if (kConverts && partial) part = partial + m * nb + n, part_row = nb;
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t block = block0 + i, count = elements(block);
      const int64_t words = ceil_div(count, Op::kStep);
      const bool first = block == 0 && !g.accumulate, last = block == k.count - 1;
      for (int64_t j = 0; j < cols; j += kNrOf) {
        const Sum* pb = panel;
        if (b)
          pb = b + (i * panels_b + (n + j) / kNrOf) * block_words() * kNrOf;
        else
          pack<Op, kNr<Op>>(right, n0 + n + j, 1, block * k.length, count, 0, panel);
        const Sum* with_bias = last && bias ? bias + n0 + n + j : nullptr;
        const int64_t here = least(kNrOf, cols - j);
        const PanelColumns columns = columns_at(n0 + n + j, here);
        for (int64_t r = 0; r < rows; r += kMr) {
          const Sum* pa = a + (i * panels_a + (m + r) / kMr) * block_words() * kMr;
          const Sum* of_rows = last && row_bias ? row_bias + m0 + m + r : nullptr;
          const int high = static_cast<int>(least(kMr, rows - r)), wide = static_cast<int>(here);
          const Sum* next = b && r + kMr >= rows ? pb + block_words() * kNrOf : pb;
          Out* target = c + r * g.c_row + columns.first;
          if constexpr (kConverts) {
            Sum* p = part + r * part_row + j;
            const Sum* from = first ? nullptr : p;
            if (last)
              step<Out>(pa, pb, next, words,
                        {from, part_row, 1, target, g.c_row, columns.stride, with_bias, of_rows,
                         high, wide},
                        columns);
            else
              micro<Op>(
                  pa, pb, next, words,
                  Where<Sum>{from, part_row, 1, p, part_row, 1, nullptr, nullptr, high, wide});
          } else {
            step<Out>(pa, pb, next, words,
                      {first ? nullptr : target, g.c_row, columns.stride, target, g.c_row,
                       columns.stride, with_bias, of_rows, high, wide},
                      columns);
          }
        }
      }
    }
  }
  // Memory of the running thread for one tile: partial sums that wait for conversion, a panel of B.
  void carve(Sum*& part, Sum*& panel) const {
    const bool waits = kConverts && !partial && k.count > 1;
    const int64_t sums = waits ? mt * nt : 0, words = b ? 0 : block_words() * kNrOf;
    part = panel = nullptr;  // without conversion the sums stay in C
    if (sums + words == 0) return;
    panel = static_cast<Sum*>(cpu::scratch(7, (sums + words) * sizeof(Sum)));
    part = panel + words;
  }

  // Memory of the calling thread: the bias as Sum, and sums that wait for conversion.
  void prepare(int64_t waiting) {
    const int64_t count = g.bias_by_row ? g.m : g.n;
    const int64_t biases = g.bias ? round_to(count, 16) : 0;
    if (biases + waiting == 0) return;
    Sum* out = static_cast<Sum*>(cpu::scratch(6, (biases + waiting) * sizeof(Sum)));
    if (waiting) partial = out + biases;
    if (!g.bias) return;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = i * g.bias_stride;
      if constexpr (std::is_same_v<Sum, double>)
        out[i] = static_cast<const double*>(g.bias)[at];
      else
        out[i] = g.bias_type == DType::f32 ? static_cast<const float*>(g.bias)[at]
                                           : to_float(static_cast<const bf16_t*>(g.bias)[at]);
    }
    (g.bias_by_row ? row_bias : bias) = out;
  }

  void run() {
#if defined(__AVX2__)
    if constexpr (sizeof(Sum) == 4)
      if (g.m <= kStreamRows && g.b_row == 1 && !g.b_window && !g.a_window) {
        prepare(0);
        return multiply_rows<Op, Out>(g, k.length, bias);
      }
#endif
    const int64_t depth = k.count * k.length;
    const int64_t at_once = depth <= kMostDepth ? k.count : kMostDepth / 2 / k.length;
    const int64_t side = kChunkWords / (at_once * k.length);
    const bool few = g.m <= kFewRows;
    const int64_t most_m = round_to(ceil_div(g.m, ceil_div(g.m, side)), kMr);
    const int64_t most_n = few ? g.n : round_to(ceil_div(g.n, ceil_div(g.n, side)), kNrOf);
    const int64_t words = at_once * block_words();
    a = static_cast<Sum*>(cpu::scratch(4, words * round_to(most_m, kMr) * sizeof(Sum)));
    if (!few) b = static_cast<Sum*>(cpu::scratch(5, words * most_n * sizeof(Sum)));
    prepare(kConverts && at_once < k.count ? most_m * most_n : 0);
    int64_t packed_m = -1, packed_n = -1, packed_ka = -1, packed_kb = -1;
    for (n0 = 0; n0 < g.n; n0 += most_n) {
      nb = least(most_n, g.n - n0);
      for (m0 = 0; m0 < g.m; m0 += most_m) {
        mb = least(most_m, g.m - m0);
        for (block0 = 0; block0 < k.count; block0 += at_once) {
          blocks = least(at_once, k.count - block0);
          const bool with_a = packed_m != m0 || packed_ka != block0;
          const bool with_b = b && (packed_n != n0 || packed_kb != block0);
          packed_m = m0, packed_ka = block0, packed_n = n0, packed_kb = block0;
          pack_chunk(with_a, with_b);
          choose_tile();
          const int64_t down = ceil_div(mb, mt), across = ceil_div(nb, nt);
          parallel_for(down * across, [&](int64_t t) { tile(t % down * mt, t / down * nt); });
        }
      }
    }
  }
};

template <class Op, class Out>
void multiply(const Gemm& g) {
  Product<Op, Out>(g).run();
}

WS_KERNELS_END

WS_SHARED_BEGIN

void gemm(const Gemm& given) {
  Gemm g = given;
  if (g.m <= 0 || g.n <= 0) return;
  // Rows of C should be rows in memory, and the vectors go along the longer side.
  const bool by_columns = g.c_row == 1 && g.c_col != 1;
  const bool plain = !g.bias && !g.a_window && !g.b_window && !g.c_positions;
  if (plain && (by_columns || (g.n < 8 && g.n < g.m))) {
    g = given;
    g.m = given.n, g.n = given.m;
    g.a = given.b, g.a_row = given.b_col, g.a_col = given.b_row, g.a_type = given.b_type;
    g.b = given.a, g.b_row = given.a_col, g.b_col = given.a_row, g.b_type = given.a_type;
    g.c_row = given.c_col, g.c_col = given.c_row;
  }
  const bool narrow_out = g.c_type == DType::bf16;
  if (g.accumulate && narrow_out) cpu::kernel_refuses("matmul", "it accumulates into f32 or f64");
  if (g.c_type == DType::f64) return multiply<Plain<double>, double>(g);
  if (g.a_type == DType::bf16 && g.b_type == DType::bf16 && (WS_PAIR_PRODUCTS || g.force_pairs)) {
    using Op = Pairs<WS_PAIR_PRODUCTS>;
    return narrow_out ? multiply<Op, bf16_t>(g) : multiply<Op, float>(g);
  }
  narrow_out ? multiply<Plain<float>, bf16_t>(g) : multiply<Plain<float>, float>(g);
}

WS_SHARED_END
