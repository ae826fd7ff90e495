// Attention, forward: blocks of 48 queries (as lanes) against blocks of 128 keys at fixed
// positions, with the softmax kept online, so that no T x S matrix is ever stored. The scores come
// out transposed, [key][query]: a query's maximum and sum are then sums of vectors, and its
// probabilities are the vectors that the product with V needs. A query's bits depend on its own row
// and the keys alone.

#include "chips/cpu/kernels/attention_decode.h"
#include "chips/cpu/kernels/attention_problem.h"

WS_KERNELS_BEGIN

constexpr int64_t kKeys = 128;  // keys of a block

// Everything that one block of queries works on.
struct ForwardBlock {
  const float* k;  // [keys][ldk] rows, words along D
  const float* v;  // [keys across][ldv]
  int64_t ldk, ldv, words;
  int64_t width;                       // D rounded up to 8
  int64_t keys;                        // that this block sees
  int64_t first;                       // the first key that some lane does not see
  float* q;                            // [words][48]
  float* s;                            // [128][48] scores, then probabilities (or pairs of them)
  float* o;                            // [width][48]
  float* inverse;                      // [48] 1 / sum of the probabilities
  float c;                             // scale * log2 e
  alignas(64) int32_t last[kQueries];  // the last key that each lane sees
};

// How many of the `rows` keys from `key` on the lanes [lane, lane + lanes) need: the last lane sees
// the most.
WS_INLINE int64_t rows_seen(const ForwardBlock& w, int64_t key, int64_t rows, int64_t lane,
                            int64_t lanes) {
  const int64_t seen = w.last[lane + lanes - 1] + int64_t{1} - key;
  return seen >= rows ? rows : seen <= 0 ? 0 : round_up(seen, kRows);
}

// Scores of one block of keys; the maximum of each lane joins `top`. Keys that a lane does not see:
// -inf.
template <bool Pairs>
WS_INLINE void score_keys(const ForwardBlock& w, int64_t key, int64_t rows, int64_t lanes,
                          float* top) {
  const auto seen = [=, &w](int64_t n, int64_t group) { return rows_seen(w, key, rows, n, group); };
  cut_tiles(
      lanes, seen, [ =, &w ](int64_t r, int64_t n, auto tile) __attribute__((always_inline)) {
        constexpr int M = tile.kM, V = tile.kV;
        wf acc[M][V] = {};
        multiply_tile<Pairs, false>(acc, w.k + (key + r) * w.ldk, w.ldk, w.q + n, kQueries,
                                    w.words);
        if (key + r + M > w.first) {
          const wf none = splat_wide(-__builtin_inff());
#pragma GCC unroll 3
          for (int v = 0; v < V; ++v) {
            const wi last = *reinterpret_cast<const wi*>(w.last + n + v * kWide);
#pragma GCC unroll 8
            for (int m = 0; m < M; ++m)
              acc[m][v] = select_wide(last >= static_cast<int32_t>(key + r + m), acc[m][v], none);
          }
        }
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) {
          wf high = load_wide(top + n + v * kWide);
#pragma GCC unroll 8
          for (int m = 0; m < M; ++m) {
            high = max_wide(acc[m][v], high);
            store_wide(w.s + (r + m) * kQueries + n + v * kWide, acc[m][v]);
          }
          store_wide(top + n + v * kWide, high);
        }
      });
}

// Turns scores of V native vectors of lanes into probabilities relative to 2^-shift and sums them.
template <bool Pairs, int V>
WS_INLINE void exponentiate(const ForwardBlock& w, int64_t rows, int64_t lane, const float* shifts,
                            float* sums) {
  const wf c = splat_wide(w.c);
  wf shift[V], sum[V];
#pragma GCC unroll 3
  for (int v = 0; v < V; ++v) shift[v] = load_wide(shifts + lane + v * kWide), sum[v] = wf{};
#pragma GCC unroll 2
  for (int64_t r = 0; r < rows; r += 2) {
#pragma GCC unroll 3
    for (int v = 0; v < V; ++v) {
      float* at = w.s + r * kQueries + lane + v * kWide;
      const wf p0 = exp2_tile<Pairs>(load_wide(at) * c + shift[v]);
      const wf p1 = exp2_tile<Pairs>(load_wide(at + kQueries) * c + shift[v]);
      sum[v] += p0 + p1;
      if constexpr (Pairs) {
#if WS_BF16_PAIRS
        __m512i rounded;
        store_wide(w.s + r / 2 * kQueries + lane + v * kWide, pair_words(p0, p1, &rounded));
#endif
      } else {
        store_wide(at, p0);
        store_wide(at + kQueries, p1);
      }
    }
  }
#pragma GCC unroll 3
  for (int v = 0; v < V; ++v) store_wide(sums + lane + v * kWide, sum[v]);
}

