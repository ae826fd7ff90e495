#pragma once
// Attention of a few queries to many keys (decoding from a KV cache): bound by reading K and V
// once. Keys are split at fixed positions, splits are worked on in parallel and merged in their
// order, so the result depends neither on the batch nor on the cache's capacity.

#include "chips/cpu/kernels/attention_problem.h"

WS_KERNELS_BEGIN

constexpr int64_t kDecodeQueries = 4;  // at most so many queries come here
constexpr int64_t kSplit = 256;        // keys of a split

template <class T>
WS_INLINE wf dot_words(wf acc, wf a, wf b) {
#if WS_BF16_PAIRS
  if constexpr (kPairs<T>)
    return (wf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)(__m512)a, (__m512bh)(__m512)b);
#endif
  return a * b + acc;
}

// Scores of 16 keys (`n` of them real) with NQ packed queries: s[query][256].
template <class T, int NQ>
WS_INLINE void score16(const T* k, int64_t stride, int64_t n, const float* q, int64_t ldq,
                       int64_t d, float* s) {
  constexpr int64_t kElements = kPairs<T> ? 2 * kWide : kWide;
  constexpr int kAtOnce =
      NQ == 1 || kWide == 16 ? 4 : 2;  // keys whose sums are in registers together
  alignas(64) float sums[NQ][16 * kWide];
  for (int64_t i = 0; i < 16; i += kAtOnce) {
    wf acc[kAtOnce][NQ] = {};
    for (int64_t e = 0, w = 0; e < d; e += kElements, w += kWide) {
      wf row[kAtOnce];
      if (i + kAtOnce <= n && e + kElements <= d) {
#pragma GCC unroll 4
        for (int j = 0; j < kAtOnce; ++j) row[j] = load_words_wide(k + (i + j) * stride + e);
      } else {
#pragma GCC unroll 4
        for (int j = 0; j < kAtOnce; ++j)
          row[j] = i + j < n ? load_words_wide(k + (i + j) * stride, e, d) : wf{};
      }
#pragma GCC unroll 4
      for (int a = 0; a < NQ; ++a) {
        const wf x = load_wide(q + a * ldq + w);
#pragma GCC unroll 4
        for (int j = 0; j < kAtOnce; ++j) acc[j][a] = dot_words<T>(acc[j][a], row[j], x);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kAtOnce; ++j) {
#pragma GCC unroll 4
      for (int a = 0; a < NQ; ++a) store_wide(sums[a] + (i + j) * kWide, acc[j][a]);
    }
  }
  for (int a = 0; a < NQ; ++a)
    for (int i = 0; i < 16; i += kWide) {
      wf x[kWide];
#pragma GCC unroll 16
      for (int j = 0; j < kWide; ++j) x[j] = load_wide(sums[a] + (i + j) * kWide);
      transpose_wide(x);
#pragma GCC unroll 4
      for (int w = kWide / 2; w >= 1; w /= 2) {
#pragma GCC unroll 8
        for (int j = 0; j < w; ++j) x[j] += x[j + w];
      }
      store_wide(s + a * kSplit + i, x[0]);
    }
}

// o[query][0 .. V native vectors) = or, unless `first`, += sum over keys of p[query][key] v[key],
// for NQ queries.
template <class T, int NQ, int V>
WS_INLINE void add_values(const T* v, int64_t stride, int64_t n, const float* p, float* o,
                          int64_t ldo, bool first) {
  wf acc[NQ][V] = {};
  if (!first) {
#pragma GCC unroll 4
    for (int a = 0; a < NQ; ++a) {
#pragma GCC unroll 8
      for (int i = 0; i < V; ++i) acc[a][i] = load_wide(o + a * ldo + i * kWide);
    }
  }
  for (int64_t j = 0; j < n; ++j) {
    wf row[V];
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) row[i] = widen_wide(v + j * stride + i * kWide);
#pragma GCC unroll 4
    for (int a = 0; a < NQ; ++a) {
      const wf x = splat_wide(p[a * kSplit + j]);
#pragma GCC unroll 8
      for (int i = 0; i < V; ++i) acc[a][i] += x * row[i];
    }
  }
#pragma GCC unroll 4
  for (int a = 0; a < NQ; ++a) {
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) store_wide(o + a * ldo + i * kWide, acc[a][i]);
  }
}

