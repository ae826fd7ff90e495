// Attention, backward: probabilities are computed again from lse, so no T x S matrix is stored. A
// tile is a key head of a batch row with a share of its keys: dk and dv grow in scratch over the
// heads of the group and the blocks of queries, dq over the blocks of keys. With few heads the keys
// are cut into shares, whose partial dq are added in order. Shares and orders follow from the shape
// alone.

#include "chips/cpu/kernels/attention_problem.h"

WS_KERNELS_BEGIN

constexpr int64_t kBlockKeys = 128;  // keys of a block

struct Gradients {
  Rows out, o, dq, dk, dv;  // `out` is the gradient of o
  const float* lse;
  int64_t lse_batch, lse_head, lse_time;
};

// One block of 48 queries, packed. Lies in `words` successive pieces of one buffer.
struct QueryBlock {
  float *q, *out;                // [words][48]: queries as lanes
  float *q_across, *out_across;  // [48 across][ldd]
  float *lse, *delta;            // [48]: lse / ln 2; the sum of out * o
  int32_t* last;                 // [48]: the last key that each lane sees
  float* dq;                     // [48][ldd]
};

struct KeyBlocks {
  float *k, *v;     // [keys][ldk]
  float* k_across;  // [keys across][ldd]
  float *dk, *dv;   // [keys][ldd]
};

struct Work {
  int64_t words, ldk, ldd;
  float c;
  float *p, *ds, *ds_across;  // [keys][48]: the first two with words along the queries
};

// Probabilities and score gradients of a block of keys against a block of queries.
template <bool Pairs>
WS_INLINE void differentiate(const Work& w, const KeyBlocks& kb, const QueryBlock& qb, int64_t key,
                             int64_t local, int64_t rows, int64_t lanes, bool masked) {
  const auto all = [=](int64_t, int64_t) { return rows; };
  cut_tiles(
      lanes, all,
      [ =, &w, &kb, &qb ](int64_t r, int64_t n, auto tile) __attribute__((always_inline)) {
        constexpr int M = tile.kM, V = tile.kV;
        alignas(64) float p[M * V * kWide];
        {
          wf acc[M][V] = {};
          multiply_tile<Pairs, false>(acc, kb.k + (local + r) * w.ldk, w.ldk, qb.q + n, kQueries,
                                      w.words);
#pragma GCC unroll 3
          for (int v = 0; v < V; ++v) {
            const wf lse = load_wide(qb.lse + n + v * kWide);
            const wi last = *reinterpret_cast<const wi*>(qb.last + n + v * kWide);
#pragma GCC unroll 8
            for (int m = 0; m < M; ++m) {
              wf e = exp2_tile<Pairs>(acc[m][v] * w.c - lse);
              if (masked) e = select_wide(last >= static_cast<int32_t>(key + r + m), e, wf{});
              store_wide(p + (m * V + v) * kWide, e);
            }
          }
        }
        wf acc[M][V] = {};
        multiply_tile<Pairs, false>(acc, kb.v + (local + r) * w.ldk, w.ldk, qb.out + n, kQueries,
                                    w.words);
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) {
          const wf delta = load_wide(qb.delta + n + v * kWide);
#pragma GCC unroll 4
          for (int m = 0; m < M; m += 2) {
            const wf p0 = load_wide(p + (m * V + v) * kWide),
                     p1 = load_wide(p + ((m + 1) * V + v) * kWide);
            const wf d0 = p0 * (acc[m][v] - delta), d1 = p1 * (acc[m + 1][v] - delta);
            const int64_t lane = n + v * kWide, at = (r + m) * kQueries + lane;
            if constexpr (Pairs) {
#if WS_BF16_PAIRS
              // Along the queries a row of bf16 is a row of pairs as it is: 24 words, at a stride
              // of 48.
              const auto put = [&](float* to, __m512i two) {
                bf16_t* row = reinterpret_cast<bf16_t*>(to + (r + m) * kQueries) + lane;
                _mm256_store_si256((__m256i*)row, _mm512_castsi512_si256(two));
                _mm256_store_si256((__m256i*)(row + 2 * kQueries),
                                   _mm512_extracti64x4_epi64(two, 1));
              };
              put(w.p, (__m512i)_mm512_cvtne2ps_pbh((__m512)p1, (__m512)p0));
              __m512i rounded;
              const wf pair = pair_words(d0, d1, &rounded);
              put(w.ds, rounded);
              store_wide(w.ds_across + (r + m) / 2 * kQueries + lane, pair);
#endif
            } else {
              store_wide(w.p + at, p0), store_wide(w.p + at + kQueries, p1);
              store_wide(w.ds + at, d0), store_wide(w.ds + at + kQueries, d1);
            }
          }
        }
      });
}

