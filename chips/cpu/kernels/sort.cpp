// sort: out {values of x's dtype, i64 places, u8 room}, in {x}, all row-major; attr {descending}.
// Lines of 2^19 elements or more need room: 32 bytes for each of their elements. Sorts the last
// dimension, always stably: by digits of eight or eleven bits from the lowest on (radix sort), with
// the digits left out in which all elements agree. Lines too long for the second cache are cut into
// blocks, which count, then place their elements in their order: so the result is the same.

#include "chips/cpu/kernels/sort_keys.h"

WS_KERNELS_BEGIN

constexpr int64_t kSortBlock = 1 << 16, kSortAlone = 1 << 19;

// A key, unsigned, with the place where its element stood.
typedef uint64_t Item32;  // key in the upper half
struct Item64 {
  uint64_t key, place;
};
// `bias` makes the lowest bits of signed keys ordered as unsigned ones.
WS_INLINE void set_item(Item32& item, int32_t key, int64_t place, uint64_t bias) {
  item = (static_cast<uint64_t>(key) + bias) << 32 | static_cast<uint32_t>(place);
}
WS_INLINE void set_item(Item64& item, int64_t key, int64_t place, uint64_t bias) {
  item = {static_cast<uint64_t>(key) + bias, static_cast<uint64_t>(place)};
}
WS_INLINE uint64_t key_bits(const Item32& item) { return item >> 32; }
WS_INLINE uint64_t key_bits(const Item64& item) { return item.key; }
WS_INLINE int64_t place_in(const Item32& item) {
  return static_cast<int64_t>(static_cast<uint32_t>(item));
}
WS_INLINE int64_t place_in(const Item64& item) { return static_cast<int64_t>(item.place); }

template <class Item>
WS_INLINE void insertion_sort(Item* a, int64_t n) {
  for (int64_t k = 1; k < n; ++k) {
    const Item v = a[k];
    int64_t at = k;
    for (; at > 0 && key_bits(a[at - 1]) > key_bits(v); --at) a[at] = a[at - 1];
    a[at] = v;
  }
}

// Short lines, into b. No two items are equal, for each has its place.
inline void rank_sort(const Item32* a, Item32* b, int64_t n) {
  alignas(64) int64_t v[kRanked], ranks[kRanked];
  for (int64_t k = 0; k < n; ++k) v[k] = static_cast<int64_t>(a[k] ^ uint64_t{1} << 63);
  rank_all(v, n, ranks);
  for (int64_t k = 0; k < n; ++k) b[ranks[k]] = a[k];
}

// Sorts n items by the lowest `bits` of their keys; the result is in the returned one of both
// arrays. Digits have kBits bits.
template <int kBits, class Item>
Item* radix_sort(Item* a, Item* b, int64_t n, int bits) {
  constexpr int kValues = 1 << kBits, kMost = (64 + kBits - 1) / kBits;
  const int digits = (bits + kBits - 1) / kBits;
  uint32_t counts[kBits == 8 ? kMost : 3][kValues];
  std::memset(counts, 0, static_cast<size_t>(digits) * sizeof counts[0]);
  for (int64_t k = 0; k < n; ++k) {
    const uint64_t key = key_bits(a[k]);
    for (int d = 0; d < digits; ++d) ++counts[d][key >> (d * kBits) & (kValues - 1)];
  }
  for (int d = 0; d < digits; ++d) {
    uint32_t* count = counts[d];
    const int shift = d * kBits;
    if (count[key_bits(a[0]) >> shift & (kValues - 1)] == n) continue;
    uint32_t at = 0;
    for (int v = 0; v < kValues; ++v) {
      const uint32_t c = count[v];
      count[v] = at, at += c;
    }
    for (int64_t k = 0; k < n; ++k) b[count[key_bits(a[k]) >> shift & (kValues - 1)]++] = a[k];
    Item* other = a;
    a = b, b = other;
  }
  return a;
}

struct SortWork {
  const char* x;
  char* values;
  int64_t* places;
  int64_t n, size;
  bool descending;
  int bits;
  uint64_t bias;
  void* room;
};

// The elements in the order of their items.
template <class U, class Item>
WS_INLINE void put_sorted(const SortWork& w, int64_t row, const Item* items, int64_t begin,
                          int64_t end) {
  const U* x = reinterpret_cast<const U*>(w.x) + row * w.n;
  U* values = reinterpret_cast<U*>(w.values) + row * w.n;
  int64_t* places = w.places + row * w.n;
  for (int64_t k = begin; k < end; ++k) {
    const int64_t at = place_in(items[k]);
    values[k] = x[at], places[k] = at;
  }
}
template <class Item>
void put_result(const SortWork& w, int64_t row, const Item* items, int64_t begin, int64_t end) {
  switch (w.size) {
    case 1:
      return put_sorted<uint8_t>(w, row, items, begin, end);
    case 2:
      return put_sorted<uint16_t>(w, row, items, begin, end);
    case 4:
      return put_sorted<uint32_t>(w, row, items, begin, end);
    default:
      return put_sorted<uint64_t>(w, row, items, begin, end);
  }
}

