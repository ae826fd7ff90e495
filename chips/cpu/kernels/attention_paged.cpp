// Attention to keys and values in pages (Kwon et al., PagedAttention, 2023), and what puts them there.
// A page holds 64 positions of a sequence: keys [pages, Hk, D, 64], so that a vector is one channel of
// neighbouring positions, and values [pages, Hk, 64, D]; f32, bf16, or i8 with a scale for each position and
// head, f32 [pages, Hk, 64]. What a page has is packed; pages may be further apart.
//
// kv_put: out {keys, values, key scales, value scales}, in {k, v [N, Hk, D], slots i32 [N]}: slot = 64 page +
//   place.
// attention_paged: out {y [N, H, D]}, in {q [N, H, D], keys, values, key scales, value scales, tables i32
//   [sequences, most pages], segments i32 [sequences, 3]}, attr {scale}. A segment is {first row, rows,
//   position of the first row}: row i sees the positions up to its own.
//
// A query's bits depend on its own sequence alone: channels and positions are added one after the other, in
// splits of 256 positions that are merged in their order, however many queries go side by side.

#include <cmath>

#include "chips/cpu/kernels/rows.h"
#include "chips/cpu/kernels/attention_pack.h"

WS_KERNELS_BEGIN


constexpr int64_t kPage = 64;    // positions of a page
constexpr int64_t kSplit = 256;  // positions of a split
constexpr int64_t kChunk = 48;   // about so many queries go through a split together
#if WS_ISA_LEVEL >= 2
constexpr int kQ = 6, kV = 4;  // queries and vectors whose sums are in registers
#elif WS_ISA_LEVEL == 1
constexpr int kQ = 3, kV = 2;
#else
constexpr int kQ = 2, kV = 1;
#endif

WS_INLINE vf load_cached(const float* p, int n) { return load_n(p, n); }
WS_INLINE vf load_cached(const bf16_t* p, int n) { return load_n(p, n); }
WS_INLINE vf load_cached(const int8_t* p, int n) {
#if WS_ISA_LEVEL >= 2
  if (n == kLanes)
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#endif
  alignas(64) float x[kLanes] = {};
  for (int i = 0; i < n; ++i) x[i] = static_cast<float>(p[i]);
  return load(x);
}

// c[q][0 .. 16 V) = sum over k of a[q][k] b[k][0 .. 16 V), from the first k to the last.
template <class T, int Q, int V>
WS_INLINE void product(const float* a, int64_t lda, const T* b, int64_t ldb, int64_t k, float* c, int64_t ldc, int last) {
  vf acc[Q][V] = {};
  for (int64_t i = 0; i < k; ++i) {
    vf row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) row[v] = load_cached(b + i * ldb + v * kLanes, v + 1 < V ? kLanes : last);
#pragma GCC unroll 6
    for (int q = 0; q < Q; ++q) {
      const vf x = splat(a[q * lda + i]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[q][v] = fma(x, row[v], acc[q][v]);
    }
  }
#pragma GCC unroll 6
  for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(c + q * ldc + v * kLanes, acc[q][v]);
  }
}

// The same for any number of queries and columns; c has room for whole vectors.
template <class T>
__attribute__((noinline)) void products(int64_t queries, const float* a, int64_t lda, const T* b, int64_t ldb, int64_t k,
                                        int64_t columns, float* c, int64_t ldc) {
  int64_t j = 0;
  const auto all = [&](auto width, int last) {
    constexpr int V = decltype(width)::value;
    int64_t q = 0;
    for (; q + kQ <= queries; q += kQ) product<T, kQ, V>(a + q * lda, lda, b + j, ldb, k, c + q * ldc + j, ldc, last);
    for (; q < queries; ++q) product<T, 1, V>(a + q * lda, lda, b + j, ldb, k, c + q * ldc + j, ldc, last);
  };
  for (; j + kV * kLanes <= columns; j += kV * kLanes) all(std::integral_constant<int, kV>{}, kLanes);
  for (; j < columns; j += kLanes)
    all(std::integral_constant<int, 1>{}, static_cast<int>(columns - j < kLanes ? columns - j : kLanes));
}