template <bool Pairs, int NV>
__attribute__((noinline)) void block_pair(const Work& w, const KeyBlocks& kb, const QueryBlock& qb,
                                          int64_t key, int64_t local, int64_t rows, bool masked) {
  constexpr int64_t lanes = NV * kLanes, words = Pairs ? lanes / 2 : lanes;
  differentiate<Pairs>(w, kb, qb, key, local, rows, lanes, masked);
  add_product<Pairs, false>(kb.dv + local * w.ldd, w.ldd, w.p, kQueries, qb.out_across, w.ldd, rows,
                            w.ldd, words);
  add_product<Pairs, false>(kb.dk + local * w.ldd, w.ldd, w.ds, kQueries, qb.q_across, w.ldd, rows,
                            w.ldd, words);
  const float* across = kb.k_across + (Pairs ? local / 2 : local) * w.ldd;
  add_product<Pairs, true>(qb.dq, w.ldd, Pairs ? w.ds_across : w.ds, kQueries, across, w.ldd, lanes,
                           w.ldd, Pairs ? rows / 2 : rows);
}

// A block of keys against a block of queries, less what no query of it sees: whole groups of 16
// queries at its beginning and of 8 keys at its end.
template <bool Pairs>
void visible_pair(const Problem& p, const Work& w, const KeyBlocks& kb, QueryBlock qb, int64_t b,
                  int64_t q0, int64_t key, int64_t local, int64_t rows) {
  const int64_t end = p.T - q0 < kQueries ? p.T - q0 : kQueries;
  const int64_t seen = p.last_key(b, q0 + end - 1) + 1 - key;
  if (seen <= 0) return;
  if (seen < rows) rows = seen;
  rows = round_up(rows, kRows);
  int64_t lane = 0;
  while (lane + kLanes < end && p.last_key(b, q0 + lane + kLanes - 1) < key) lane += kLanes;
  qb.q += lane, qb.out += lane, qb.lse += lane, qb.delta += lane, qb.last += lane;
  qb.q_across += (Pairs ? lane / 2 : lane) * w.ldd;
  qb.out_across += (Pairs ? lane / 2 : lane) * w.ldd;
  qb.dq += lane * w.ldd;
  const bool masked = p.last_key(b, q0 + lane) < key + rows - 1;
  if (end - lane > 2 * kLanes)
    block_pair<Pairs, 3>(w, kb, qb, key, local, rows, masked);
  else if (end - lane > kLanes)
    block_pair<Pairs, 2>(w, kb, qb, key, local, rows, masked);
  else
    block_pair<Pairs, 1>(w, kb, qb, key, local, rows, masked);
}

// Packs the queries [q0, q0 + n) of head h.
template <class T>
void pack_queries(const Problem& p, const Gradients& g, const Work& w, int64_t b, int64_t h,
                  int64_t q0, int64_t n, const QueryBlock& to) {
  const T* q = p.q.at<const T>(b, q0, h);
  const T* out = g.out.at<const T>(b, q0, h);
  for (int64_t i = q0 + kQueries; i < q0 + 2 * kQueries && i < p.T; ++i) {  // the next block
    prefetch_row(p.q.at<const T>(b, i, h), p.D);
    prefetch_row(g.out.at<const T>(b, i, h), p.D);
    prefetch_row(g.o.at<const T>(b, i, h), p.D);
  }
  pack_lanes(q, p.q.time, n, kQueries, p.D, p.flip, to.q, kQueries);
  pack_lanes(out, g.out.time, n, kQueries, p.D, 0, to.out, kQueries);
  pack_across(q, p.q.time, n, kQueries, p.D, to.q_across, w.ldd);
  pack_across(out, g.out.time, n, kQueries, p.D, to.out_across, w.ldd);
  const T* o = g.o.at<const T>(b, q0, h);
  const float* lse = g.lse + b * g.lse_batch + h * g.lse_head + q0 * g.lse_time;
  for (int64_t i = 0; i < kQueries; i += kLanes) {
    vf sums[16];  // of out * o, per row
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) {
      sums[r] = vf{};
      if (i + r >= n) continue;
      const T *x = out + (i + r) * g.out.time, *y = o + (i + r) * g.o.time;
      for (int64_t d = 0; d < p.D; d += kLanes)
        sums[r] = fma(load_row(x + d, p.D - d), load_row(y + d, p.D - d), sums[r]);
    }
    transpose16(sums);
#pragma GCC unroll 4
    for (int w = 8; w >= 1; w /= 2) {
#pragma GCC unroll 8
      for (int r = 0; r < w; ++r) sums[r] += sums[r + w];
    }
    store(to.delta + i, sums[0]);
    for (int r = 0; r < 16; ++r) {
      // Lanes past the end, and queries that saw no key, have no probability.
      const float l = i + r < n ? lse[(i + r) * g.lse_time] * kLog2e : -__builtin_inff();
      to.lse[i + r] = l == -__builtin_inff() ? __builtin_inff() : l;
    }
  }
  for (int64_t i = 0; i < kQueries; i += kLanes) {
    const vi last = last_keys(p, b, q0 + i);
    std::memcpy(to.last + i, &last, 64);
  }
}

