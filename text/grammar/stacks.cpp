#include "text/grammar/stacks.h"

#include <algorithm>

namespace wellspring::grammar {

namespace {

/// Ways beyond this many are dropped (the language only gets smaller).
constexpr size_t kMaxWays = 4096;
/// So are unions of stacks for one byte beyond this many.
constexpr uint64_t kMaxUnions = 100'000;
/// Unions that are remembered.
constexpr size_t kMaxUnited = 100'000;

uint64_t mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * 0x9E3779B97F4A7C15u;
  return h ^ h >> 31;
}

uint64_t hash_of(std::span<const Element> elements, bool bottom) {
  uint64_t h = elements.size() * 2 + bottom;
  for (const Element& e : elements) {
    h = mix(h, static_cast<uint64_t>(static_cast<uint32_t>(e.call)) << 32 |
                   static_cast<uint32_t>(e.below));
    h = mix(h, static_cast<uint64_t>(e.need) << 32 | e.room);
  }
  return h;
}

/// Of two that differ in the counter alone, with nothing needed any more, the one with more room
/// says it all. (They are sorted: the same and need 0 stand together, room ascending.)
template <class T, class Same>
void drop_covered(std::vector<T>& sorted, Same same) {
  size_t n = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const T& x = sorted[i];
    const bool covered =
        x.need == 0 && i + 1 < sorted.size() && sorted[i + 1].need == 0 && same(x, sorted[i + 1]);
    if (!covered) sorted[n++] = x;
  }
  sorted.resize(n);
}

uint64_t hash_of(const Config& c) {
  return mix(mix(static_cast<uint32_t>(c.frame),
                 static_cast<uint64_t>(static_cast<uint32_t>(c.node)) << 32 | c.need),
             c.room);
}

}  // namespace

int32_t Stacks::intern(std::span<const Element> wanted, bool bottom) {
  size_t at = hash_of(wanted, bottom) & (table_.size() - 1);
  for (; table_[at] >= 0; at = (at + 1) & (table_.size() - 1)) {
    const auto have = elements(table_[at]);
    if (frames_[table_[at]].bottom == bottom &&
        std::equal(have.begin(), have.end(), wanted.begin(), wanted.end()))
      return table_[at];
  }
  const auto id = static_cast<int32_t>(frames_.size());
  Frame f{static_cast<uint32_t>(elements_.size()), static_cast<uint32_t>(wanted.size()), 0, bottom};
  for (const Element& e : wanted) f.depth = std::max(f.depth, frames_[e.below].depth + 1);
  elements_.insert(elements_.end(), wanted.begin(), wanted.end());
  frames_.push_back(f);
  table_[at] = id;
  if (frames_.size() * 2 > table_.size()) grow();
  return id;
}

void Stacks::grow() {
  table_.assign(table_.size() * 2, -1);
  for (size_t i = 1; i < frames_.size(); ++i) {
    size_t at = hash_of(elements(static_cast<int32_t>(i)), frames_[i].bottom) & (table_.size() - 1);
    while (table_[at] >= 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = static_cast<int32_t>(i);
  }
}

int32_t Stacks::unite(int32_t a, int32_t b) {
  if (united_.pairs.size() > kMaxUnited) united_.pairs.clear();
  return unite_inner(a, b);
}

int32_t Stacks::unite_inner(int32_t a, int32_t b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);
  const uint64_t key = static_cast<uint64_t>(a) << 32 | static_cast<uint32_t>(b);
  if (auto it = united_.pairs.find(key); it != united_.pairs.end()) return it->second;
  if (work_ > kMaxUnions) return a;
  ++work_;
  std::vector<Element> all(elements(a).begin(), elements(a).end());
  all.insert(all.end(), elements(b).begin(), elements(b).end());
  std::sort(all.begin(), all.end());
  size_t n = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const Element e = all[i];
    if (n && all[n - 1].call == e.call && all[n - 1].need == e.need && all[n - 1].room == e.room)
      all[n - 1].below = unite_inner(all[n - 1].below, e.below);
    else
      all[n++] = e;
  }
  all.resize(n);
  drop_covered(all, [](const Element& x, const Element& y) {
    return x.call == y.call && x.below == y.below;
  });
  return united_.pairs[key] = intern(all, bottom(a) || bottom(b));
}

void Stacks::keep_only(std::span<int32_t*> roots) {
  std::vector<int32_t> now(frames_.size(), -1);  // -1 dropped, -2 needed
  now[0] = 0;
  for (int32_t* r : roots)
    if (*r) now[*r] = -2;
  for (size_t i = frames_.size(); i-- > 1;)  // what is below a frame is older
    if (now[i] == -2)
      for (const Element& e : elements(static_cast<int32_t>(i)))
        if (e.below) now[e.below] = -2;
  Stacks kept;
  std::vector<Element> moved;
  for (size_t i = 1; i < frames_.size(); ++i) {
    if (now[i] != -2) continue;
    const auto old = elements(static_cast<int32_t>(i));
    moved.assign(old.begin(), old.end());
    for (Element& e : moved) e.below = now[e.below];
    std::sort(moved.begin(), moved.end());
    now[i] = kept.intern(moved, frames_[i].bottom);
  }
  for (int32_t* r : roots) *r = now[*r];
  *this = std::move(kept);
}

