#include "text/grammar/mask.h"

#include <algorithm>

#include "text/grammar/walker.h"

namespace wellspring::grammar {

namespace {

constexpr size_t kMaxCacheBytes = 64 << 20;
/// A mask whose tokens are fewer is a list.
constexpr size_t kSparse = 512;
/// Sets with more ways are walked directly, once, instead of way by way.
constexpr size_t kManyWays = 256;

}  // namespace

std::shared_ptr<MaskCache> Automaton::cache_for(
    const std::shared_ptr<const Vocabulary>& vocabulary) const {
  std::lock_guard lock(mutex_);
  std::erase_if(caches_, [](const Entry& e) { return e.vocabulary.expired(); });
  for (const Entry& e : caches_)
    if (e.vocabulary.lock() == vocabulary) return e.cache;
  auto cache = std::make_shared<MaskCache>(*this, vocabulary);
  caches_.push_back({vocabulary, cache});
  return cache;
}

MaskCache::MaskCache(const Automaton& automaton, std::shared_ptr<const Vocabulary> vocabulary)
    : a_(automaton), v_(std::move(vocabulary)) {}

size_t MaskCache::KeyHash::operator()(const Key& k) const {
  uint64_t h = static_cast<uint64_t>(k.id) << 2 | k.trie << 1 | k.is_call;
  for (uint64_t x : {static_cast<uint64_t>(k.need) << 32 | k.room, k.places}) {
    h = (h ^ x) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
  }
  return h;
}

size_t MaskCache::size_bytes() {
  std::lock_guard lock(mutex_);
  return bytes_;
}

/// One mask in the making.
struct MaskCache::Filling {
  const Stacks& stacks;
  std::vector<uint64_t>& bits;
  int trie;
  std::vector<std::pair<int32_t, uint64_t>> done;  // (frame, places)

  void apply(const Piece& p) {
    for (size_t i = 0; i < p.dense.size(); ++i) bits[i] |= p.dense[i];
    for (int32_t t : p.sparse) bits[t >> 6] |= uint64_t{1} << (t & 63);
  }
};

void MaskCache::fill(const Stacks& stacks, const ConfigSet& set, std::vector<uint64_t>& bits) {
  if (set.configs.size() > kManyWays) return fill_directly(stacks, set, bits);
  for (int trie = 0; trie < 2; ++trie) {
    if (v_->tries[trie].size() < 2) continue;
    Filling f{stacks, bits, trie, {}};
    for (const Config& c : set.configs) {
      const auto p = piece({trie, 0, c.node, c.need, c.room, 0}, root_);
      // Near the greatest depth what may be called depends on the depth.
      if (stacks.depth(c.frame) + p->grow > kMaxDepth) return fill_directly(stacks, set, bits);
      f.apply(*p);
      if (p->exits && !descend(f, c.frame, *p->exits)) return fill_directly(stacks, set, bits);
    }
  }
}

bool MaskCache::descend(Filling& f, int32_t frame, const Places& places) {
  const std::pair<int32_t, uint64_t> key(frame, places.id);
  if (std::find(f.done.begin(), f.done.end(), key) != f.done.end()) return true;
  f.done.push_back(key);
  for (const Element& e : f.stacks.elements(frame)) {
    const auto p = piece({f.trie, 1, e.call, e.need, e.room, places.id}, places);
    if (f.stacks.depth(e.below) + p->grow > kMaxDepth) return false;
    f.apply(*p);
    if (p->exits && !descend(f, e.below, *p->exits)) return false;
  }
  return true;
}

void MaskCache::fill_directly(const Stacks& stacks, const ConfigSet& set,
                              std::vector<uint64_t>& bits) const {
  std::fill(bits.begin(), bits.end(), 0);
  Stacks own = stacks;
  Walker walker(a_, own, kUnbounded, kMaxDepth);
  for (const Trie& trie : v_->tries)
    if (trie.size() > 1) walker.walk(trie, 0, set, bits, nullptr);
}

std::shared_ptr<const Piece> MaskCache::piece(Key key, const Places& from) {
  const uint32_t clip = v_->tries[key.trie].longest + 1;
  key.need = std::min(key.need, clip);
  if (key.room >= clip) key.room = kUnbounded;
  if (key.trie == 0) key.id = (key.is_call ? a_.call_like : a_.node_like)[key.id];
  {
    std::lock_guard lock(mutex_);
    if (auto it = pieces_.find(key); it != pieces_.end()) return it->second;
  }
  auto made = compute(key, from);  // two threads may do the same work once
  std::lock_guard lock(mutex_);
  const size_t size = made->dense.size() * 8 + made->sparse.size() * 4 + 200;
  if (bytes_ + size > kMaxCacheBytes) {
    pieces_.clear();
    places_.clear();
    bytes_ = 0;
  }
  bytes_ += size;
  pieces_.emplace(key, made);
  return made;
}

std::shared_ptr<const Piece> MaskCache::compute(const Key& key, const Places& from) {
  const Trie& trie = v_->tries[key.trie];
  Stacks stacks;
  // Nothing here sees the depth below; fill() checks it by `grow`.
  Walker walker(a_, stacks, trie.longest + 1, INT32_MAX);
  ConfigSet set;
  if (key.is_call)
    set = walker.runner().after({key.id, key.need, key.room, 0});
  else
    set.configs.push_back({key.id, key.need, key.room, 0});
  std::vector<uint64_t> bits((v_->size + 63) / 64);
  std::vector<uint32_t> exits;
  if (key.is_call && set.ended) exits = from.nodes;
  for (uint32_t place : from.nodes) walker.walk(trie, place, set, bits, &exits);
  std::sort(exits.begin(), exits.end());
  exits.erase(std::unique(exits.begin(), exits.end()), exits.end());
  auto p = std::make_shared<Piece>();
  p->grow = walker.runner().deepest();
  size_t count = 0;
  for (uint64_t w : bits) count += __builtin_popcountll(w);
  if (count < kSparse) {
    for (size_t i = 0; i < bits.size(); ++i)
      for (uint64_t w = bits[i]; w; w &= w - 1)
        p->sparse.push_back(static_cast<int32_t>(i * 64 + __builtin_ctzll(w)));
  } else {
    p->dense = std::move(bits);
  }
  if (!exits.empty()) p->exits = places(std::move(exits));
  return p;
}

std::shared_ptr<const Places> MaskCache::places(std::vector<uint32_t> nodes) {
  uint64_t h = nodes.size();
  for (uint32_t n : nodes) h = (h ^ n) * 0x9E3779B97F4A7C15u, h ^= h >> 31;
  std::lock_guard lock(mutex_);
  const auto [low, high] = places_.equal_range(h);
  for (auto it = low; it != high; ++it)
    if (it->second->nodes == nodes) return it->second;
  bytes_ += nodes.size() * 4 + 100;
  auto made = std::make_shared<const Places>(Places{next_places_++, std::move(nodes)});
  places_.emplace(h, made);
  return made;
}

}  // namespace wellspring::grammar