// out = x * scale for `rows` rows.
template <class T>
void write_rows(const float* x, int64_t ldx, float scale, int64_t rows, int64_t d, T* out,
                int64_t stride) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t e = 0; e < d; e += kLanes)
      store_row(out + r * stride + e, load(x + r * ldx + e) * scale, d - e);
}

template <class T>
void backward_tile(const Problem& p, const Gradients& g, int64_t b, int64_t hk, int64_t key0,
                   int64_t key1, float* partial_dq) {
  constexpr bool pairs = kPairs<T>;
  const int64_t blocks = (p.T + kQueries - 1) / kQueries, padded = round_up(key1 - key0, kRows);
  const float signed_scale = p.flip ? -p.scale : p.scale;
  Work w;
  w.words = words_along<T>(p.D);
  w.ldk = round_up(w.words, 16), w.ldd = round_up(p.D, 16);
  w.c = p.scale * kLog2e;
  const int64_t across = words_across<T>(kQueries);
  KeyBlocks kb;
  float* packed = nullptr;
  const int64_t piece =
      2 * w.words * kQueries + 2 * across * w.ldd + 3 * kQueries + kQueries * w.ldd;
  Carver carver{nullptr};
  for (int pass = 0; pass < 2; ++pass) {
    if (pass) carver = {cpu::scratch(0, carver.used)};
    w.p = carver.floats(kBlockKeys * kQueries);
    w.ds = carver.floats(kBlockKeys * kQueries);
    w.ds_across = carver.floats(kBlockKeys * kQueries);
    kb.k = carver.floats(padded * w.ldk);
    kb.v = carver.floats(padded * w.ldk);
    kb.k_across = pairs || w.ldk != w.ldd ? carver.floats(words_across<T>(padded) * w.ldd) : kb.k;
    kb.dk = carver.floats(padded * w.ldd);
    kb.dv = carver.floats(padded * w.ldd);
    packed = carver.floats(blocks * piece);
  }
  const auto block_at = [&](int64_t i) {
    QueryBlock q;
    q.q = packed + i * piece;
    q.out = q.q + w.words * kQueries;
    q.q_across = q.out + w.words * kQueries;
    q.out_across = q.q_across + across * w.ldd;
    q.dq = q.out_across + across * w.ldd;
    q.lse = q.dq + kQueries * w.ldd;
    q.delta = q.lse + kQueries;
    q.last = reinterpret_cast<int32_t*>(q.delta + kQueries);
    return q;
  };
  const int64_t keys = key1 - key0;
  const T* k = p.k.at<const T>(b, key0, hk);
  pack_rows(k, p.k.time, keys, padded, p.D, kb.k, w.ldk);
  pack_rows(p.v.at<const T>(b, key0, hk), p.v.time, keys, padded, p.D, kb.v, w.ldk);
  if (kb.k_across != kb.k) pack_across(k, p.k.time, keys, padded, p.D, kb.k_across, w.ldd);
  std::memset(kb.dk, 0, padded * w.ldd * 4);
  std::memset(kb.dv, 0, padded * w.ldd * 4);
  // The first block of queries that sees a key at all.
  const auto first_block = [&](int64_t key) {
    if (!p.causal) return int64_t{0};
    const int64_t first = key - p.reach(b);
    return first <= 0 ? int64_t{0} : first / kQueries;
  };
  for (int64_t head = 0; head < p.group; ++head) {
    const int64_t h = hk * p.group + head, from = first_block(key0);
    for (int64_t i = from; i < blocks; ++i) {
      const QueryBlock q = block_at(i);
      const int64_t n = p.T - i * kQueries < kQueries ? p.T - i * kQueries : kQueries;
      pack_queries<T>(p, g, w, b, h, i * kQueries, n, q);
      std::memset(q.dq, 0, kQueries * w.ldd * 4);
    }
    for (int64_t key = key0; key < key1; key += kBlockKeys) {
      const int64_t rows = key1 - key < kBlockKeys ? key1 - key : kBlockKeys;
      for (int64_t i = first_block(key); i < blocks; ++i)
        visible_pair<pairs>(p, w, kb, block_at(i), b, i * kQueries, key, key - key0, rows);
    }
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t q0 = i * kQueries, n = p.T - q0 < kQueries ? p.T - q0 : kQueries;
      float* dq = block_at(i).dq;
      if (i < from) std::memset(dq, 0, kQueries * w.ldd * 4);
      if (partial_dq)
        write_rows(dq, w.ldd, 1.0f, n, p.D, partial_dq + (head * p.T + q0) * w.ldd, w.ldd);
      else
        write_rows(dq, w.ldd, signed_scale, n, p.D, g.dq.at<T>(b, q0, h), g.dq.time);
    }
  }
  write_rows(kb.dk, w.ldd, signed_scale, keys, p.D, g.dk.at<T>(b, key0, hk), g.dk.time);
  write_rows(kb.dv, w.ldd, 1.0f, keys, p.D, g.dv.at<T>(b, key0, hk), g.dv.time);
}