// o = o * alpha + P V over a block of keys; the first has no o yet.
template <bool Pairs>
WS_INLINE void add_values_of_block(const ForwardBlock& w, int64_t key, int64_t rows, int64_t lanes,
                                   const float* alpha) {
  const float* values = w.v + (Pairs ? key / 2 : key) * w.ldv;
  const bool first = key == 0;
  const auto all = [&w](int64_t, int64_t) { return w.width; };
  cut_tiles(
      lanes, all, [ =, &w ](int64_t d, int64_t n, auto tile) __attribute__((always_inline)) {
        constexpr int M = tile.kM, V = tile.kV;
        const int64_t seen = rows_seen(w, key, rows, n, V * kWide);
        wf acc[M][V] = {};
        multiply_tile<Pairs, true>(acc, values + d, w.ldv, w.s + n, kQueries,
                                   Pairs ? seen / 2 : seen);
        float* o = w.o + d * kQueries + n;
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) {
          const wf scale = load_wide(alpha + n + v * kWide);
#pragma GCC unroll 8
          for (int m = 0; m < M; ++m) {
            float* at = o + m * kQueries + v * kWide;
            store_wide(at, first ? acc[m][v] : load_wide(at) * scale + acc[m][v]);
          }
        }
      });
}

// One block of queries with NV * 16 lanes: o, the inverse sums, and lse (natural logarithm) per
// lane.
template <bool Pairs, int NV>
__attribute__((noinline)) void attend(ForwardBlock& w, float* lse) {
  constexpr int kCount = NV * kLanes;
  const wf none = splat_wide(-__builtin_inff());
  alignas(64) float top[kCount], high[kCount], shift[kCount], alpha[kCount], block[kCount],
      sum[kCount];
  for (int i = 0; i < kCount; ++i) top[i] = -__builtin_inff(), sum[i] = 0;
  for (int64_t key = 0; key < w.keys; key += kKeys) {
    const int64_t left = w.keys - key;
    const int64_t rows = left < kKeys ? round_up(left, kRows) : kKeys;
    std::memcpy(high, top, sizeof high);
    score_keys<Pairs>(w, key, rows, kCount, high);
    for (int i = 0; i < kCount; i += kWide) {
      // Lanes that have seen nothing but -inf: shift by 0, so that exp2(-inf) = 0 is their
      // probability.
      const wf now = load_wide(high + i), to = select_wide(now == none, wf{}, now) * -w.c;
      store_wide(shift + i, to);
      store_wide(alpha + i, exp2_tile<false>(load_wide(top + i) * w.c + to));
      store_wide(top + i, now);
    }
    constexpr int V = kTileVectors == 2 ? 2 : NV;
    for (int i = 0; i < kCount; i += V * kWide)
      exponentiate<Pairs, V>(w, rows_seen(w, key, rows, i, V * kWide), i, shift, block);
    for (int i = 0; i < kCount; i += kWide)
      store_wide(sum + i, load_wide(sum + i) * load_wide(alpha + i) + load_wide(block + i));
    add_values_of_block<Pairs>(w, key, rows, kCount, alpha);
  }
  for (int i = 0; i < kCount; ++i) {
    w.inverse[i] = sum[i] == 0 ? 0 : 1.0f / sum[i];
    lse[i] = sum[i] == 0 ? -__builtin_inff() : (top[i] * w.c + std::log2(sum[i])) * kLn2;
  }
}

// The queries of head h in [q0, q0 + n), n <= 48, of batch row b.
template <class T>
void attend_queries(const Problem& p, ForwardBlock& w, int64_t b, int64_t h, int64_t q0, int64_t n,
                    const Rows& out, const View& lse_view) {
  const int nv = static_cast<int>((n + kLanes - 1) / kLanes);
  pack_lanes(p.q.at<const T>(b, q0, h), p.q.time, n, nv * kLanes, p.D, p.flip, w.q, kQueries);
  for (int64_t i = q0 + n; i < q0 + n + kQueries && i < p.T; ++i)  // the next block
    prefetch_row(p.q.at<const T>(b, i, h), p.D);
  for (int64_t l = 0; l < nv * kLanes; ++l)  // lanes past n need no mask: nobody reads them
    w.last[l] = l < n ? static_cast<int32_t>(p.last_key(b, q0 + l)) : INT32_MAX;
  w.keys = p.last_key(b, q0 + n - 1) + 1;
  w.first = p.last_key(b, q0) + 1;
  alignas(64) float lse[kQueries];
  if (w.keys <= 0) {
    std::memset(w.o, 0, w.width * kQueries * 4);
    std::memset(w.inverse, 0, kQueries * 4);
    for (float& x : lse) x = -__builtin_inff();
  } else if (nv == 3) {
    attend<kPairs<T>, 3>(w, lse);
  } else if (nv == 2) {
    attend<kPairs<T>, 2>(w, lse);
  } else {
    attend<kPairs<T>, 1>(w, lse);
  }
  unpack_lanes(w.o, kQueries, w.inverse, n, p.D, out.at<T>(b, q0, h), out.time);
  if (lse_view.defined()) {
    float* to = static_cast<float*>(lse_view.data) + b * lse_view.strides[0] +
                h * lse_view.strides[1] + q0 * lse_view.strides[2];
    for (int64_t i = 0; i < n; ++i) to[i * lse_view.strides[2]] = lse[i];
  }
}