// The partial result of one query over one split: o is relative to `top`, not divided by `sum`.
struct Partial {
  float top, sum;
};

struct Split {
  int64_t n;         // keys of it that are seen
  float *q, *s, *o;  // [queries][ldq], [queries][256], [queries][ldo]
  int64_t ldq, ldo;
};

template <class T, int NQ>
__attribute__((noinline)) void split_scores(const Problem& p, const Split& w, const T* k,
                                            int64_t i) {
  for (int64_t j = 0; j < w.n; j += 16) {
    for (int64_t r = j + 16; r < j + 32 && r < w.n; ++r) prefetch_row(k + r * p.k.time, p.D);
    score16<T, NQ>(k + j * p.k.time, p.k.time, w.n - j < 16 ? w.n - j : 16, w.q + i * w.ldq, w.ldq,
                   p.D, w.s + i * kSplit + j);
  }
}

// Sixteen keys at a time, so that their rows are read as they lie, whole, and only once from
// memory.
template <class T, int NQ>
__attribute__((noinline)) void split_values(const Problem& p, const Split& w, const T* v,
                                            int64_t i) {
  constexpr int kMany = kWide == 16 ? 4
                        : NQ == 1   ? 8
                                    : 2;  // native vectors whose sums fit registers
  const float* s = w.s + i * kSplit;
  float* o = w.o + i * w.ldo;
  const int64_t whole = p.D / kLanes * kLanes, stride = p.v.time;
  for (int64_t j = 0; j < w.n; j += 16) {
    const T* rows = v + j * stride;
    const int64_t n = w.n - j < 16 ? w.n - j : 16;
    for (int64_t r = j + 16; r < j + 32 && r < w.n; ++r) prefetch_row(v + r * stride, p.D);
    int64_t d = 0;
    for (; d + kMany * kWide <= whole; d += kMany * kWide)
      add_values<T, NQ, kMany>(rows + d, stride, n, s + j, o + d, w.ldo, j == 0);
    for (; d < whole; d += kLanes)
      add_values<T, NQ, kParts>(rows + d, stride, n, s + j, o + d, w.ldo, j == 0);
  }
  if (whole == p.D) return;
  vf acc[NQ] = {};
  for (int64_t j = 0; j < w.n; ++j) {
    const vf row = load_part(v + j * stride + whole, static_cast<int>(p.D - whole));
    for (int a = 0; a < NQ; ++a) acc[a] = fma(splat(s[a * kSplit + j]), row, acc[a]);
  }
  for (int a = 0; a < NQ; ++a) store(o + a * w.ldo + whole, acc[a]);
}

// Scores of one query to exp2(score - top), of which it returns the sum.
WS_INLINE Partial exponentiate_row(float* s, int64_t n, int64_t seen, float c) {
  const vf none = splat(-__builtin_inff());
  vi lane;
  for (int l = 0; l < kLanes; ++l) lane[l] = l;
  vf high = none;
  for (int64_t j = 0; j < n; j += kLanes) {
    const vf x =
        select(lane + static_cast<int32_t>(j) < static_cast<int32_t>(seen), load(s + j) * c, none);
    store(s + j, x);
    high = vmax(x, high);
  }
  const float top = max_lanes(high);
  const float safe = top == -__builtin_inff() ? 0.0f : top;
  vf sum{};
  for (int64_t j = 0; j < n; j += kLanes) {
    const vf e = exp2_lanes<false>(load(s + j) - safe);
    store(s + j, e);
    sum += e;
  }
  return {top, sum_lanes(sum)};
}

