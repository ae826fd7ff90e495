// topk: out {values of x's dtype, i64 places}, in {x}, all row-major; attr {largest}. The k best of
// the last dimension, best first, of equal ones the first. A line is read once: what beats the k-th
// best of those met so far goes into a buffer, and a full buffer is cut down to its k best.

#include "chips/cpu/kernels/sort_keys.h"

WS_KERNELS_BEGIN

constexpr int64_t kTopPiece = 1 << 17;

// Ordered so that the better one is greater, and of equal keys the earlier place.
template <class K>
struct Candidate {
  K key;
  int64_t place;
};
template <class K>
WS_INLINE bool better(const Candidate<K>& a, const Candidate<K>& b) {
  return a.key > b.key || (a.key == b.key && a.place < b.place);
}
template <class K>
WS_INLINE void exchange(Candidate<K>& a, Candidate<K>& b) {
  const Candidate<K> c = a;
  a = b, b = c;
}

template <class K>
WS_INLINE void sift(Candidate<K>* a, int64_t at, int64_t n) {
  for (int64_t child; (child = 2 * at + 1) < n; at = child) {
    if (child + 1 < n && better(a[child], a[child + 1])) ++child;
    if (!better(a[at], a[child])) return;
    exchange(a[at], a[child]);
  }
}
// Best first; no two are equal.
template <class K>
void sort_best(Candidate<K>* a, int64_t n) {
  if (n <= 48) {
    for (int64_t k = 1; k < n; ++k) {
      const Candidate<K> v = a[k];
      int64_t at = k;
      for (; at > 0 && better(v, a[at - 1]); --at) a[at] = a[at - 1];
      a[at] = v;
    }
    return;
  }
  for (int64_t k = n / 2 - 1; k >= 0; --k) sift(a, k, n);  // a heap with the worst on top
  for (int64_t end = n - 1; end > 0; --end) {
    exchange(a[0], a[end]);
    sift(a, 0, end);
  }
}

// Moves the k best of n to the front, in any order.
template <class K>
void keep_best(Candidate<K>* a, int64_t n, int64_t k) {
  int64_t low = 0, high = n - 1;
  while (low < high) {
    // The median of three splits; what is better goes to the left.
    const int64_t middle = (low + high) / 2;
    if (better(a[middle], a[low])) exchange(a[middle], a[low]);
    if (better(a[high], a[low])) exchange(a[high], a[low]);
    if (better(a[high], a[middle])) exchange(a[high], a[middle]);
    const Candidate<K> split = a[middle];
    int64_t i = low, j = high;
    while (i <= j) {
      while (better(a[i], split)) ++i;
      while (better(split, a[j])) --j;
      if (i <= j) exchange(a[i++], a[j--]);
    }
    if (k - 1 <= j)
      high = j;
    else if (k - 1 >= i)
      low = i;
    else
      return;
  }
}

// Whether one of a block of keys is above the bound.
constexpr int kTopBlock = 16;
template <class K>
WS_INLINE bool any_above(const K* keys, K bound) {
  K any = 0;
  for (int k = 0; k < kTopBlock; ++k) any |= static_cast<K>(keys[k] > bound);
  return any != 0;
}

// The k best of n elements from x on, whose first one has the place `first`, into `best` (room for
// `room` candidates); returns how many there are. Not sorted.
template <class K>
int64_t best_of(const char* x, int64_t size, LoadKeys<K> load, K flip, int64_t n, int64_t first,
                int64_t k, Candidate<K>* best, int64_t room) {
  constexpr int64_t kChunk = 512;
  alignas(64) K keys[kChunk];
  int64_t found = 0;
  bool full = false;
  K bound = 0;
  for (int64_t c = 0; c < n; c += kChunk) {
    const int64_t m = n - c < kChunk ? n - c : kChunk;
    load(x + c * size, 1, m, flip, keys);
    for (int64_t j = 0; j < m; j += kTopBlock) {
      const int64_t end = m - j < kTopBlock ? m : j + kTopBlock;
      if (full && end - j == kTopBlock && !any_above(keys + j, bound)) continue;
      if (found + kTopBlock > room) {
        keep_best(best, found, k);
        found = k, full = true;
        bound = best[0].key;
        for (int64_t q = 1; q < k; ++q) bound = best[q].key < bound ? best[q].key : bound;
      }
      // Written for every element, kept where it is good enough: no branch to guess wrong.
      for (int64_t i = j; i < end; ++i) {
        best[found] = {keys[i], first + c + i};
        found += !full | (keys[i] > bound);
      }
    }
  }
  if (found > k) keep_best(best, found, k), found = k;
  return found;
}

