// The array of symbols: a symbol stands at the first of its bytes. Of its other bytes the last
// holds minus its length, so that the symbol before any place is found without a second array, and
// the rest are kGone. kEdge stands before, between and behind the words.
//
// All places of a pair arise in one step: that which made the younger of its two symbols, as every
// symbol is made of one pair alone (where bytes end up in one symbol, the steps before have always
// cut them alike). So a pair is in the queue once, with all its places.
#include "text/bpe_learner.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "base/threads.h"

namespace wellspring {
namespace {

constexpr int32_t kEdge = std::numeric_limits<int32_t>::min();
constexpr int32_t kGone = kEdge + 1;
constexpr size_t kTilePlaces = 1 << 15;
constexpr size_t kMostTiles = 16;

}  // namespace

BpeLearner::BpeLearner(const WordCounts& words, const std::array<int32_t, 256>& byte_ids,
                       int64_t most_ids)
    : lengths_(static_cast<size_t>(most_ids), 0), tiles_(kMostTiles) {
  for (int32_t id : byte_ids) lengths_[static_cast<size_t>(id)] = 1;
  load(words, byte_ids);
  first_pairs(byte_ids);
}

void BpeLearner::load(const WordCounts& words, const std::array<int32_t, 256>& byte_ids) {
  size_t bytes = 1;
  words.each(
      [&](std::string_view word, int64_t) { bytes += word.size() > 1 ? word.size() + 1 : 0; });
  if (bytes > std::numeric_limits<uint32_t>::max())
    throw Error(Fault::data, str("the different words are ", bytes,
                                 " bytes, more than 4 GiB: train on ", "less text"));
  symbols_.reserve(bytes);
  symbols_.push_back(kEdge);
  words.each([&](std::string_view word, int64_t n) {
    if (word.size() < 2) return;
    words_.push_back({static_cast<uint32_t>(symbols_.size()), n});
    for (char c : word) symbols_.push_back(byte_ids[static_cast<unsigned char>(c)]);
    symbols_.push_back(kEdge);
  });
}

// Counts the pairs of bytes in a flat table, then lists their places, both on all threads.
void BpeLearner::first_pairs(const std::array<int32_t, 256>& byte_ids) {
  std::vector<int16_t> byte_of(lengths_.size(), -1);
  for (size_t b = 0; b < 256; ++b)
    byte_of[static_cast<size_t>(byte_ids[b])] = static_cast<int16_t>(b);
  struct Part {
    size_t begin, end;  // of words_
    std::vector<int64_t> counts = std::vector<int64_t>(1 << 16);
    std::vector<uint32_t> found = std::vector<uint32_t>(1 << 16);
  };
  std::vector<Part> parts(std::clamp<size_t>(words_.size() / kTilePlaces, 1, kMostTiles));
  for (size_t i = 0; i < parts.size(); ++i)
    parts[i].begin = words_.size() * i / parts.size(),
    parts[i].end = words_.size() * (i + 1) / parts.size();
  auto each_pair = [&](const Part& part, auto&& fn) {
    for (size_t w = part.begin; w < part.end; ++w) {
      size_t at = words_[w].begin;
      int left = byte_of[static_cast<size_t>(symbols_[at])];
      for (; symbols_[at + 1] != kEdge; ++at) {
        const int right = byte_of[static_cast<size_t>(symbols_[at + 1])];
        fn(static_cast<size_t>(left << 8 | right), at, w);
        left = right;
      }
    }
  };
  parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    Part& part = parts[static_cast<size_t>(i)];
    each_pair(part, [&](size_t pair, size_t, size_t w) {
      part.counts[pair] += words_[w].count;
      ++part.found[pair];
    });
  });
  std::vector<Place*> to(1 << 16);
  for (size_t pair = 0; pair < to.size(); ++pair) {
    size_t found = 0;
    int64_t count = 0;
    for (Part& part : parts) {
      count += part.counts[pair];
      const uint32_t here = part.found[pair];
      part.found[pair] = static_cast<uint32_t>(found);  // from now on: where its places begin
      found += here;
    }
    if (found == 0) continue;
    const uint32_t index = index_of(byte_ids[pair >> 8], byte_ids[pair & 255]);
    pairs_[index].count = count;
    Places& places = places_of(index, found);
    places.resize(found);
    to[pair] = places.data();
  }
  parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    Part& part = parts[static_cast<size_t>(i)];
    each_pair(part, [&](size_t pair, size_t at, size_t w) {
      to[pair][part.found[pair]++] = {static_cast<uint32_t>(at), static_cast<uint32_t>(w)};
    });
  });
  push_touched();
}

bool BpeLearner::next(int64_t min_frequency, int32_t* left, int32_t* right) {
  while (!queue_.empty()) {
    Candidate top = queue_.top();
    queue_.pop();
    const int64_t now = pairs_[top.pair].count;
    if (top.count != now) {
      top.count = now;
      queue_.push(top);
      continue;
    }
    if (top.count < 1 || top.count < min_frequency) return false;
    current_ = std::exchange(places_[top.places], {});
    *left = left_ = top.left, *right = right_ = top.right;
    return true;
  }
  return false;
}

// Merges the pair if it stands there, and notes what that does to its neighbours.
inline void BpeLearner::merge_at(Place place, int32_t id, Tile& tile) {
  int32_t* s = symbols_.data() + place.at;
  if (s[0] != left_) return;
  const int32_t left_length = length(left_), size = left_length + length(right_);
  if (s[left_length] != right_) return;
  const int64_t n = words_[place.word].count;
  if (s[-1] != kEdge) {
    const int32_t back = s[-1] < 0 ? s[-1] : -1;
    const int32_t before = s[back];
    tile.old_left.add(before, -n);
    tile.new_left.add(before, n);
    tile.left.push_back(
        {{static_cast<uint32_t>(static_cast<int64_t>(place.at) + back), place.word}, before});
  }
  if (const int32_t after = s[size]; after != kEdge) {
    tile.old_right.add(after, -n);
    tile.new_right.add(after, n);
    tile.right.push_back({place, after});
  }
  s[0] = id;
  s[left_length] = kGone;
  s[size - 1] = -size;
}

