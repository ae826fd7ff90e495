#pragma once
// The one form of all grammars: rules are deterministic automata whose edges are bytes or calls of
// other rules. A matcher runs all ways through it at once (stacks.h). Internal to this folder.
//
// Invariant of a finished automaton: from every node the end of its rule can be reached, so that
// whatever has been matched so far can be completed.

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace wellspring::grammar {

class MaskCache;
struct Vocabulary;

inline constexpr uint32_t kUnbounded = UINT32_MAX;
/// Deepest stack of calls that a matcher follows (JSON: about half as many levels of nesting).
inline constexpr int kMaxDepth = 500;

/// What a byte edge does with the counter of its rule.
enum : uint8_t {
  kCount = 1,  ///< only while room > 0; need and room go down by one
  kGuard = 2,  ///< only when need == 0
};

struct ByteEdge {
  uint8_t low, high, action;
  int32_t target;
};

/// Calls `rule` between min >= 1 and max times in a row, then goes on at target.
struct CallEdge {
  int32_t rule;
  uint32_t min, max;
  int32_t target;
};

struct Node {
  uint32_t bytes_begin = 0, bytes_end = 0;
  uint32_t calls_begin = 0, calls_end = 0;
  int32_t height = 0;  ///< calls that must be open at once, at least, to reach the rule's end
  bool final = false;  ///< the rule may end here (when need == 0)
};

struct Rule {
  std::string name;
  int32_t start = -1;
  uint32_t min = 0, max = 0;  ///< counter at the start: need and room
};

struct Automaton {
  std::vector<Node> nodes;
  std::vector<ByteEdge> bytes;  ///< of one node: disjoint, ascending
  std::vector<CallEdge> calls;
  std::vector<Rule> rules;
  int32_t root = 0;
  std::vector<std::string> notes;
  /// A node, or call, that no text of kAlike bytes tells from this one. They share masks.
  static constexpr int kAlike = 16;
  std::vector<int32_t> node_like, call_like;

  /// The masks of this grammar for one vocabulary; made on first use, kept while it lives.
  std::shared_ptr<MaskCache> cache_for(const std::shared_ptr<const Vocabulary>& vocabulary) const;
  size_t size_bytes() const;

 private:
  struct Entry {
    std::weak_ptr<const Vocabulary> vocabulary;
    std::shared_ptr<MaskCache> cache;
  };
  mutable std::mutex mutex_;
  mutable std::vector<Entry> caches_;
};

}  // namespace wellspring::grammar