template <class T>
void backward(const Problem& p, const Gradients& g) {
  const int64_t pairs = p.B * p.Hk, ldd = round_up(p.D, 16);
  // Shares of the keys, of whole blocks: none with 16 pairs or more, else enough for 32 tiles.
  int64_t shares = pairs >= 16 ? 1 : (32 + pairs - 1) / pairs;
  const int64_t most = (p.S + 4 * kBlockKeys - 1) / (4 * kBlockKeys);
  if (shares > most) shares = most;
  if (shares < 1) shares = 1;
  const int64_t blocks = (p.S + kBlockKeys - 1) / kBlockKeys, partial = p.group * p.T * ldd;
  float* dq = nullptr;
  if (shares > 1)
    dq = static_cast<float*>(cpu::scratch(1, static_cast<size_t>(pairs * shares * partial * 4)));
  // The first keys are seen by the most queries: begin with them.
  parallel_for(pairs * shares, [&](int64_t tile) {
    const int64_t share = tile / pairs, pair = tile % pairs;
    const int64_t key0 = blocks * share / shares * kBlockKeys;
    int64_t key1 = blocks * (share + 1) / shares * kBlockKeys;
    if (key1 > p.S) key1 = p.S;
    backward_tile<T>(p, g, pair / p.Hk, pair % p.Hk, key0, key1,
                     dq ? dq + (pair * shares + share) * partial : nullptr);
  }, Deal::in_turn);
  if (!dq) return;
  const float scale = p.flip ? -p.scale : p.scale;
  parallel_for(p.B * p.H, [&](int64_t tile) {
    const int64_t b = tile / p.H, h = tile % p.H, hk = h / p.group;
    float* sum = dq + (b * p.Hk + hk) * shares * partial + h % p.group * p.T * ldd;
    for (int64_t s = 1; s < shares; ++s)
      for (int64_t i = 0; i < p.T * ldd; i += kLanes)
        store(sum + i, load(sum + i) + load(sum + s * partial + i));
    write_rows(sum, ldd, scale, p.T, p.D, g.dq.at<T>(b, 0, h), g.dq.time);
  });
}

void attention_backward(const Call& call) {
  const View &out = call.in[0], &q = call.in[1], &k = call.in[2], &v = call.in[3], &o = call.in[4],
             &lse = call.in[5];
  const Problem p = problem_of(q, k, v, nullptr, call);
  Gradients g;
  g.out = rows_of(out), g.o = rows_of(o);
  g.dq = rows_of(call.out[0]), g.dk = rows_of(call.out[1]), g.dv = rows_of(call.out[2]);
  g.lse = static_cast<const float*>(lse.data);
  g.lse_batch = lse.strides[0], g.lse_head = lse.strides[1], g.lse_time = lse.strides[2];
  for (const View* x : {&out, &o, &k, &v, &call.out[0], &call.out[1], &call.out[2]})
    if (x->dtype != q.dtype) cpu::kernel_refuses("attention_backward", "the dtypes differ");
  if (p.B == 0 || p.H == 0 || p.D == 0) return;
  if (q.dtype == DType::f32)
    backward<float>(p, g);
  else if (q.dtype == DType::bf16)
    backward<bf16_t>(p, g);
  else
    cpu::kernel_refuses("attention_backward", "the dtype is neither f32 nor bf16");
}
WS_KERNEL("attention_backward", attention_backward)

WS_KERNELS_END