template <class T>
void decode_split(const Problem& p, int64_t b, int64_t hk, int64_t split, Partial* partial,
                  float* o, int64_t ldo) {
  const int64_t queries = p.group * p.T, key0 = split * kSplit;
  const int64_t end = p.last_key(b, p.T - 1) + 1;
  Split w;
  w.n = end - key0 < kSplit ? end - key0 : kSplit;
  w.ldq = round_up(words_along<T>(p.D), kLanes), w.ldo = ldo, w.o = o;
  Carver carver{cpu::scratch(0, static_cast<size_t>(queries * (w.ldq + kSplit) * 4))};
  w.q = carver.floats(queries * w.ldq);
  w.s = carver.floats(queries * kSplit);
  for (int64_t g = 0; g < p.group; ++g)
    pack_rows(p.q.at<const T>(b, 0, hk * p.group + g), p.q.time, p.T, p.T, p.D,
              w.q + g * p.T * w.ldq, w.ldq);
  const T *k = p.k.at<const T>(b, key0, hk), *v = p.v.at<const T>(b, key0, hk);
  int64_t i = 0;
  for (; i + 4 <= queries; i += 4) split_scores<T, 4>(p, w, k, i);
  for (; i < queries; ++i) split_scores<T, 1>(p, w, k, i);
  for (int64_t j = 0; j < 16 && j < w.n; ++j) prefetch_row(v + j * p.v.time, p.D);
  const float c = p.flip ? -p.scale * kLog2e : p.scale * kLog2e;
  for (i = 0; i < queries; ++i)
    partial[i] = exponentiate_row(w.s + i * kSplit, w.n, p.last_key(b, i % p.T) + 1 - key0, c);
  for (i = 0; i + 4 <= queries; i += 4) split_values<T, 4>(p, w, v, i);
  for (; i < queries; ++i) split_values<T, 1>(p, w, v, i);
}

// Merges the splits of one query in their order into o of split 0, and writes its row.
template <class T>
void decode_merge(const Problem& p, int64_t b, int64_t t, int64_t h, int64_t splits,
                  const Partial* partial, int64_t partial_step, float* o, int64_t o_step,
                  const Rows& out, const View& lse) {
  float top = -__builtin_inff();
  for (int64_t i = 0; i < splits; ++i)
    top = partial[i * partial_step].top > top ? partial[i * partial_step].top : top;
  const float safe = top == -__builtin_inff() ? 0.0f : top;
  float sum = 0;
  for (int64_t i = 0; i < splits; ++i) {
    const vf weight = exp2_lanes<false>(splat(partial[i * partial_step].top - safe));
    sum += partial[i * partial_step].sum * weight[0];
    for (int64_t d = 0; d < p.D; d += kLanes) {
      const vf x = load(o + i * o_step + d) * weight;
      store(o + d, i ? load(o + d) + x : x);
    }
  }
  const vf inverse = splat(sum == 0 ? 0.0f : 1.0f / sum);
  T* to = out.at<T>(b, t, h);
  for (int64_t d = 0; d < p.D; d += kLanes)
    store_row(to + d, splits ? load(o + d) * inverse : vf{}, p.D - d);
  if (lse.defined())
    static_cast<float*>(lse.data)[b * lse.strides[0] + h * lse.strides[1] + t * lse.strides[2]] =
        sum == 0 ? -__builtin_inff() : (top + std::log2(sum)) * kLn2;
}

template <class T>
void decode(const Problem& p, const View& out, const View& lse) {
  const int64_t splits = (p.S + kSplit - 1) / kSplit, ldo = round_up(p.D, kLanes);
  const int64_t queries = p.group * p.T, tiles = p.B * p.Hk * splits;
  Carver carver{cpu::scratch(1, static_cast<size_t>(tiles * queries * (ldo * 4 + 8) + 128))};
  float* o = carver.floats(tiles * queries * ldo);
  Partial* partial = reinterpret_cast<Partial*>(carver.floats(tiles * queries * 2));
  const Rows rows = rows_of(out);
  // Results lie as [b][hk][split][query].
  parallel_for(tiles, [&](int64_t tile) {
    const int64_t b = tile / splits / p.Hk, hk = tile / splits % p.Hk, split = tile % splits;
    if (split * kSplit <= p.last_key(b, p.T - 1))
      decode_split<T>(p, b, hk, split, partial + tile * queries, o + tile * queries * ldo, ldo);
  });
  parallel_for(p.B * p.Hk, [&](int64_t pair) {
    const int64_t b = pair / p.Hk, hk = pair % p.Hk, first = pair * splits * queries;
    const int64_t used = (p.last_key(b, p.T - 1) + kSplit) / kSplit;
    for (int64_t i = 0; i < queries; ++i)
      decode_merge<T>(p, b, i % p.T, hk * p.group + i / p.T, used < 0 ? 0 : used,
                      partial + first + i, queries, o + (first + i) * ldo, queries * ldo, rows,
                      lse);
  });
}

WS_KERNELS_END
