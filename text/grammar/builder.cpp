#include "text/grammar/builder.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"

namespace wellspring::grammar {

namespace {

constexpr size_t kMaxNodes = 400'000, kMaxDraftNodes = 1'000'000;

}  // namespace

void Budget::spend(uint64_t steps) {
  if (steps > left_)
    throw Error(Fault::data,
                "the grammar is too large to compile: make repetitions, lengths or alternatives "
                "smaller");
  left_ -= steps;
}

int Draft::node() {
  if (nodes_.size() >= kMaxDraftNodes) Budget().spend(UINT64_MAX);
  nodes_.emplace_back();
  return static_cast<int>(nodes_.size()) - 1;
}

void Draft::call(int from, int rule, int to, uint32_t min, uint32_t max) {
  if (min == 0) epsilon(from, to);
  if (max > 0) nodes_[from].calls.push_back({rule, std::max(min, 1u), max, to});
}

int Draft::literal(int from, std::string_view text) {
  for (unsigned char c : text) {
    const int next = node();
    bytes(from, c, c, next);
    from = next;
  }
  return from;
}

/// The subset construction of one rule; calls are symbols like bytes.
class Determiner {
 public:
  Determiner(const Draft& draft, Automaton& out, Budget& budget)
      : draft_(draft), out_(out), budget_(budget), marks_(draft.size(), 0) {}

  int32_t run() {
    const int32_t start = intern({Draft::kStart});
    for (size_t i = 0; i < sets_.size(); ++i) expand(i);
    return start;
  }

 private:
  /// The node of the epsilon closure of `set`.
  int32_t intern(std::vector<int> set) {
    ++stamp_;
    for (int n : set) marks_[n] = stamp_;
    for (size_t i = 0; i < set.size(); ++i)
      for (int n : draft_.nodes_[set[i]].epsilon)
        if (marks_[n] != stamp_) {
          marks_[n] = stamp_;
          set.push_back(n);
        }
    budget_.spend(4 * set.size() + 4);
    // Nodes with nothing but epsilons say nothing: without them more sets are the same.
    std::erase_if(set, [&](int n) {
      return n != Draft::kEnd && draft_.nodes_[n].bytes.empty() && draft_.nodes_[n].calls.empty();
    });
    std::sort(set.begin(), set.end());
    auto [it, added] = ids_.try_emplace(set, static_cast<int32_t>(out_.nodes.size()));
    if (added) {
      if (out_.nodes.size() >= kMaxNodes) budget_.spend(UINT64_MAX);
      out_.nodes.emplace_back();
      out_.nodes.back().final = std::binary_search(set.begin(), set.end(), int{Draft::kEnd});
      sets_.emplace_back(it->second, &it->first);
    }
    return it->second;
  }

  void expand(size_t index) {
    const auto [id, set] = sets_[index];
    edges_.clear();
    calls_.clear();
    for (int n : *set) {
      const auto& node = draft_.nodes_[n];
      edges_.insert(edges_.end(), node.bytes.begin(), node.bytes.end());
      calls_.insert(calls_.end(), node.calls.begin(), node.calls.end());
    }
    budget_.spend(edges_.size() + calls_.size());
    std::vector<ByteEdge> bytes = byte_edges();
    std::vector<CallEdge> calls = call_edges();
    Node& node = out_.nodes[id];
    node.bytes_begin = out_.bytes.size();
    out_.bytes.insert(out_.bytes.end(), bytes.begin(), bytes.end());
    node.bytes_end = out_.bytes.size();
    node.calls_begin = out_.calls.size();
    out_.calls.insert(out_.calls.end(), calls.begin(), calls.end());
    node.calls_end = out_.calls.size();
  }

  std::vector<ByteEdge> byte_edges() {
    bool cut[257] = {};
    for (const ByteEdge& e : edges_) cut[e.low] = cut[e.high + 1] = true;
    std::vector<ByteEdge> found;
    std::vector<int> targets;
    for (int low = 0; low < 256;) {
      int high = low;
      while (!cut[high + 1] && high < 255) ++high;
      targets.clear();
      uint8_t action = 0;
      for (const ByteEdge& e : edges_) {
        if (e.low > low || e.high < high) continue;
        WS_CHECK(targets.empty() || action == e.action, "one action for a byte");
        action = e.action;
        targets.push_back(e.target);
      }
      budget_.spend(edges_.size() / 4);
      if (!targets.empty()) add(found, low, high, action, targets);
      low = high + 1;
    }
    return found;
  }

  void add(std::vector<ByteEdge>& found, int low, int high, uint8_t action,
           std::vector<int>& targets) {
    std::sort(targets.begin(), targets.end());
    targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
    const int32_t target = intern(targets);
    if (!found.empty() && found.back().high + 1 == low && found.back().target == target &&
        found.back().action == action) {
      found.back().high = static_cast<uint8_t>(high);
    } else {
      found.push_back({static_cast<uint8_t>(low), static_cast<uint8_t>(high), action, target});
    }
  }

  std::vector<CallEdge> call_edges() {
    auto key = [](const CallEdge& c) { return std::tuple(c.rule, c.min, c.max); };
    std::vector<CallEdge> calls = calls_;
    std::sort(calls.begin(), calls.end(), [&](auto& a, auto& b) {
      return std::tuple(key(a), a.target) < std::tuple(key(b), b.target);
    });
    std::vector<CallEdge> found;
    for (size_t i = 0; i < calls.size();) {
      std::vector<int> targets;
      size_t j = i;
      for (; j < calls.size() && key(calls[j]) == key(calls[i]); ++j)
        if (targets.empty() || targets.back() != calls[j].target)
          targets.push_back(calls[j].target);
      found.push_back({calls[i].rule, calls[i].min, calls[i].max, intern(targets)});
      i = j;
    }
    return found;
  }

  const Draft& draft_;
  Automaton& out_;
  Budget& budget_;
  std::vector<uint32_t> marks_;
  uint32_t stamp_ = 0;
  std::unordered_map<std::vector<int>, int32_t, VectorHash> ids_;
  std::vector<std::pair<int32_t, const std::vector<int>*>> sets_;
  std::vector<ByteEdge> edges_;
  std::vector<CallEdge> calls_;
};

Builder::Builder(Budget& budget) : budget_(budget), automaton_(std::make_shared<Automaton>()) {}

int Builder::declare(std::string name) {
  budget_.spend(100);
  automaton_->rules.push_back({std::move(name), -1, 0, 0});
  return static_cast<int>(automaton_->rules.size()) - 1;
}

void Builder::define(int rule, const Draft& draft, uint32_t min, uint32_t max) {
  budget_.spend(draft.size());
  const int32_t start = Determiner(draft, *automaton_, budget_).run();
  Rule& r = automaton_->rules[rule];
  r.start = start;
  r.min = min;
  r.max = max;
}

}  // namespace wellspring::grammar