ConfigSet Runner::start() {
  ConfigSet to;
  const Rule& r = a_.rules[a_.root];
  work_.clear();
  add({r.start, clipped(r.min), clipped(r.max), 0});
  close(to);
  return to;
}

ConfigSet Runner::after(const Element& element) {
  ConfigSet to;
  work_.clear();
  leave(element);
  close(to);
  return to;
}

void Runner::step(const ConfigSet& from, uint8_t byte, ConfigSet& to) {
  work_.clear();
  for (const Config& c : from.configs) {
    const Node& n = a_.nodes[c.node];
    uint32_t low = n.bytes_begin, high = n.bytes_end;
    while (low < high) {  // the first edge whose high >= byte
      const uint32_t mid = (low + high) / 2;
      if (a_.bytes[mid].high < byte)
        low = mid + 1;
      else
        high = mid;
    }
    if (low == n.bytes_end || a_.bytes[low].low > byte) continue;
    const ByteEdge& e = a_.bytes[low];
    Config next{e.target, c.need, c.room, c.frame};
    if (e.action & kGuard && c.need) continue;
    if (e.action & kCount) {
      if (!c.room) continue;
      if (next.need) --next.need;
      if (next.room != kUnbounded) --next.room;
    }
    add(next);
  }
  close(to);
}

void Runner::add(const Config& c) {
  const int needs = stacks_.depth(c.frame) + a_.nodes[c.node].height;
  if (needs > max_depth_ || work_.size() >= kMaxWays) return;
  if (work_.size() < 16) {
    if (std::find(work_.begin(), work_.end(), c) != work_.end()) return;
    work_.push_back(c);
  } else {
    if (work_.size() == 16 || work_.size() * 2 > table_.size()) {
      table_.assign(work_.size() == 16 ? 64 : table_.size() * 2, 0);
      for (size_t i = 0; i < work_.size(); ++i) {
        size_t at = hash_of(work_[i]) & (table_.size() - 1);
        while (table_[at]) at = (at + 1) & (table_.size() - 1);
        table_[at] = static_cast<uint32_t>(i + 1);
      }
    }
    size_t at = hash_of(c) & (table_.size() - 1);
    for (; table_[at]; at = (at + 1) & (table_.size() - 1))
      if (work_[table_[at] - 1] == c) return;
    work_.push_back(c);
    table_[at] = static_cast<uint32_t>(work_.size());
  }
  deepest_ = std::max(deepest_, needs);
}

void Runner::enter(int32_t call, uint32_t need, uint32_t room, int32_t below) {
  const Rule& r = a_.rules[a_.calls[call].rule];
  const int32_t frame = stacks_.push({call, clipped(need), clipped(room), below});
  add({r.start, clipped(r.min), clipped(r.max), frame});
}

void Runner::leave(const Element& e) {
  if (e.need == 0) add({a_.calls[e.call].target, 0, 0, e.below});
  if (e.room)
    enter(e.call, e.need ? e.need - 1 : 0, e.room == kUnbounded ? e.room : e.room - 1, e.below);
}

void Runner::close(ConfigSet& to) {
  stacks_.begin_step();
  to.configs.clear();
  to.ended = false;
  for (size_t i = 0; i < work_.size(); ++i) {
    const Config c = work_[i];
    const Node& n = a_.nodes[c.node];
    if (n.bytes_end > n.bytes_begin) to.configs.push_back(c);
    for (uint32_t e = n.calls_begin; e < n.calls_end; ++e) {
      const CallEdge& call = a_.calls[e];
      enter(static_cast<int32_t>(e), call.min - 1, call.max == kUnbounded ? call.max : call.max - 1,
            c.frame);
    }
    if (!n.final || c.need) continue;
    if (stacks_.bottom(c.frame)) to.ended = true;
    for (size_t k = 0; k < stacks_.elements(c.frame).size(); ++k)
      leave(Element(stacks_.elements(c.frame)[k]));  // a copy: frames may move
  }
  merge(to.configs);
}

void Runner::merge(std::vector<Config>& configs) {
  if (configs.size() < 2) return;
  std::sort(configs.begin(), configs.end());
  size_t n = 0;
  for (const Config& c : configs) {
    if (n && configs[n - 1].node == c.node && configs[n - 1].need == c.need &&
        configs[n - 1].room == c.room)
      configs[n - 1].frame = stacks_.unite(configs[n - 1].frame, c.frame);
    else
      configs[n++] = c;
  }
  configs.resize(n);
  drop_covered(configs, [](const Config& x, const Config& y) {
    return x.node == y.node && x.frame == y.frame;
  });
}

}  // namespace wellspring::grammar
