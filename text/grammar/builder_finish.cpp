// What must hold of a whole automaton before a matcher may run it.

#include <algorithm>
#include <array>
#include <climits>
#include <unordered_map>

#include "base/error.h"
#include "text/grammar/builder.h"

namespace wellspring::grammar {

namespace {

constexpr int kNever = INT_MAX / 2;

/// Heights (Node::height) of all nodes, kNever where no end can be reached: Bellman-Ford over
/// reversed edges, with a work list.
class Heights {
 public:
  Heights(Automaton& a, Budget& budget) : a_(a), budget_(budget) {
    for (Node& n : a_.nodes) n.height = kNever;
    link();
    for (size_t i = 0; i < a_.nodes.size(); ++i)
      if (a_.nodes[i].final) lower(i, 0);
    while (!work_.empty()) {
      const int n = work_.back();
      work_.pop_back();
      budget_.spend(1);
      for (int i = first_[n]; i < first_[n + 1]; ++i) update(from_[i]);
      if (start_of_[n] >= 0)
        for (int caller : callers_[start_of_[n]]) update(caller);
    }
  }

 private:
  template <class F>
  void each_edge(F f) {
    for (size_t i = 0; i < a_.nodes.size(); ++i) {
      const Node& n = a_.nodes[i];
      for (uint32_t e = n.bytes_begin; e < n.bytes_end; ++e) f(i, a_.bytes[e].target);
      for (uint32_t e = n.calls_begin; e < n.calls_end; ++e) f(i, a_.calls[e].target);
    }
  }
  void link() {
    first_.assign(a_.nodes.size() + 2, 0);
    each_edge([&](int, int to) { ++first_[to + 1]; });
    for (size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
    from_.resize(first_.back());
    auto at = first_;
    each_edge([&](int from, int to) { from_[at[to]++] = from; });
    callers_.resize(a_.rules.size());
    start_of_.assign(a_.nodes.size(), -1);
    for (size_t r = 0; r < a_.rules.size(); ++r)
      if (a_.rules[r].start >= 0) start_of_[a_.rules[r].start] = static_cast<int>(r);
    for (size_t i = 0; i < a_.nodes.size(); ++i)
      for (uint32_t e = a_.nodes[i].calls_begin; e < a_.nodes[i].calls_end; ++e)
        callers_[a_.calls[e].rule].push_back(static_cast<int>(i));
  }
  void lower(int n, int height) {
    if (height >= a_.nodes[n].height) return;
    a_.nodes[n].height = height;
    work_.push_back(n);
  }
  void update(int n) {
    const Node& node = a_.nodes[n];
    int best = node.final ? 0 : kNever;
    for (uint32_t e = node.bytes_begin; e < node.bytes_end; ++e)
      best = std::min(best, a_.nodes[a_.bytes[e].target].height);
    for (uint32_t e = node.calls_begin; e < node.calls_end; ++e) {
      const CallEdge& c = a_.calls[e];
      const int start = a_.rules[c.rule].start;
      const int callee = start < 0 ? kNever : a_.nodes[start].height;
      if (callee < kNever) best = std::min(best, std::max(callee + 1, a_.nodes[c.target].height));
    }
    budget_.spend(node.bytes_end - node.bytes_begin + node.calls_end - node.calls_begin);
    lower(n, best);
  }

  Automaton& a_;
  Budget& budget_;
  std::vector<int> first_, from_, work_, start_of_;
  std::vector<std::vector<int>> callers_;
};

/// Drops edges from which no end can be reached.
void trim(Automaton& a) {
  std::vector<ByteEdge> bytes;
  std::vector<CallEdge> calls;
  for (Node& n : a.nodes) {
    const uint32_t b = bytes.size(), c = calls.size();
    for (uint32_t e = n.bytes_begin; e < n.bytes_end; ++e)
      if (a.nodes[a.bytes[e].target].height < kNever) bytes.push_back(a.bytes[e]);
    for (uint32_t e = n.calls_begin; e < n.calls_end; ++e) {
      const int start = a.rules[a.calls[e].rule].start;
      if (start >= 0 && a.nodes[start].height < kNever &&
          a.nodes[a.calls[e].target].height < kNever)
        calls.push_back(a.calls[e]);
    }
    n.bytes_begin = b, n.bytes_end = bytes.size();
    n.calls_begin = c, n.calls_end = calls.size();
  }
  a.bytes = std::move(bytes);
  a.calls = std::move(calls);
  a.bytes.shrink_to_fit();
  a.calls.shrink_to_fit();
}

/// Which rules match the empty text.
std::vector<bool> nullable_rules(const Automaton& a, Budget& budget) {
  std::vector<bool> nullable(a.rules.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t r = 0; r < a.rules.size(); ++r) {
      if (nullable[r] || a.rules[r].start < 0) continue;
      std::vector<int> seen{a.rules[r].start};
      for (size_t i = 0; i < seen.size() && !nullable[r]; ++i) {
        budget.spend(seen.size());
        const Node& n = a.nodes[seen[i]];
        if (n.final && a.rules[r].min == 0) nullable[r] = changed = true;
        for (uint32_t e = n.calls_begin; e < n.calls_end; ++e)
          if (nullable[a.calls[e].rule] &&
              std::find(seen.begin(), seen.end(), a.calls[e].target) == seen.end())
            seen.push_back(a.calls[e].target);
      }
    }
  }
  return nullable;
}

/// Refuses a rule that can call itself before any byte.
class LeftRecursion {
 public:
  LeftRecursion(const Automaton& a, const std::vector<bool>& nullable, const std::string& where,
                Budget& budget)
      : a_(a), nullable_(nullable), where_(where), budget_(budget), state_(a.rules.size()) {
    for (size_t r = 0; r < a.rules.size(); ++r) visit(r);
  }

