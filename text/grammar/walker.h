#pragma once
// Walks a trie with sets of ways. Sets are numbered and their moves remembered, so that a walk
// costs little more than one look-up for each node. Internal to this folder. Not thread-safe.

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "text/grammar/stacks.h"
#include "text/grammar/vocabulary.h"

namespace wellspring::grammar {

class Walker {
 public:
  Walker(const Automaton& a, Stacks& stacks, uint32_t clip, int max_depth)
      : runner_(a, stacks, clip, max_depth) {}
  Runner& runner() { return runner_; }
  /// Sets the bits of the tokens below `place` that `set` lets pass. Where a token may go on after
  /// the bottom was reached, its place is appended to exits (which may be null).
  void walk(const Trie& trie, uint32_t place, const ConfigSet& set, std::vector<uint64_t>& bits,
            std::vector<uint32_t>* exits);

 private:
  static constexpr int32_t kUnknown = -1, kDead = -2;
  int32_t number(const ConfigSet& set);
  int32_t next(int32_t set, uint8_t byte) {
    const int32_t known = moves_[set][byte];
    return known != kUnknown ? known : compute(set, byte);
  }
  int32_t compute(int32_t set, uint8_t byte);
  /// Groups of bytes all of which leave the set as it is.
  uint16_t still(int32_t set);
  void forget(std::vector<int32_t>& levels, size_t used);

  Runner runner_;
  std::vector<ConfigSet> sets_;
  std::vector<std::array<int32_t, 256>> moves_;
  std::vector<int32_t> still_;  // -1: not computed yet
  std::unordered_multimap<uint64_t, int32_t> numbers_;
  ConfigSet scratch_;
};

}  // namespace wellspring::grammar