// Tensors [rows, heads, D] with any strides but a last one of 1.
struct Heads {
  char* data;
  int64_t row, head;  // bytes
  bool half;
  static Heads of(const char* kernel, const View& v) {
    if (v.dims != 3 || (v.shape[2] > 1 && v.strides[2] != 1)) cpu::kernel_refuses(kernel, "rows are not [N, heads, D]");
    if (v.dtype != DType::f32 && v.dtype != DType::bf16) cpu::kernel_refuses(kernel, "a dtype is neither f32 nor bf16");
    const int64_t size = v.dtype == DType::bf16 ? 2 : 4;
    return {static_cast<char*>(v.data), v.strides[0] * size, v.strides[1] * size, size == 2};
  }
  char* at(int64_t r, int64_t h) const { return data + r * row + h * head; }
  WS_INLINE vf load_at(int64_t r, int64_t h, int64_t i, int n) const {
    return half ? load_n(reinterpret_cast<const bf16_t*>(at(r, h)) + i, n)
                : load_n(reinterpret_cast<const float*>(at(r, h)) + i, n);
  }
};

struct Cache {
  const void *keys, *values;
  const float *key_scales, *value_scales;  // null but for i8
  int64_t step, scale_step;  // from page to page, in elements
  int64_t Hk, D;
  template <class T>
  const T* key(int64_t page, int64_t h) const {
    return static_cast<const T*>(keys) + page * step + h * D * kPage;
  }
  template <class T>
  const T* value(int64_t page, int64_t h) const {
    return static_cast<const T*>(values) + page * step + h * D * kPage;
  }
  const float* key_scale(int64_t page, int64_t h) const { return key_scales + page * scale_step + h * kPage; }
  const float* value_scale(int64_t page, int64_t h) const { return value_scales + page * scale_step + h * kPage; }
};

struct Job {
  Cache cache;
  Heads q, y;
  const int32_t *tables, *segments;
  int64_t table_step, H, group, D, ldd;
  float c;  // scale times log2 e

  int64_t rows_each() const { return group >= kChunk ? 1 : kChunk / group; }
};

// Some rows of one sequence and the heads that share a key head: queries go by row, then by head.
struct Chunk {
  int64_t sequence, hk, row0, rows, position0;
  int64_t end() const { return position0 + rows; }  // positions that one of them sees
};

struct State {
  float *top, *sum, *o;  // [queries], [queries], [queries][ldd]
};

// One split of a chunk: o relative to top, not divided by the sum.
template <class T>
void attend_split(const Job& p, const Chunk& w, int64_t split, const float* q, float* s, const State& out) {
  const int64_t queries = w.rows * p.group, key0 = split * kSplit;
  const int64_t n = w.end() - key0 < kSplit ? w.end() - key0 : kSplit;
  const int32_t* table = p.tables + w.sequence * p.table_step + key0 / kPage;
  for (int64_t j = 0; j < n; j += kPage) {
    const int64_t page = table[j / kPage];
    products<T>(queries, q, p.ldd, p.cache.key<T>(page, w.hk), kPage, p.D, kPage, s + j, kSplit);
    if (p.cache.key_scales) {
      const float* scales = p.cache.key_scale(page, w.hk);
      for (int64_t i = 0; i < queries; ++i)
        for (int64_t k = 0; k < kPage; k += kLanes)
          store(s + i * kSplit + j + k, load(s + i * kSplit + j + k) * load(scales + k));
    }
  }
  const vf none = splat(-__builtin_inff());
  vi lane;
  for (int l = 0; l < kLanes; ++l) lane[l] = l;
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t seen = w.position0 + i / p.group + 1 - key0;  // positions of this split that it sees
    float* row = s + i * kSplit;
    vf high = none;
    for (int64_t j = 0; j < n; j += kLanes) {
      const vf x = select(lane + static_cast<int32_t>(j) < static_cast<int32_t>(seen), load(row + j) * p.c, none);
      store(row + j, x);
      high = vmax(x, high);
    }
    const float top = max_lanes(high), safe = top == -__builtin_inff() ? 0.0f : top;
    vf sum{};
    for (int64_t j = 0; j < n; j += kLanes) {
      const vf e = exp2_lanes<false>(load(row + j) - safe);
      store(row + j, e);
      sum += e;
    }
    out.top[i] = top, out.sum[i] = sum_lanes(sum);
  }
  // Page by page: the sums go on where those of the page before ended.
  for (int64_t j = 0; j < n; j += kPage) {
    const int64_t page = table[j / kPage], count = n - j < kPage ? n - j : kPage;
    if (p.cache.value_scales) {
      const float* scales = p.cache.value_scale(page, w.hk);
      for (int64_t i = 0; i < queries; ++i)
        for (int64_t k = 0; k < count; ++k) s[i * kSplit + j + k] *= scales[k];
    }
    float* part = s + queries * kSplit;
    products<T>(queries, s + j, kSplit, p.cache.value<T>(page, w.hk), p.D, count, p.D, j ? part : out.o, p.ldd);
    if (j)
      for (int64_t i = 0; i < queries; ++i)
        for (int64_t d = 0; d < p.ldd; d += kLanes)
          store(out.o + i * p.ldd + d, load(out.o + i * p.ldd + d) + load(part + i * p.ldd + d));
  }
}