 private:
  std::vector<int> first_calls(int rule) {
    std::vector<int> called, seen;
    if (a_.rules[rule].start >= 0) seen.push_back(a_.rules[rule].start);
    for (size_t i = 0; i < seen.size(); ++i) {
      const Node& n = a_.nodes[seen[i]];
      budget_.spend(seen.size() + n.calls_end - n.calls_begin);
      for (uint32_t e = n.calls_begin; e < n.calls_end; ++e) {
        const CallEdge& c = a_.calls[e];
        called.push_back(c.rule);
        if (nullable_[c.rule] && std::find(seen.begin(), seen.end(), c.target) == seen.end())
          seen.push_back(c.target);
      }
    }
    return called;
  }
  /// Depth first without recursion: a chain of rules may be long.
  void visit(int root) {
    if (state_[root]) return;
    std::vector<std::pair<int, std::vector<int>>> path{{root, first_calls(root)}};
    state_[root] = 1;
    while (!path.empty()) {
      auto& [rule, todo] = path.back();
      if (todo.empty()) {
        state_[rule] = 2;
        path.pop_back();
        continue;
      }
      const int next = todo.back();
      todo.pop_back();
      if (state_[next] == 1)
        throw Error(Fault::data, where_ + ": the rule '" + a_.rules[next].name +
                                     "' calls itself before it matched anything (left "
                                     "recursion): write it as a repetition");
      if (state_[next]) continue;
      state_[next] = 1;
      path.emplace_back(next, first_calls(next));
    }
  }

  const Automaton& a_;
  const std::vector<bool>& nullable_;
  const std::string& where_;
  Budget& budget_;
  std::vector<uint8_t> state_;
};

/// Finds nodes that short texts cannot tell apart: refines classes once for each byte.
class Likeness {
 public:
  Likeness(Automaton& a, const std::vector<bool>& nullable, Budget& budget) : a_(a) {
    const size_t n = a.nodes.size();
    classes_.assign(n, 0);
    for (size_t i = 0; i < n; ++i) {
      const Node& node = a.nodes[i];
      // A call that may be empty takes a step without a byte: such nodes are like no other.
      bool alone = false;
      for (uint32_t e = node.calls_begin; e < node.calls_end; ++e)
        alone |= nullable[a.calls[e].rule];
      classes_[i] = alone ? static_cast<int32_t>(i) + (1 << 20)
                          : static_cast<int32_t>(node.height << 1 | node.final);
    }
    size_t count = 0;
    for (int round = 0; round <= Automaton::kAlike; ++round) {
      budget.spend(n + a.bytes.size() + a.calls.size());
      const size_t now = refine();
      if (now == count) break;
      count = now;
    }
    name();
  }

