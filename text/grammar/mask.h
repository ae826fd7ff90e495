#pragma once
// Masks. What a token may do inside the rule of a way depends on that rule alone, so it is computed
// once for each node: the tokens that stay inside, and the places in the trie where the rule ends.
// From those places the walk goes on in the caller, again computed once for each (call, places).
// A mask is the union of these pieces along the stack. Internal to this folder.

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "text/grammar/stacks.h"
#include "text/grammar/vocabulary.h"

namespace wellspring::grammar {

/// Places in a trie, ascending.
struct Places {
  uint64_t id;
  std::vector<uint32_t> nodes;
};

struct Piece {
  std::vector<uint64_t> dense;  ///< all words, or
  std::vector<int32_t> sparse;  ///< token ids, when they are few
  std::shared_ptr<const Places> exits;
  int grow = 0;  ///< calls that were open at most above the piece's own frame
};

/// The pieces of one automaton for one vocabulary. Thread-safe. Memory is bounded.
class MaskCache {
 public:
  /// The automaton outlives its cache.
  MaskCache(const Automaton& automaton, std::shared_ptr<const Vocabulary> vocabulary);
  /// Sets the bits of what may follow `set` (end tokens excepted); bits has all words.
  void fill(const Stacks& stacks, const ConfigSet& set, std::vector<uint64_t>& bits);
  /// The same without pieces, for sets that pieces do not describe, and for tests.
  void fill_directly(const Stacks& stacks, const ConfigSet& set, std::vector<uint64_t>& bits) const;
  size_t size_bytes();

 private:
  struct Key {
    int32_t trie, is_call, id;
    uint32_t need, room;
    uint64_t places;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& k) const;
  };
  struct Filling;
  std::shared_ptr<const Piece> piece(Key key, const Places& from);
  std::shared_ptr<const Piece> compute(const Key& key, const Places& from);
  std::shared_ptr<const Places> places(std::vector<uint32_t> nodes);
  bool descend(Filling& f, int32_t frame, const Places& places);

  const Automaton& a_;
  std::shared_ptr<const Vocabulary> v_;
  Places root_{0, {0}};
  std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<const Piece>, KeyHash> pieces_;
  std::unordered_multimap<uint64_t, std::shared_ptr<const Places>> places_;
  uint64_t next_places_ = 1;
  size_t bytes_ = 0;
};

}  // namespace wellspring::grammar
