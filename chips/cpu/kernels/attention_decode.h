#pragma once
// Attention of a few queries to many keys (decoding from a KV cache): bound by reading K and V once. Keys
// are split at fixed positions, splits are worked on in parallel and merged in their order, so the result
// depends neither on the batch nor on the cache's capacity.

#include "chips/cpu/kernels/attention_problem.h"

WS_KERNELS_BEGIN

constexpr int64_t kDecodeQueries = 4;  // at most so many queries come here
constexpr int64_t kSplit = 256;        // keys of a split

template <class T>
WS_INLINE vf dot_words(vf acc, vf a, vf b) {
#if WS_BF16_PAIRS
  if constexpr (kPairs<T>)
    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)(__m512)a, (__m512bh)(__m512)b);
#endif
  return fma(a, b, acc);
}

template <class T>
WS_INLINE void prefetch_row(const T* row, int64_t d) {
  for (int64_t e = 0; e < d; e += static_cast<int64_t>(64 / sizeof(T))) __builtin_prefetch(row + e);
}

// Scores of 16 keys (`n` of them real) with one packed query.
template <class T>
WS_INLINE vf score16(const T* k, int64_t stride, int64_t n, const float* q, int64_t d) {
  constexpr int64_t kElements = kPairs<T> ? 32 : 16;
  vf s[16];
  for (int i = 0; i < 16; ++i) {
    s[i] = vf{};
    if (i >= n) continue;
    for (int64_t e = 0, w = 0; e < d; e += kElements, w += kLanes)
      s[i] = dot_words<T>(s[i], load_words(k + i * stride, e, d), load(q + w));
  }
  transpose16(s);
  for (int w = 8; w >= 1; w /= 2)
    for (int i = 0; i < w; ++i) s[i] += s[i + w];
  return s[0];
}

// o[0 .. 16 NV) += sum over keys of p[key] v[key].
template <class T, int NV>
WS_INLINE void add_values(const T* v, int64_t stride, int64_t n, const float* p, float* o, bool ahead) {
  vf acc[NV];
  for (int i = 0; i < NV; ++i) acc[i] = load(o + i * kLanes);
  for (int64_t j = 0; j < n; ++j) {
    if (ahead && j + 16 < n) prefetch_row(v + (j + 16) * stride, NV * kLanes);
    const vf s = splat(p[j]);
    for (int i = 0; i < NV; ++i) acc[i] = fma(s, load(v + j * stride + i * kLanes), acc[i]);
  }
  for (int i = 0; i < NV; ++i) store(o + i * kLanes, acc[i]);
}

// The partial result of one query over one split: o is relative to `top`, not divided by `sum`.
struct Partial {
  float top, sum;
};

template <class T>
void decode_split(const Problem& p, int64_t b, int64_t hk, int64_t split, Partial* partial,
                  float* o, int64_t ldo) {
  const int64_t queries = p.group * p.T, key0 = split * kSplit;
  const int64_t end = p.last_key(b, p.T - 1) + 1;
  const int64_t n = end - key0 < kSplit ? end - key0 : kSplit;
  const int64_t ldq = round_up(words_along<T>(p.D), kLanes);
  Carver carver{cpu::scratch(0, static_cast<size_t>(queries * (ldq + kSplit) * 4))};
  float* q = carver.floats(queries * ldq);
  float* s = carver.floats(queries * kSplit);
  for (int64_t g = 0; g < p.group; ++g)
    pack_rows(p.q.at<const T>(b, 0, hk * p.group + g), p.q.time, p.T, p.T, p.D, q + g * p.T * ldq,
              ldq);
  const T* k = p.k.at<const T>(b, key0, hk);
  for (int64_t j = 0; j < n; j += 16) {
    for (int64_t i = j + 16; i < j + 32 && i < n; ++i) prefetch_row(k + i * p.k.time, p.D);
    const int64_t here = n - j < 16 ? n - j : 16;
    for (int64_t i = 0; i < queries; ++i)
      store(s + i * kSplit + j, score16(k + j * p.k.time, p.k.time, here, q + i * ldq, p.D));
  }
  const T* v = p.v.at<const T>(b, key0, hk);
  for (int64_t j = 0; j < 16 && j < n; ++j) prefetch_row(v + j * p.v.time, p.D);
  const float c = p.flip ? -p.scale * kLog2e : p.scale * kLog2e;
  vi lane;
  for (int l = 0; l < kLanes; ++l) lane[l] = l;
  for (int64_t i = 0; i < queries; ++i) {
    float* si = s + i * kSplit;
    const int32_t seen = static_cast<int32_t>(p.last_key(b, i % p.T) + 1 - key0);
    const vf none = splat(-__builtin_inff());
    vf high = none;
    for (int64_t j = 0; j < n; j += kLanes) {
      const vf x = select(lane + static_cast<int32_t>(j) < seen, load(si + j) * c, none);
      store(si + j, x);
      high = vmax_fast(x, high);
    }
    const float top = max_lanes(high);
    const float safe = top == -__builtin_inff() ? 0.0f : top;
    vf sum{};
    for (int64_t j = 0; j < n; j += kLanes) {
      const vf e = exp2_tile<false>(load(si + j) - safe);
      store(si + j, e);
      sum += e;
    }
    partial[i] = {top, sum_lanes(sum)};
    float* oi = o + i * ldo;
    std::memset(oi, 0, ldo * 4);
    int64_t d = 0;
    const bool ahead = i == 0;
    for (; d + 4 * kLanes <= p.D; d += 4 * kLanes)
      add_values<T, 4>(v + d, p.v.time, n, si, oi + d, ahead);
    for (; d + kLanes <= p.D; d += kLanes)
      add_values<T, 1>(v + d, p.v.time, n, si, oi + d, ahead);
    if (d < p.D) {
      vf acc{};
      for (int64_t j = 0; j < n; ++j)
        acc = fma(splat(si[j]), load_part(v + j * p.v.time + d, static_cast<int>(p.D - d)), acc);
      store(oi + d, acc);
    }
  }
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
    const vf weight = exp2_tile<false>(splat(partial[i * partial_step].top - safe));
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
    static_cast<float*>(
        lse.data)[b * lse.strides[0] + h * lse.strides[1] + t * lse.strides[2]] =
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
                      partial + first + i, queries, o + (first + i) * ldo, queries * ldo, rows, lse);
  });
}

WS_KERNELS_END
