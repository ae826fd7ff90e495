#include "text/bpe.h"

#include <algorithm>
#include <memory>

namespace wellspring {

void MergeTable::reserve(size_t merges) {
  size_t size = 4;
  int bits = 2;
  while (size < merges + merges / 2 + 2) size *= 2, ++bits;
  if (size <= slots_.size()) return;
  std::vector<Merge> old(size, Merge{0, 0, kNone, 0});
  old.swap(slots_);
  mask_ = size - 1;
  shift_ = 64 - bits;
  for (const Merge& m : old)
    if (m.rank != kNone) const_cast<Merge&>(find(m.left, m.right)) = m;
}

void MergeTable::insert(int32_t left, int32_t right, uint32_t rank, int32_t id) {
  reserve(used_ + 1);
  Merge& m = const_cast<Merge&>(find(left, right));
  if (m.rank == kNone) ++used_;
  m = {static_cast<uint32_t>(left), static_cast<uint32_t>(right), rank, id};
}

namespace {

constexpr size_t kShort = 100;

size_t merge_short(const MergeTable& merges, int32_t* ids, size_t n) {
  uint32_t ranks[kShort];
  int32_t made[kShort];  // what each pair becomes
  auto look = [&](size_t i) {
    const MergeTable::Merge& m = merges.find(ids[i], ids[i + 1]);
    ranks[i] = m.rank;
    made[i] = m.id;
  };
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    size_t best = 0;
    uint32_t rank = ranks[0];
    for (size_t i = 1; i + 1 < n; ++i)
      if (ranks[i] < rank) rank = ranks[i], best = i;
    if (rank == MergeTable::kNone) break;
    ids[best] = made[best];
    --n;
    const size_t moved = n - best - 1;  // ids after the pair
    std::memmove(ids + best + 1, ids + best + 2, moved * sizeof ids[0]);
    if (moved > 0) {
      std::memmove(ranks + best + 1, ranks + best + 2, (moved - 1) * sizeof ranks[0]);
      std::memmove(made + best + 1, made + best + 2, (moved - 1) * sizeof made[0]);
      look(best);
    }
    if (best > 0) look(best - 1);
  }
  return n;
}

size_t merge_long(const MergeTable& merges, int32_t* ids, size_t n) {
  struct Link {
    int64_t previous, next;  // next = n: the last one
  };
  struct Candidate {
    uint32_t rank;
    int64_t at;
    int32_t left, right, id;
    bool operator<(const Candidate& o) const {  // the heap keeps the greatest on top
      return rank != o.rank ? rank > o.rank : at > o.at;
    }
  };
  const auto count = static_cast<int64_t>(n);
  std::vector<Link> links(n);
  std::vector<bool> gone(n);
  std::vector<Candidate> heap;
  heap.reserve(n);
  auto candidate = [&](int64_t i) -> bool {
    if (i < 0 || links[static_cast<size_t>(i)].next >= count) return false;
    const int32_t l = ids[i], r = ids[links[static_cast<size_t>(i)].next];
    const MergeTable::Merge& m = merges.find(l, r);
    if (m.rank == MergeTable::kNone) return false;
    heap.push_back({m.rank, i, l, r, m.id});
    return true;
  };
  for (int64_t i = 0; i < count; ++i) links[static_cast<size_t>(i)] = {i - 1, i + 1};
  for (int64_t i = 0; i < count; ++i) candidate(i);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate c = heap.back();
    heap.pop_back();
    const auto at = static_cast<size_t>(c.at);
    if (gone[at] || ids[at] != c.left) continue;  // stale: one side was merged meanwhile
    const int64_t next = links[at].next;
    if (next >= count || ids[next] != c.right) continue;
    ids[at] = c.id;
    gone[static_cast<size_t>(next)] = true;
    const int64_t after = links[static_cast<size_t>(next)].next;
    links[at].next = after;
    if (after < count) links[static_cast<size_t>(after)].previous = c.at;
    if (candidate(c.at)) std::push_heap(heap.begin(), heap.end());
    if (candidate(links[at].previous)) std::push_heap(heap.begin(), heap.end());
  }
  size_t kept = 0;
  for (size_t i = 0; i < n; ++i)
    if (!gone[i]) ids[kept++] = ids[i];
  return kept;
}

}  // namespace

size_t merge_all(const MergeTable& merges, int32_t* ids, size_t n) {
  if (n < 2) return n;
  return n <= kShort ? merge_short(merges, ids, n) : merge_long(merges, ids, n);
}

WordCache::WordCache() : entries_(size_t{1} << kBits) {}

WordCache& WordCache::of_thread() {
  thread_local const std::unique_ptr<WordCache> cache(new WordCache);
  return *cache;
}

}  // namespace wellspring
