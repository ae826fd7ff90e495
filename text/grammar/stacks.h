#pragma once
// All ways through an automaton at once. A way is a node and the stack of calls that led to it.
// Stacks that meet in one node are merged into one, whose frames list alternatives, so the number
// of ways is bounded by the nodes, not by the text. Internal to this folder. Not thread-safe.

#include <compare>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/grammar/automaton.h"

namespace wellspring::grammar {

/// One call that is open, and the frame below it.
struct Element {
  int32_t call;         ///< index into Automaton::calls
  uint32_t need, room;  ///< further calls that must and may follow this one
  int32_t below;
  auto operator<=>(const Element&) const = default;
};

/// Frames, each stored once. Frame 0 is the bottom alone; the bottom may also be one alternative of
/// a frame.
class Stacks {
 public:
  Stacks() : frames_{{0, 0, 0, true}}, table_(16, -1) {}
  int32_t push(const Element& e) { return intern({&e, 1}, false); }
  /// The frame whose alternatives are those of both; once too much was united since begin_step(),
  /// one of the two.
  int32_t unite(int32_t a, int32_t b);
  void begin_step() { work_ = 0; }
  std::span<const Element> elements(int32_t frame) const {
    return {elements_.data() + frames_[frame].begin, frames_[frame].count};
  }
  /// Whether no call may be open.
  bool bottom(int32_t frame) const { return frames_[frame].bottom; }
  /// Calls that are open, at most.
  int depth(int32_t frame) const { return frames_[frame].depth; }
  size_t size() const { return frames_.size(); }
  /// Keeps the frames that `roots` need, and rewrites roots.
  void keep_only(std::span<int32_t*> roots);

 private:
  struct Frame {
    uint32_t begin = 0, count = 0;
    int32_t depth = 0;
    bool bottom = false;
  };
  int32_t intern(std::span<const Element> elements, bool bottom);
  int32_t unite_inner(int32_t a, int32_t b);
  void grow();
  std::vector<Frame> frames_;
  std::vector<Element> elements_;
  std::vector<int32_t> table_;  // open addressing; the size is a power of two
  /// What was united before; a copy begins with none, which keeps copies cheap.
  struct United {
    std::unordered_map<uint64_t, int32_t> pairs;
    United() = default;
    United(const United&) {}
    United(United&&) = default;
    United& operator=(const United&) {
      pairs.clear();
      return *this;
    }
    United& operator=(United&&) = default;
  };
  United united_;
  uint64_t work_ = 0;
};

/// One way: a node, its rule's counter, and the calls that are open.
struct Config {
  int32_t node;
  uint32_t need, room;
  int32_t frame;
  auto operator<=>(const Config&) const = default;
};

/// Ways that wait for a byte, sorted, one for each (node, need, room); and whether the text may
/// end.
struct ConfigSet {
  std::vector<Config> configs;
  bool ended = false;
};

/// Moves sets of ways.
class Runner {
 public:
  /// `clip` bounds counters (what is beyond is as good as clip), `max_depth` the calls open.
  Runner(const Automaton& automaton, Stacks& stacks, uint32_t clip = kUnbounded,
         int max_depth = kMaxDepth)
      : a_(automaton), stacks_(stacks), clip_(clip), max_depth_(max_depth) {}

  /// The set at the start of the automaton.
  ConfigSet start();
  /// The set after a call of `element` has returned.
  ConfigSet after(const Element& element);
  /// The set after a byte.
  void step(const ConfigSet& from, uint8_t byte, ConfigSet& to);
  /// The largest depth that a way of any set so far needed.
  int deepest() const { return deepest_; }

 private:
  uint32_t clipped(uint32_t n) const { return n == kUnbounded ? n : std::min(n, clip_); }
  void add(const Config& c);
  void enter(int32_t call, uint32_t need, uint32_t room, int32_t below);
  void leave(const Element& e);
  void close(ConfigSet& to);
  void merge(std::vector<Config>& configs);

  const Automaton& a_;
  Stacks& stacks_;
  uint32_t clip_;
  int max_depth_, deepest_ = 0;
  std::vector<Config> work_;
  std::vector<uint32_t> table_;  // finds a config in work_
};

}  // namespace wellspring::grammar
