#pragma once
// Deterministic automata over classes of characters: what regular expressions become. They can be
// intersected exactly. Internal to this folder. Not thread-safe.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/grammar/expression.h"

namespace wellspring::grammar {

class CharAutomaton {
 public:
  /// Texts that every expression matches from begin to end, of min to max characters. Every state
  /// leads to an end; there is none when the language is empty. Error(Fault::data) by the budget.
  CharAutomaton(std::span<const ExpressionPtr> expressions, uint32_t min, uint32_t max,
                Budget& budget);
  bool empty() const { return states_.empty(); }
  /// Invalid UTF-8 never matches.
  bool matches(std::string_view utf8) const;
  /// Draws it from `from` to `to`.
  void draw(Draft& draft, int from, int to, Spelling spelling, Budget& budget) const;
  size_t size() const { return states_.size(); }

 private:
  struct Edge {
    int cls, target;
  };
  struct State {
    std::vector<Edge> edges;
    bool final = false;
  };
  friend class OneAutomaton;
  void partition(std::span<const ExpressionPtr> expressions, Budget& budget);
  void trim();
  static std::vector<State> intersect(const std::vector<State>& a, const std::vector<State>& b,
                                      Budget& budget);
  static std::vector<State> lengths(uint32_t min, uint32_t max, int classes, Budget& budget);

  std::vector<CharSet> classes_;
  /// Boundaries of the classes: from starts_[i] on, class_of_[i].
  std::vector<uint32_t> starts_;
  std::vector<int> class_of_;
  std::vector<State> states_;  // state 0 is the start
};

}  // namespace wellspring::grammar
