#include "text/grammar/char_automaton.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "text/unicode.h"

namespace wellspring::grammar {

namespace {

using Kind = Expression::Kind;

constexpr size_t kMaxStates = 20'000;

void collect(const Expression& e, std::set<const Expression*>& seen,
             std::vector<const CharSet*>& sets, Budget& budget) {
  if (!seen.insert(&e).second) return;
  budget.spend(20);
  if (e.kind == Kind::chars) sets.push_back(&e.set);
  for (const auto& p : e.parts) collect(*p, seen, sets, budget);
}

}  // namespace

/// One expression: Thompson's construction, then subsets.
class OneAutomaton {
 public:
  OneAutomaton(const CharAutomaton& whole, Budget& budget) : whole_(whole), budget_(budget) {}

  std::vector<CharAutomaton::State> run(const Expression& e) {
    const int start = node(), end = node();
    draw(e, start, end);
    end_ = end;
    intern({start}, true);
    std::vector<CharAutomaton::State> states;
    for (size_t i = 0; i < sets_.size(); ++i) states.push_back(expand(i));
    return states;
  }

 private:
  struct Item {
    std::vector<int> epsilon, at_begin, at_end;
    int chars = -1;  // index into lists_
    int target = -1;
  };
  int node() {
    budget_.spend(40);  // memory, too
    nodes_.emplace_back();
    return static_cast<int>(nodes_.size()) - 1;
  }

  void draw(const Expression& e, int from, int to) {
    budget_.spend(2);
    switch (e.kind) {
      case Kind::chars: {
        const int n = node();
        nodes_[from].epsilon.push_back(n);
        nodes_[n].chars = list_of(e.set);
        nodes_[n].target = to;
        return;
      }
      case Kind::sequence:
        for (size_t i = 0; i < e.parts.size(); ++i) {
          const int next = i + 1 == e.parts.size() ? to : node();
          draw(*e.parts[i], from, next);
          from = next;
        }
        if (e.parts.empty()) nodes_[from].epsilon.push_back(to);
        return;
      case Kind::choice:
        for (const auto& p : e.parts) draw(*p, from, to);
        return;
      case Kind::repeat:
        return draw_repeat(e, from, to);
      case Kind::text_begin:
        nodes_[from].at_begin.push_back(to);
        return;
      case Kind::text_end:
        nodes_[from].at_end.push_back(to);
        return;
      case Kind::rule:
        WS_CHECK(false, "no rules in regular expressions");
    }
  }

  void draw_repeat(const Expression& e, int from, int to) {
    for (uint32_t i = 0; i < e.min; ++i) {
      const int next = node();
      draw(*e.parts[0], from, next);
      from = next;
    }
    if (e.max == kUnbounded) {
      const int loop = node(), back = node();
      nodes_[from].epsilon.push_back(loop);
      draw(*e.parts[0], loop, back);
      nodes_[back].epsilon.push_back(loop);
      nodes_[loop].epsilon.push_back(to);
      return;
    }
    for (uint32_t i = e.min; i < e.max; ++i) {
      const int next = node();
      nodes_[from].epsilon.push_back(to);
      draw(*e.parts[0], from, next);
      from = next;
    }
    nodes_[from].epsilon.push_back(to);
  }

  int list_of(const CharSet& set) {
    auto [it, added] = list_ids_.try_emplace(&set, static_cast<int>(lists_.size()));
    if (!added) return it->second;
    std::vector<int> list;
    for (size_t c = 0; c < whole_.classes_.size(); ++c)
      if (set.contains(whole_.classes_[c].ranges()[0].low)) list.push_back(static_cast<int>(c));
    budget_.spend(whole_.classes_.size());
    lists_.push_back(std::move(list));
    return it->second;
  }

  /// Adds what is reached without a character. `$` is passed only to see whether the end is there.
  std::vector<int> closure(std::vector<int> set, bool at_begin, bool at_end) {
    marks_.resize(nodes_.size(), 0);
    ++stamp_;
    for (int n : set) marks_[n] = stamp_;
    auto add = [&](const std::vector<int>& to) {
      for (int n : to)
        if (marks_[n] != stamp_) {
          marks_[n] = stamp_;
          set.push_back(n);
        }
    };
    for (size_t i = 0; i < set.size(); ++i) {
      const Item& item = nodes_[set[i]];
      budget_.spend(1 + item.epsilon.size());
      add(item.epsilon);
      if (at_begin) add(item.at_begin);
      if (at_end) add(item.at_end);
    }
    return set;
  }