// What a split adds to those before it.
void merge(const State& all, const State& next, int64_t queries, int64_t ldd) {
  for (int64_t i = 0; i < queries; ++i) {
    const float a = all.top[i], b = next.top[i], top = a > b ? a : b;
    const float safe = top == -__builtin_inff() ? 0.0f : top;
    const vf wa = exp2_lanes<false>(splat(a - safe)), wb = exp2_lanes<false>(splat(b - safe));
    all.top[i] = top;
    all.sum[i] = all.sum[i] * wa[0] + next.sum[i] * wb[0];
    for (int64_t d = 0; d < ldd; d += kLanes)
      store(all.o + i * ldd + d, load(all.o + i * ldd + d) * wa + load(next.o + i * ldd + d) * wb);
  }
}

void write(const Job& p, const Chunk& w, const State& s) {
  for (int64_t i = 0; i < w.rows * p.group; ++i) {
    const vf inverse = splat(s.sum[i] == 0 ? 0.0f : 1.0f / s.sum[i]);
    char* to = p.y.at(w.row0 + i / p.group, w.hk * p.group + i % p.group);
    each_vector(p.D, [&](int64_t d, int n) {
      const vf v = load(s.o + i * p.ldd + d) * inverse;
      if (p.y.half)
        store_n(reinterpret_cast<bf16_t*>(to) + d, v, n);
      else
        store_n(reinterpret_cast<float*>(to) + d, v, n);
    });
  }
}

void read_queries(const Job& p, const Chunk& w, float* q) {
  for (int64_t i = 0; i < w.rows * p.group; ++i)
    each_vector(p.D, [&](int64_t d, int n) {
      store(q + i * p.ldd + d, p.q.load_at(w.row0 + i / p.group, w.hk * p.group + i % p.group, d, n));
    });
}

// Chunks of all sequences, each for every key head: found by number.
struct Chunks {
  const Job& p;
  int64_t sequences, most;  // chunks of a sequence at most
  bool get(int64_t tile, Chunk& w) const {
    w.hk = tile % p.cache.Hk;
    const int64_t chunk = tile / p.cache.Hk % most;
    w.sequence = tile / p.cache.Hk / most;
    const int32_t* s = p.segments + 3 * w.sequence;
    const int64_t begin = chunk * p.rows_each();
    if (begin >= s[1]) return false;
    w.row0 = s[0] + begin, w.position0 = s[2] + begin;
    w.rows = s[1] - begin < p.rows_each() ? s[1] - begin : p.rows_each();
    return true;
  }
};