void BpeLearner::merge_places(const Place* begin, const Place* end, int32_t id, Tile& tile) {
  for (const Place* p = begin; p < end; ++p) {
    if (p + 16 < end) __builtin_prefetch(symbols_.data() + p[16].at, 1);
    merge_at(*p, id, tile);
  }
}

void BpeLearner::apply(int32_t id) {
  lengths_[static_cast<size_t>(id)] = length(left_) + length(right_);
  used_tiles_ = std::clamp<size_t>(current_.size() / kTilePlaces, 1, kMostTiles);
  for (size_t t = 0; t < used_tiles_; ++t)
    for (Side Tile::*side :
         {&Tile::old_left, &Tile::old_right, &Tile::new_left, &Tile::new_right}) {
      (tiles_[t].*side).change.resize(lengths_.size());
      (tiles_[t].*side).found.resize(lengths_.size());
    }
  std::vector<size_t> cuts{0};  // between words
  for (size_t t = 1; t <= used_tiles_; ++t) {
    size_t cut = std::max(cuts.back(), current_.size() * t / used_tiles_);
    while (cut > 0 && cut < current_.size() && current_[cut].word == current_[cut - 1].word) ++cut;
    cuts.push_back(cut);
  }
  parallel_for(static_cast<int64_t>(used_tiles_), [&](int64_t t) {
    const auto tile = static_cast<size_t>(t);
    merge_places(current_.data() + cuts[tile], current_.data() + cuts[tile + 1], id, tiles_[tile]);
  });
  gather(&Tile::old_left, left_, false);
  gather(&Tile::old_right, right_, true);
  gather_fresh(&Tile::new_left, &Tile::left, id, false);
  gather_fresh(&Tile::new_right, &Tile::right, id, true);
  push_touched();
  current_.clear();
}

void BpeLearner::gather(Side Tile::*side, int32_t symbol, bool symbol_first) {
  for (size_t t = 0; t < used_tiles_; ++t) {
    Side& s = tiles_[t].*side;
    for (int32_t other : s.touched) {
      const auto o = static_cast<size_t>(other);
      const uint32_t pair = symbol_first ? index_of(symbol, other) : index_of(other, symbol);
      pairs_[pair].count += std::exchange(s.change[o], 0);
      s.found[o] = 0;
    }
    s.touched.clear();
  }
}

void BpeLearner::gather_fresh(Side Tile::*side, std::vector<Fresh> Tile::*list, int32_t symbol,
                              bool symbol_first) {
  for (size_t t = 0; t < used_tiles_; ++t) {
    Side& s = tiles_[t].*side;
    for (int32_t other : s.touched) {
      const auto o = static_cast<size_t>(other);
      const uint32_t pair = symbol_first ? index_of(symbol, other) : index_of(other, symbol);
      pairs_[pair].count += std::exchange(s.change[o], 0);
      places_of(pair, std::exchange(s.found[o], 0));
      s.change[o] = pairs_[pair].places;  // for the loop below
    }
    for (const Fresh& f : tiles_[t].*list)
      places_[static_cast<size_t>(s.change[static_cast<size_t>(f.neighbour)])].push_back(f.place);
    for (int32_t other : s.touched) s.change[static_cast<size_t>(other)] = 0;
    s.touched.clear();
    (tiles_[t].*list).clear();
  }
}

// The list of places that this step makes for a pair, with room for more.
BpeLearner::Places& BpeLearner::places_of(uint32_t pair, size_t more) {
  Pair& p = pairs_[pair];
  if (p.places < 0) {
    p.places = static_cast<int32_t>(places_.size());
    places_.emplace_back();
    touched_.push_back(pair);
  }
  Places& list = places_[static_cast<size_t>(p.places)];
  list.reserve(list.size() + more);
  return list;
}

void BpeLearner::push_touched() {
  for (uint32_t at : touched_) {
    Pair& p = pairs_[at];
    if (p.count > 0) queue_.push({p.count, p.left, p.right, at, static_cast<uint32_t>(p.places)});
    p.places = -1;
  }
  touched_.clear();
}

size_t BpeLearner::slot(int32_t l, int32_t r) const {
  const uint64_t h =
      (static_cast<uint64_t>(static_cast<uint32_t>(l)) << 32 | static_cast<uint32_t>(r)) *
      0x9E3779B97F4A7C15u;
  return (h >> 20) & (slots_.size() - 1);
}

uint32_t BpeLearner::index_of(int32_t l, int32_t r) {
  if (pairs_.size() * 2 >= slots_.size()) grow();
  size_t i = slot(l, r);
  for (;; i = (i + 1) & (slots_.size() - 1)) {
    const uint32_t at = slots_[i];
    if (at == 0) break;
    if (pairs_[at - 1].left == l && pairs_[at - 1].right == r) return at - 1;
  }
  pairs_.push_back({l, r});
  slots_[i] = static_cast<uint32_t>(pairs_.size());
  return slots_[i] - 1;
}

void BpeLearner::grow() {
  slots_.assign(slots_.size() * 2, 0);
  for (size_t p = 0; p < pairs_.size(); ++p) {
    size_t i = slot(pairs_[p].left, pairs_[p].right);
    while (slots_[i]) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = static_cast<uint32_t>(p + 1);
  }
}

}  // namespace wellspring