  int intern(std::vector<int> seeds, bool at_begin) {
    const std::vector<int> last = closure(seeds, at_begin, true);
    const bool final = std::find(last.begin(), last.end(), end_) != last.end();
    std::vector<int> set = closure(std::move(seeds), at_begin, false);
    std::erase_if(
        set, [&](int n) { return nodes_[n].chars < 0 && nodes_[n].at_end.empty() && n != end_; });
    std::sort(set.begin(), set.end());
    budget_.spend(4 * set.size());
    set.push_back(final);
    auto [it, added] = ids_.try_emplace(std::move(set), static_cast<int>(sets_.size()));
    if (added) {
      if (sets_.size() >= kMaxStates) budget_.spend(UINT64_MAX);
      sets_.push_back(&it->first);
    }
    return it->second;
  }

  CharAutomaton::State expand(size_t i) {
    const std::vector<int>& set = *sets_[i];
    std::map<int, std::vector<int>> moves;
    for (size_t k = 0; k + 1 < set.size(); ++k) {
      const Item& item = nodes_[set[k]];
      if (item.chars < 0) continue;
      budget_.spend(lists_[item.chars].size() * 2);
      for (int c : lists_[item.chars]) moves[c].push_back(item.target);
    }
    CharAutomaton::State state;
    state.final = set.back();
    std::map<std::vector<int>, int> known;  // many classes go the same way
    for (auto& [cls, targets] : moves) {
      std::sort(targets.begin(), targets.end());
      targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
      budget_.spend(targets.size() + 4);
      auto [it, added] = known.try_emplace(targets, 0);
      if (added) it->second = intern(targets, false);
      state.edges.push_back({cls, it->second});
    }
    return state;
  }

  const CharAutomaton& whole_;
  Budget& budget_;
  std::vector<Item> nodes_;
  std::map<const CharSet*, int> list_ids_;
  std::vector<std::vector<int>> lists_;
  std::vector<uint32_t> marks_;
  uint32_t stamp_ = 0;
  int end_ = -1;
  std::unordered_map<std::vector<int>, int, VectorHash> ids_;
  std::vector<const std::vector<int>*> sets_;
};

CharAutomaton::CharAutomaton(std::span<const ExpressionPtr> expressions, uint32_t min, uint32_t max,
                             Budget& budget) {
  if (min > max) return;
  partition(expressions, budget);
  const int classes = static_cast<int>(classes_.size());
  const bool sized = min > 0 || max != kUnbounded;
  if (sized || expressions.empty()) states_ = lengths(min, max, classes, budget);
  for (const auto& e : expressions) {
    auto one = OneAutomaton(*this, budget).run(*e);
    states_ = states_.empty() ? std::move(one) : intersect(one, states_, budget);
  }
  trim();
}

void CharAutomaton::partition(std::span<const ExpressionPtr> expressions, Budget& budget) {
  std::set<const Expression*> seen;
  std::vector<const CharSet*> sets;
  for (const auto& e : expressions) collect(*e, seen, sets, budget);
  std::sort(sets.begin(), sets.end(), [](auto* a, auto* b) {
    return std::lexicographical_compare(
        a->ranges().begin(), a->ranges().end(), b->ranges().begin(), b->ranges().end(),
        [](auto x, auto y) { return std::tie(x.low, x.high) < std::tie(y.low, y.high); });
  });
  sets.erase(std::unique(sets.begin(), sets.end(), [](auto* a, auto* b) { return *a == *b; }),
             sets.end());
  std::set<uint32_t> cuts{0, 0xD800, 0xE000, 0x110000};
  for (const CharSet* s : sets)
    for (auto r : s->ranges()) cuts.insert({r.low, r.high + 1});
  std::map<std::vector<bool>, int> ids;
  std::vector<uint32_t> points(cuts.begin(), cuts.end());
  for (size_t i = 0; i + 1 < points.size(); ++i) {
    starts_.push_back(points[i]);
    if (points[i] == 0xD800) {
      class_of_.push_back(-1);
      continue;
    }
    std::vector<bool> in(sets.size());
    for (size_t k = 0; k < sets.size(); ++k) in[k] = sets[k]->contains(points[i]);
    budget.spend(2 * sets.size());
    auto [it, added] = ids.try_emplace(in, static_cast<int>(classes_.size()));
    if (added) classes_.emplace_back();
    class_of_.push_back(it->second);
  }
  std::vector<std::vector<CharSet::Range>> parts(classes_.size());
  for (size_t i = 0; i < starts_.size(); ++i)
    if (class_of_[i] >= 0) parts[class_of_[i]].push_back({starts_[i], points[i + 1] - 1});
  for (size_t c = 0; c < parts.size(); ++c) classes_[c].add_all(parts[c]);
}

std::vector<CharAutomaton::State> CharAutomaton::lengths(uint32_t min, uint32_t max, int classes,
                                                         Budget& budget) {
  const uint32_t last = max == kUnbounded ? min : max;
  if (last >= kMaxStates) budget.spend(UINT64_MAX);
  std::vector<State> states(last + 1);
  for (uint32_t i = 0; i <= last; ++i) {
    states[i].final = i >= min;
    if (i == last && max != kUnbounded) continue;
    budget.spend(classes);
    for (int c = 0; c < classes; ++c)
      states[i].edges.push_back({c, static_cast<int>(std::min(i + 1, last))});
  }
  return states;
}

std::vector<CharAutomaton::State> CharAutomaton::intersect(const std::vector<State>& a,
                                                           const std::vector<State>& b,
                                                           Budget& budget) {
  std::unordered_map<uint64_t, int> ids;
  std::vector<std::pair<int, int>> pairs;
  auto id = [&](int x, int y) {
    auto [it, added] = ids.try_emplace(static_cast<uint64_t>(x) << 32 | static_cast<uint32_t>(y),
                                       static_cast<int>(pairs.size()));
    if (added) pairs.emplace_back(x, y);
    if (pairs.size() > kMaxStates) budget.spend(UINT64_MAX);
    return it->second;
  };
  id(0, 0);
  std::vector<State> states;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const State &x = a[pairs[i].first], &y = b[pairs[i].second];
    State s;
    s.final = x.final && y.final;
    budget.spend(x.edges.size() + y.edges.size());
    for (size_t p = 0, q = 0; p < x.edges.size() && q < y.edges.size();) {
      if (x.edges[p].cls < y.edges[q].cls) {
        ++p;
      } else if (x.edges[p].cls > y.edges[q].cls) {
        ++q;
      } else {
        s.edges.push_back({x.edges[p].cls, id(x.edges[p].target, y.edges[q].target)});
        ++p, ++q;
      }
    }
    states.push_back(std::move(s));
  }
  return states;
}