template <class T>
void attend(const Job& p, int64_t sequences, int64_t most_rows, int64_t most_end) {
  const Chunks chunks{p, sequences, (most_rows + p.rows_each() - 1) / p.rows_each()};
  const int64_t tiles = sequences * chunks.most * p.cache.Hk, splits = (most_end + kSplit - 1) / kSplit;
  const int64_t queries = p.rows_each() * p.group;
  const int64_t state = round_up(queries * 2, kLanes) + queries * p.ldd;  // floats
  const auto state_at = [&](float* base) { return State{base, base + queries, base + round_up(queries * 2, kLanes)}; };
  const auto work = [&](int64_t more) {  // queries, scores, a page's part; and more
    return static_cast<float*>(cpu::scratch(0, static_cast<size_t>(queries * (2 * p.ldd + kSplit) + more) * 4 + 64));
  };
  if (tiles >= 32 || splits == 1) {
    parallel_for(tiles, [&](int64_t tile) {
      Chunk w;
      if (!chunks.get(tile, w)) return;
      float *q = work(2 * state), *s = q + queries * p.ldd, *states = s + queries * (kSplit + p.ldd);
      const State all = state_at(states), next = state_at(states + state);
      read_queries(p, w, q);
      for (int64_t split = 0; split * kSplit < w.end(); ++split) {
        attend_split<T>(p, w, split, q, s, split ? next : all);
        if (split) merge(all, next, w.rows * p.group, p.ldd);
      }
      write(p, w, all);
    });
    return;
  }
  // Few sequences that are long: their splits side by side, then merged in the same way.
  float* states = static_cast<float*>(cpu::scratch(1, static_cast<size_t>(tiles * splits * state) * 4));
  parallel_for(tiles * splits, [&](int64_t i) {
    Chunk w;
    const int64_t tile = i / splits, split = i % splits;
    if (!chunks.get(tile, w) || split * kSplit >= w.end()) return;
    float *q = work(0), *s = q + queries * p.ldd;
    read_queries(p, w, q);
    attend_split<T>(p, w, split, q, s, state_at(states + i * state));
  });
  parallel_for(tiles, [&](int64_t tile) {
    Chunk w;
    if (!chunks.get(tile, w)) return;
    const State all = state_at(states + tile * splits * state);
    for (int64_t split = 1; split * kSplit < w.end(); ++split)
      merge(all, state_at(states + (tile * splits + split) * state), w.rows * p.group, p.ldd);
    write(p, w, all);
  });
}

Cache cache_of(const View& keys, const View& values, const View& key_scales, const View& value_scales) {
  if (values.strides[0] != keys.strides[0]) cpu::kernel_refuses("attention_paged", "keys and values lie in unlike pages");
  const bool scaled = key_scales.defined();
  return {keys.data, values.data, scaled ? static_cast<const float*>(key_scales.data) : nullptr,
          scaled ? static_cast<const float*>(value_scales.data) : nullptr, keys.strides[0], scaled ? key_scales.strides[0] : 0,
          keys.shape[1], keys.shape[2]};
}

void attention_paged(const Call& call) {
  const View &y = call.out[0], &q = call.in[0], &keys = call.in[1], &tables = call.in[5], &segments = call.in[6];
  Job p{.cache = cache_of(keys, call.in[2], call.in[3], call.in[4]),
        .q = Heads::of("attention_paged", q), .y = Heads::of("attention_paged", y),
        .tables = static_cast<const int32_t*>(tables.data), .segments = static_cast<const int32_t*>(segments.data),
        .table_step = tables.shape[1], .H = q.shape[1], .group = q.shape[1] / keys.shape[1], .D = q.shape[2],
        .ldd = round_up(q.shape[2], kLanes), .c = 0};
  const double scale = call.attr[0].f;
  p.c = (scale != 0 ? static_cast<float>(scale) : 1.0f / std::sqrt(static_cast<float>(p.D))) * 1.44269504088896341f;
  int64_t rows = 0, end = 0;
  for (int64_t i = 0; i < segments.shape[0]; ++i) {
    const int64_t n = p.segments[3 * i + 1], e = n ? p.segments[3 * i + 2] + n : 0;
    rows = n > rows ? n : rows, end = e > end ? e : end;
  }
  if (rows == 0 || p.D == 0 || p.H == 0) return;
  if (keys.dtype == DType::f32)
    attend<float>(p, segments.shape[0], rows, end);
  else if (keys.dtype == DType::bf16)
    attend<bf16_t>(p, segments.shape[0], rows, end);
  else if (keys.dtype == DType::i8)
    attend<int8_t>(p, segments.shape[0], rows, end);
  else
    cpu::kernel_refuses("attention_paged", "pages are neither f32, bf16 nor i8");
}
WS_KERNEL("attention_paged", attention_paged)

