#pragma once
// Builds an Automaton: each rule is drawn as a nondeterministic automaton, then made deterministic.
// Internal to this folder. Not thread-safe.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"

namespace wellspring::grammar {

/// Bounds the work and memory of compiling one grammar.
class Budget {
 public:
  /// Error(Fault::data) when the whole work has become too much (about a second).
  void spend(uint64_t steps);

 private:
  uint64_t left_ = 40'000'000;
};

struct VectorHash {
  size_t operator()(const std::vector<int>& v) const {
    uint64_t h = v.size();
    for (int x : v) h = (h ^ static_cast<uint32_t>(x)) * 0x9E3779B97F4A7C15u, h ^= h >> 29;
    return h;
  }
};

/// One rule in the making. Node 0 is its start, node 1 its end.
class Draft {
 public:
  Draft() : nodes_(2) {}
  static constexpr int kStart = 0, kEnd = 1;
  int node();
  void epsilon(int from, int to) { nodes_[from].epsilon.push_back(to); }
  void bytes(int from, int low, int high, int to, uint8_t action = 0) {
    nodes_[from].bytes.push_back(
        {static_cast<uint8_t>(low), static_cast<uint8_t>(high), action, to});
  }
  /// min 0 is an epsilon beside; max may be kUnbounded.
  void call(int from, int rule, int to, uint32_t min = 1, uint32_t max = 1);
  /// The bytes of a text, from `from` to a new node, or to `to`.
  int literal(int from, std::string_view text);
  void literal(int from, std::string_view text, int to) { epsilon(literal(from, text), to); }
  size_t size() const { return nodes_.size(); }

 private:
  friend class Determiner;
  struct DraftNode {
    std::vector<ByteEdge> bytes;
    std::vector<CallEdge> calls;
    std::vector<int> epsilon;
  };
  std::vector<DraftNode> nodes_;
};

class Builder {
 public:
  explicit Builder(Budget& budget);
  Builder(const Builder&) = delete;
  /// A rule that will be defined; its name stands in errors.
  int declare(std::string name);
  /// min, max: what the rule's counter begins with.
  void define(int rule, const Draft& draft, uint32_t min = 0, uint32_t max = 0);
  void note(std::string text) { automaton_->notes.push_back(std::move(text)); }
  Budget& budget() { return budget_; }
  /// Checks and trims. Error(Fault::data) with `where` before it for left recursion, a language
  /// that is empty, and what must nest too deeply.
  std::shared_ptr<const Automaton> finish(int root, const std::string& where);

 private:
  Budget& budget_;
  std::shared_ptr<Automaton> automaton_;
};

}  // namespace wellspring::grammar