// Of a short line the places of the k best, by how many are better than each.
inline void rank_best(const char* x, LoadKeys<int32_t> load, int32_t flip, int64_t n, int64_t k,
                      Candidate<int32_t>* best) {
  alignas(64) int32_t keys[kRanked];
  alignas(64) int64_t v[kRanked], ranks[kRanked];
  load(x, 1, n, flip, keys);
  for (int64_t i = 0; i < n; ++i)
    v[i] = static_cast<int64_t>(static_cast<uint64_t>(~keys[i]) << 32) | i;
  rank_all(v, n, ranks);
  for (int64_t i = 0; i < n; ++i)
    if (ranks[i] < k) best[ranks[i]] = {keys[i], i};
}

template <class K>
void topk_as(const Call& call, LoadKeys<K> load) {
  const View& x = call.in[0];
  const int64_t n = x.shape[x.dims - 1], k = call.out[0].shape[x.dims - 1];
  const auto size = static_cast<int64_t>(size_of(x.dtype));
  const K flip = call.attr[0].i ? 0 : -1;
  int64_t rows = 1;
  for (int d = 0; d < x.dims - 1; ++d) rows *= x.shape[d];
  if (rows * k == 0) return;
  // Little: the sooner it is full, the sooner the bound is high and whole blocks are passed over.
  const int64_t room = 2 * k + kTopBlock;
  const char* in = static_cast<const char*>(x.data);
  char* values = static_cast<char*>(call.out[0].data);
  auto* places = static_cast<int64_t*>(call.out[1].data);
  const bool ranked = sizeof(K) == 4 && n <= kRanked;
  const auto put = [&](int64_t row, Candidate<K>* best) {
    if (!ranked) sort_best(best, k);
    for (int64_t j = 0; j < k; ++j) {
      places[row * k + j] = best[j].place;
      std::memcpy(values + (row * k + j) * size, in + (row * n + best[j].place) * size,
                  static_cast<size_t>(size));
    }
  };
  const int64_t pieces = (n + kTopPiece - 1) / kTopPiece;
  if (pieces == 1 || 16 * k > kTopPiece || rows >= 64) {
    const int64_t share = 1 + ((1 << 14) - 1) / n;
    parallel_for((rows + share - 1) / share, [&](int64_t t) {
      auto* best = static_cast<Candidate<K>*>(
          cpu::scratch(4, static_cast<size_t>(room) * sizeof(Candidate<K>)));
      const int64_t end = (t + 1) * share < rows ? (t + 1) * share : rows;
      for (int64_t r = t * share; r < end; ++r) {
        if constexpr (sizeof(K) == 4) {
          if (ranked) {
            rank_best(in + r * n * size, load, flip, n, k, best);
            put(r, best);
            continue;
          }
        }
        best_of(in + r * n * size, size, load, flip, n, 0, k, best, room);
        put(r, best);
      }
    });
    return;
  }
  auto* all = static_cast<Candidate<K>*>(
      cpu::scratch(5, static_cast<size_t>(rows * pieces * room) * sizeof(Candidate<K>)));
  auto* found =
      static_cast<int64_t*>(cpu::scratch(6, static_cast<size_t>(rows * pieces) * sizeof(int64_t)));
  parallel_for(rows * pieces, [&](int64_t t) {
    const int64_t r = t / pieces, begin = t % pieces * kTopPiece;
    const int64_t m = n - begin < kTopPiece ? n - begin : kTopPiece;
    found[t] =
        best_of(in + (r * n + begin) * size, size, load, flip, m, begin, k, all + t * room, room);
  });
  for (int64_t r = 0; r < rows; ++r) {
    Candidate<K>* best = all + r * pieces * room;
    int64_t count = found[r * pieces];
    for (int64_t q = 1; q < pieces; ++q)
      for (int64_t j = 0; j < found[r * pieces + q]; ++j)
        best[count++] = all[(r * pieces + q) * room + j];
    keep_best(best, count, k);
    put(r, best);
  }
}

void topk(const Call& call) {
  const DType t = call.in[0].dtype;
  if (is_complex(t)) cpu::kernel_refuses("topk", "complex values");
  if (has_wide_keys(t))
    topk_as<int64_t>(call, key_loader<int64_t>(t));
  else
    topk_as<int32_t>(call, key_loader<int32_t>(t));
}
WS_KERNEL("topk", topk)

WS_KERNELS_END