void CharAutomaton::trim() {
  std::vector<std::vector<int>> from(states_.size());
  std::vector<int> work, kept(states_.size(), -1);
  for (size_t i = 0; i < states_.size(); ++i) {
    for (const Edge& e : states_[i].edges) from[e.target].push_back(static_cast<int>(i));
    if (states_[i].final) work.push_back(static_cast<int>(i)), kept[i] = 0;
  }
  while (!work.empty()) {
    const int s = work.back();
    work.pop_back();
    for (int f : from[s])
      if (kept[f] < 0) kept[f] = 0, work.push_back(f);
  }
  if (states_.empty() || kept[0] < 0) return states_.clear();
  int next = 0;
  for (int& k : kept)
    if (k == 0) k = next++;
  std::vector<State> states;
  for (size_t i = 0; i < states_.size(); ++i) {
    if (kept[i] < 0) continue;
    State s{{}, states_[i].final};
    for (const Edge& e : states_[i].edges)
      if (kept[e.target] >= 0) s.edges.push_back({e.cls, kept[e.target]});
    states.push_back(std::move(s));
  }
  states_ = std::move(states);
}

bool CharAutomaton::matches(std::string_view utf8) const {
  if (empty()) return false;
  int s = 0;
  const char* end = utf8.data() + utf8.size();
  for (const char* p = utf8.data(); p < end;) {
    const auto c = unicode::decode(p, end);
    if (!c.valid) return false;
    p += c.length;
    const auto at = std::upper_bound(starts_.begin(), starts_.end(), c.code) - starts_.begin() - 1;
    const int cls = class_of_[at];
    const auto& edges = states_[s].edges;
    auto it = std::find_if(edges.begin(), edges.end(), [&](const Edge& e) { return e.cls == cls; });
    if (it == edges.end()) return false;
    s = it->target;
  }
  return states_[s].final;
}

void CharAutomaton::draw(Draft& draft, int from, int to, Spelling spelling, Budget& budget) const {
  std::vector<int> nodes(states_.size());
  for (int& n : nodes) n = draft.node();
  if (!empty()) draft.epsilon(from, nodes[0]);
  for (size_t i = 0; i < states_.size(); ++i) {
    if (states_[i].final) draft.epsilon(nodes[i], to);
    std::map<int, std::vector<CharSet::Range>> by_target;
    for (const Edge& e : states_[i].edges) {
      auto& ranges = by_target[e.target];
      const auto& more = classes_[e.cls].ranges();
      ranges.insert(ranges.end(), more.begin(), more.end());
    }
    for (auto& [target, ranges] : by_target) {
      CharSet set;
      set.add_all(ranges);
      budget.spend(20 * set.ranges().size());
      add_chars(draft, nodes[i], nodes[target], set, spelling);
    }
  }
}

}  // namespace wellspring::grammar