WS_INLINE void put(float* p, float v, float) { *p = v; }
WS_INLINE void put(bf16_t* p, float v, float) { *p = to_bf16(v); }
WS_INLINE void put(int8_t* p, float v, float inverse) {
  const float x = __builtin_rintf(v * inverse);
  *p = static_cast<int8_t>(x < -127 ? -127 : x > 127 ? 127 : x);
}

// One row of one head: to its place in a page, every `step` elements. Returns the scale (i8).
template <class T>
float put_row(const Heads& from, int64_t row, int64_t h, int64_t D, T* to, int64_t step) {
  alignas(64) float x[kLanes];
  float scale = 1, inverse = 1;
  if constexpr (sizeof(T) == 1) {
    vf top{};
    each_vector(D, [&](int64_t d, int n) {
      const vf v = from.load_at(row, h, d, n);
      top = vmax(top, vmax(v, -v));
    });
    const float most = max_lanes(top);
    scale = most / 127.0f, inverse = most > 0 ? 127.0f / most : 0.0f;
  }
  each_vector(D, [&](int64_t d, int n) {
    store(x, from.load_at(row, h, d, n));
    for (int i = 0; i < n; ++i) put(to + (d + i) * step, x[i], inverse);
  });
  return scale;
}

template <class T>
void put_all(const Call& call) {
  const View &k = call.in[0], &keys = call.out[0], &values = call.out[1], &key_scales = call.out[2], &value_scales = call.out[3];
  const Heads from_k = Heads::of("kv_put", k), from_v = Heads::of("kv_put", call.in[1]);
  const int32_t* slots = static_cast<const int32_t*>(call.in[2].data);
  const int64_t N = k.shape[0], Hk = k.shape[1], D = k.shape[2];
  const auto one = [&](int64_t row) {
    const int64_t page = slots[row] / kPage, place = slots[row] % kPage;
    T *to_k = static_cast<T*>(keys.data) + page * keys.strides[0], *to_v = static_cast<T*>(values.data) + page * values.strides[0];
    for (int64_t h = 0; h < Hk; ++h) {
      const float ks = put_row(from_k, row, h, D, to_k + h * D * kPage + place, kPage);
      const float vs = put_row(from_v, row, h, D, to_v + (h * kPage + place) * D, 1);
      if (!key_scales.defined()) continue;
      static_cast<float*>(key_scales.data)[page * key_scales.strides[0] + h * kPage + place] = ks;
      static_cast<float*>(value_scales.data)[page * value_scales.strides[0] + h * kPage + place] = vs;
    }
  };
  if (N <= 4)
    for (int64_t row = 0; row < N; ++row) one(row);
  else
    parallel_for((N + 15) / 16, [&](int64_t tile) {
      for (int64_t row = tile * 16; row < N && row < (tile + 1) * 16; ++row) one(row);
    });
}

void kv_put(const Call& call) {
  const DType t = call.out[0].dtype;
  if (t == DType::f32)
    put_all<float>(call);
  else if (t == DType::bf16)
    put_all<bf16_t>(call);
  else if (t == DType::i8)
    put_all<int8_t>(call);
  else
    cpu::kernel_refuses("kv_put", "pages are neither f32, bf16 nor i8");
}
WS_KERNEL("kv_put", kv_put)

WS_KERNELS_END
