#include "text/grammar/walker.h"

namespace wellspring::grammar {

namespace {

/// Sets that are remembered at once (1 KB each).
constexpr size_t kMaxSets = 8192;

uint64_t hash_of_set(const ConfigSet& set) {
  uint64_t h = set.ended;
  auto add = [&](uint64_t x) {
    h = (h ^ x) * 0x9E3779B97F4A7C15u;
    h ^= h >> 30;
  };
  for (const Config& c : set.configs) {
    add(static_cast<uint64_t>(static_cast<uint32_t>(c.node)) << 32 |
        static_cast<uint32_t>(c.frame));
    add(static_cast<uint64_t>(c.need) << 32 | c.room);
  }
  return h;
}

}  // namespace

int32_t Walker::number(const ConfigSet& set) {
  const uint64_t h = hash_of_set(set);
  const auto [low, high] = numbers_.equal_range(h);
  for (auto it = low; it != high; ++it) {
    const ConfigSet& s = sets_[it->second];
    if (s.ended == set.ended && s.configs == set.configs) return it->second;
  }
  const auto id = static_cast<int32_t>(sets_.size());
  sets_.push_back(set);
  moves_.emplace_back().fill(kUnknown);
  still_.push_back(-1);
  numbers_.emplace(h, id);
  return id;
}

int32_t Walker::compute(int32_t set, uint8_t byte) {
  runner_.step(sets_[set], byte, scratch_);
  const bool dead = scratch_.configs.empty() && !scratch_.ended;
  const int32_t id = dead ? kDead : number(scratch_);
  return moves_[set][byte] = id;
}

uint16_t Walker::still(int32_t set) {
  if (still_[set] >= 0) return static_cast<uint16_t>(still_[set]);
  uint32_t moved = 0;
  for (int b = 0; b < 256; ++b) {
    const uint32_t group = 1u << byte_group(static_cast<uint8_t>(b));
    if (!(moved & group) && next(set, static_cast<uint8_t>(b)) != set) moved |= group;
  }
  still_[set] = static_cast<int32_t>(~moved & 0xFFFF);
  return static_cast<uint16_t>(still_[set]);
}

void Walker::forget(std::vector<int32_t>& levels, size_t used) {
  std::vector<ConfigSet> path;
  for (size_t i = 0; i < used; ++i) path.push_back(sets_[levels[i]]);
  sets_.clear();
  moves_.clear();
  still_.clear();
  numbers_.clear();
  for (size_t i = 0; i < used; ++i) levels[i] = number(path[i]);
}

void Walker::walk(const Trie& trie, uint32_t place, const ConfigSet& set,
                  std::vector<uint64_t>& bits, std::vector<uint32_t>* exits) {
  const uint32_t base = trie.depth[place];
  auto allow = [&](uint32_t from, uint32_t to) {
    for (uint32_t t = from; t < to; ++t)
      bits[trie.tokens[t] >> 6] |= uint64_t{1} << (trie.tokens[t] & 63);
  };
  std::vector<int32_t> levels(trie.longest - base + 2);
  levels[0] = number(set);
  for (uint32_t i = place + 1; i < trie.end[place];) {
    const uint32_t level = trie.depth[i] - base;
    if (sets_.size() > kMaxSets) forget(levels, level);
    const int32_t to = next(levels[level - 1], trie.byte[i]);
    if (to == kDead) {
      i = trie.end[i];
      continue;
    }
    levels[level] = to;
    const bool ended = exits && sets_[to].ended;
    if (to == levels[level - 1] && !ended && trie.end[i] > i + 1 &&
        !(trie.groups[i] & ~still(to))) {  // nothing below moves the set
      allow(trie.first[i], trie.first[trie.end[i]]);
      i = trie.end[i];
      continue;
    }
    allow(trie.first[i], trie.first[i + 1]);
    if (ended && trie.end[i] > i + 1) exits->push_back(i);
    ++i;
  }
}

}  // namespace wellspring::grammar