// Blocks of a range of queries: 48 each, but 32 + 32 rather than 48 + 16 at the end.
inline int64_t next_block(int64_t left) {
  return left == 64 ? 32 : left < kQueries ? left : kQueries;
}

template <class T>
void forward(const Problem& p, const View& out, const View& lse) {
  // One tile: a key head of a batch row with a share of its queries. Few heads make more shares.
  const int64_t pairs = p.B * p.Hk;
  int64_t shares = (64 + pairs - 1) / pairs;
  const int64_t most = (p.T + 4 * kQueries - 1) / (4 * kQueries);
  if (pairs >= 16 || most <= 1) shares = 1;
  if (shares > most) shares = most;
  // Shares are cut over (head of the group, block of queries), so that each packs K and V for
  // itself.
  const int64_t blocks = (p.T + kQueries - 1) / kQueries;
  const Rows o = rows_of(out);
  parallel_for(pairs * shares, [&](int64_t tile) {
    const int64_t share =
        shares - 1 - tile / pairs;  // of causal shares the last have the most keys
    const int64_t b = tile % pairs / p.Hk, hk = tile % pairs % p.Hk;
    const int64_t from = blocks * share / shares, to = blocks * (share + 1) / shares;
    if (from == to) return;
    const int64_t end = to * kQueries < p.T ? to * kQueries : p.T;
    int64_t keys = p.last_key(b, end - 1) + 1;
    if (keys < 0) keys = 0;
    const int64_t padded = round_up(keys, kRows);
    ForwardBlock w;
    w.words = words_along<T>(p.D);
    w.ldk = round_up(w.words, 16), w.ldv = round_up(p.D, 16);
    w.width = round_up(p.D, kRows);
    w.c = p.scale * kLog2e;
    float *k = nullptr, *v = nullptr;
    Carver carver{nullptr};
    for (int pass = 0; pass < 2; ++pass) {
      if (pass) carver = {cpu::scratch(0, carver.used)};
      k = carver.floats(padded * w.ldk);
      v = carver.floats(words_across<T>(padded) * w.ldv);
      w.q = carver.floats(w.words * kQueries);
      w.s = carver.floats(kKeys * kQueries);
      w.o = carver.floats(w.width * kQueries);
      w.inverse = carver.floats(kQueries);
    }
    pack_rows(p.k.at<const T>(b, 0, hk), p.k.time, keys, padded, p.D, k, w.ldk);
    pack_across(p.v.at<const T>(b, 0, hk), p.v.time, keys, padded, p.D, v, w.ldv);
    w.k = k, w.v = v;
    for (int64_t g = 0; g < p.group; ++g) {
      for (int64_t q = from * kQueries, n; q < end; q += n) {
        n = next_block(end - q);
        attend_queries<T>(p, w, b, hk * p.group + g, q, n, o, lse);
      }
    }
  }, Deal::in_turn);
}

void attention(const Call& call) {
  const View& q = call.in[0];
  const View* lengths = call.ins > 3 ? &call.in[3] : nullptr;
  const Problem p = problem_of(q, call.in[1], call.in[2], lengths, call);
  const View none;
  const View& lse = call.outs > 1 ? call.out[1] : none;
  if (p.B == 0 || p.T == 0 || p.H == 0 || p.D == 0) return;
  if (q.dtype == DType::f32)
    p.T <= kDecodeQueries ? decode<float>(p, call.out[0], lse)
                          : forward<float>(p, call.out[0], lse);
  else if (q.dtype == DType::bf16)
    p.T <= kDecodeQueries ? decode<bf16_t>(p, call.out[0], lse)
                          : forward<bf16_t>(p, call.out[0], lse);
  else
    cpu::kernel_refuses("attention", "the dtype is neither f32 nor bf16");
}
WS_KERNEL("attention", attention)

WS_KERNELS_END
