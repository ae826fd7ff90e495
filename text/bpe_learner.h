#pragma once
// Learning merges: which pair of symbols is the most frequent, again and again. For bpe_trainer.cpp
// alone.

#include <array>
#include <cstdint>
#include <deque>
#include <queue>
#include <utility>
#include <vector>

#include "text/word_counts.h"

namespace wellspring {

/// The words as one array of symbols, where each pair stands in it, and the queue of what to merge
/// next. A step costs time by the places of its pair alone, not by the length of the words. Steps
/// with many places run on all threads; the result does not depend on how many there are. Not
/// thread-safe.
class BpeLearner {
 public:
  /// `byte_ids`: the symbol of each byte; `most_ids`: all symbols ever given are below it.
  /// Error(Fault::data) when the words are too many (2^32 bytes).
  BpeLearner(const WordCounts& words, const std::array<int32_t, 256>& byte_ids, int64_t most_ids);

  /// The next pair to merge; false when none is left that is frequent enough. Ties: smaller ids
  /// first.
  bool next(int64_t min_frequency, int32_t* left, int32_t* right);
  /// Merges the pair that next() gave into the new symbol `id`.
  void apply(int32_t id);

 private:
  struct Place {
    uint32_t at, word;
  };
  using Places = std::vector<Place>;
  struct Word {
    uint32_t begin;
    int64_t count;
  };
  struct Pair {
    int32_t left, right;
    int64_t count = 0;
    int32_t places = -1;  // index of the list being filled, or -1
  };
  struct Candidate {
    int64_t count;
    int32_t left, right;
    uint32_t pair, places;
    bool operator<(const Candidate& o) const {  // greatest first: more, then smaller ids
      if (count != o.count) return count < o.count;
      return left != o.left ? left > o.left : right > o.right;
    }
  };
  // What a step does to the pairs of one symbol with the symbols on one side of it.
  struct Side {
    std::vector<int64_t> change;  // by neighbour
    std::vector<uint32_t> found;  // by neighbour: how often
    std::vector<int32_t> touched;
    void add(int32_t neighbour, int64_t n) {
      if (found[static_cast<size_t>(neighbour)]++ == 0) touched.push_back(neighbour);
      change[static_cast<size_t>(neighbour)] += n;
    }
  };
  struct Fresh {
    Place place;
    int32_t neighbour;
  };
  // One thread's part of a step.
  struct Tile {
    Side old_left, old_right, new_left, new_right;
    std::vector<Fresh> left, right;
  };

  void load(const WordCounts& words, const std::array<int32_t, 256>& byte_ids);
  void first_pairs(const std::array<int32_t, 256>& byte_ids);
  int32_t length(int32_t id) const { return lengths_[static_cast<size_t>(id)]; }
  void merge_places(const Place* begin, const Place* end, int32_t id, Tile& tile);
  void merge_at(Place place, int32_t id, Tile& tile);
  void gather(Side Tile::*side, int32_t symbol, bool symbol_first);
  void gather_fresh(Side Tile::*side, std::vector<Fresh> Tile::*list, int32_t symbol,
                    bool symbol_first);
  uint32_t index_of(int32_t left, int32_t right);
  size_t slot(int32_t left, int32_t right) const;
  void grow();
  Places& places_of(uint32_t pair, size_t more);
  void push_touched();

  std::vector<int32_t> symbols_;  // see bpe_learner.cpp
  std::vector<Word> words_;
  std::vector<int32_t> lengths_;  // by symbol: bytes
  std::vector<Pair> pairs_;
  std::vector<uint32_t> slots_ = std::vector<uint32_t>(1 << 16);
  std::deque<Places> places_;
  std::vector<uint32_t> touched_;
  std::priority_queue<Candidate> queue_;
  std::vector<Tile> tiles_;
  size_t used_tiles_ = 0;
  Places current_;
  int32_t left_ = 0, right_ = 0;
};

}  // namespace wellspring