 private:
  using Hash = std::array<uint64_t, 2>;
  struct HashHash {
    size_t operator()(const Hash& h) const { return h[0]; }
  };
  static void mix(Hash& h, uint64_t x) {
    h[0] = (h[0] ^ x) * 0x9E3779B97F4A7C15u;
    h[0] ^= h[0] >> 31;
    h[1] = (h[1] + x) * 0xD6E8FEB86659FD93u;
    h[1] ^= h[1] >> 29;
  }
  size_t refine() {
    std::unordered_map<Hash, int32_t, HashHash> ids;
    std::vector<int32_t> next(classes_.size());
    for (size_t i = 0; i < next.size(); ++i) {
      const Node& n = a_.nodes[i];
      Hash h{1, 2};
      mix(h, static_cast<uint64_t>(classes_[i]));
      for (uint32_t e = n.bytes_begin; e < n.bytes_end; ++e) {
        const ByteEdge& b = a_.bytes[e];
        mix(h,
            static_cast<uint64_t>(classes_[b.target]) << 32 | b.low << 16 | b.high << 8 | b.action);
      }
      for (uint32_t e = n.calls_begin; e < n.calls_end; ++e) mix_call(h, a_.calls[e]);
      next[i] = ids.try_emplace(h, static_cast<int32_t>(ids.size())).first->second;
    }
    classes_ = std::move(next);
    return ids.size();
  }
  void mix_call(Hash& h, const CallEdge& c) const {
    mix(h, static_cast<uint64_t>(classes_[c.target]) << 32 | static_cast<uint32_t>(c.rule));
    mix(h, static_cast<uint64_t>(c.min) << 32 | c.max);
  }
  /// The first of each class speaks for all.
  void name() {
    std::unordered_map<int32_t, int32_t> first;
    for (size_t i = 0; i < classes_.size(); ++i)
      a_.node_like.push_back(first.try_emplace(classes_[i], static_cast<int32_t>(i)).first->second);
    std::unordered_map<Hash, int32_t, HashHash> first_call;
    for (size_t i = 0; i < a_.calls.size(); ++i) {
      Hash h{3, 4};
      mix_call(h, a_.calls[i]);
      a_.call_like.push_back(first_call.try_emplace(h, static_cast<int32_t>(i)).first->second);
    }
  }

  Automaton& a_;
  std::vector<int32_t> classes_;
};

}  // namespace

std::shared_ptr<const Automaton> Builder::finish(int root, const std::string& where) {
  Automaton& a = *automaton_;
  a.root = root;
  Heights(a, budget_);
  const int height = a.nodes[a.rules[root].start].height;
  if (height >= kNever) throw Error(Fault::data, where + ": no text can satisfy this");
  if (height >= kMaxDepth)
    throw Error(Fault::data, where + ": every text that satisfies this nests deeper than " +
                                 std::to_string(kMaxDepth) + " rules");
  trim(a);
  const auto nullable = nullable_rules(a, budget_);
  LeftRecursion(a, nullable, where, budget_);
  for (const CallEdge& c : a.calls)
    WS_CHECK(c.max == 1 || !nullable[c.rule], "a counted rule that may be empty");
  Likeness(a, nullable, budget_);
  return automaton_;
}

size_t Automaton::size_bytes() const {
  return nodes.size() * sizeof(Node) + bytes.size() * sizeof(ByteEdge) +
         calls.size() * sizeof(CallEdge) + 4 * (nodes.size() + calls.size()) +
         rules.size() * sizeof(Rule);
}

}  // namespace wellspring::grammar