template <class K, class Item>
WS_INLINE void load_items(const SortWork& w, LoadKeys<K> load, int64_t row, int64_t begin,
                          int64_t end, Item* items) {
  constexpr int64_t kChunk = 512;
  alignas(64) K keys[kChunk];
  const K flip = w.descending ? -1 : 0;
  for (int64_t k = begin; k < end; k += kChunk) {
    const int64_t n = end - k < kChunk ? end - k : kChunk;
    load(w.x + (row * w.n + k) * w.size, 1, n, flip, keys);
    for (int64_t j = 0; j < n; ++j) set_item(items[k + j], keys[j], k + j, w.bias);
  }
}

template <class K, class Item>
void sort_rows(const SortWork& w, LoadKeys<K> load, int64_t rows) {
  const int64_t share = 1 + ((1 << 13) - 1) / w.n;
  parallel_for((rows + share - 1) / share, [&](int64_t t) {
    auto* a = static_cast<Item*>(cpu::scratch(4, static_cast<size_t>(2 * w.n) * sizeof(Item)));
    Item* b = a + w.n;
    const int64_t end = (t + 1) * share < rows ? (t + 1) * share : rows;
    for (int64_t r = t * share; r < end; ++r) {
      load_items<K, Item>(w, load, r, 0, w.n, a);
      Item* sorted = a;
      if constexpr (sizeof(Item) == sizeof(Item32)) {
        if (w.n <= kRanked) {
          rank_sort(a, b, w.n);
          put_result(w, r, b, 0, w.n);
          continue;
        }
      }
      if (w.n <= 32)
        insertion_sort(a, w.n);
      else if (w.bits == 32 && w.n >= 1024)
        sorted = radix_sort<11>(a, b, w.n, 32);
      else
        sorted = radix_sort<8>(a, b, w.n, w.bits);
      put_result(w, r, sorted, 0, w.n);
    }
  });
}

// One long line, in blocks.
template <class K, class Item>
void sort_alone(const SortWork& w, LoadKeys<K> load, int64_t row) {
  const int64_t n = w.n, blocks = (n + kSortBlock - 1) / kSortBlock;
  Item* a = static_cast<Item*>(w.room);
  Item* b = a + n;
  auto* counts =
      static_cast<int64_t*>(cpu::scratch(5, static_cast<size_t>(blocks * 256) * sizeof(int64_t)));
  const auto each = [&](auto&& f) {
    parallel_for(blocks, [&](int64_t t) {
      f(t * kSortBlock, (t + 1) * kSortBlock < n ? (t + 1) * kSortBlock : n, counts + t * 256);
    });
  };
  each([&](int64_t begin, int64_t end, int64_t*) {
    load_items<K, Item>(w, load, row, begin, end, a);
  });
  for (int shift = 0; shift < w.bits; shift += 8) {
    each([&](int64_t begin, int64_t end, int64_t* count) {
      std::memset(count, 0, 256 * sizeof(int64_t));
      for (int64_t k = begin; k < end; ++k) ++count[key_bits(a[k]) >> shift & 255];
    });
    int64_t at = 0;
    bool agree = false;
    for (int v = 0; v < 256; ++v) {
      const int64_t before = at;
      for (int64_t t = 0; t < blocks; ++t) {
        const int64_t c = counts[t * 256 + v];
        counts[t * 256 + v] = at, at += c;
      }
      agree |= at - before == n;
    }
    if (agree) continue;
    each([&](int64_t begin, int64_t end, int64_t* count) {
      for (int64_t k = begin; k < end; ++k) b[count[key_bits(a[k]) >> shift & 255]++] = a[k];
    });
    Item* other = a;
    a = b, b = other;
  }
  each([&](int64_t begin, int64_t end, int64_t*) { put_result(w, row, a, begin, end); });
}

template <class K, class Item>
void sort_as(const SortWork& w, DType t, int64_t rows) {
  const LoadKeys<K> load = key_loader<K>(t);
  if (w.n < kSortAlone) return sort_rows<K, Item>(w, load, rows);
  if (!w.room) cpu::kernel_refuses("sort", "long lines need room");
  for (int64_t r = 0; r < rows; ++r) sort_alone<K, Item>(w, load, r);
}

void sort(const Call& call) {
  const View& x = call.in[0];
  if (is_complex(x.dtype)) cpu::kernel_refuses("sort", "complex values");
  SortWork w{static_cast<const char*>(x.data),
             static_cast<char*>(call.out[0].data),
             static_cast<int64_t*>(call.out[1].data),
             x.shape[x.dims - 1],
             static_cast<int64_t>(size_of(x.dtype)),
             call.attr[0].i != 0,
             8 * key_bytes(x.dtype),
             0,
             call.outs > 2 && call.out[2].defined() ? call.out[2].data : nullptr};
  if (x.dtype != DType::u8 && x.dtype != DType::boolean) w.bias = uint64_t{1} << (w.bits - 1);
  int64_t rows = 1;
  for (int k = 0; k < x.dims - 1; ++k) rows *= x.shape[k];
  if (rows * w.n == 0) return;
  if (has_wide_keys(x.dtype) || w.n > INT32_MAX) {
    if (!has_wide_keys(x.dtype)) cpu::kernel_refuses("sort", "lines of 2^31 elements");
    return sort_as<int64_t, Item64>(w, x.dtype, rows);
  }
  sort_as<int32_t, Item32>(w, x.dtype, rows);
}
WS_KERNEL("sort", sort)

WS_KERNELS_END
