#include <algorithm>

#include "base/error.h"
#include "text/grammar/grammar.h"
#include "text/grammar/mask.h"

namespace wellspring {

namespace grammar {

/// Frames after which unused ones are dropped.
constexpr size_t kManyFrames = 1024;

struct MatcherState {
  std::shared_ptr<const Automaton> automaton;
  std::shared_ptr<const Vocabulary> vocabulary;
  std::shared_ptr<MaskCache> cache;
  Stacks stacks;
  ConfigSet now;
  bool ended = false;
  size_t sweep_at = kManyFrames;
  /// What was before the last accepted tokens: sets one after another, and where each begins.
  std::vector<Config> past;
  struct Past {
    uint32_t begin;
    bool may_end, ended;
  };
  std::vector<Past> steps;

  void remember() {
    if (steps.size() >= 2 * GrammarMatcher::kMaxRollback) forget(GrammarMatcher::kMaxRollback);
    steps.push_back({static_cast<uint32_t>(past.size()), now.ended, ended});
    past.insert(past.end(), now.configs.begin(), now.configs.end());
  }
  void forget(size_t n) {
    const uint32_t cut = steps[n].begin;
    past.erase(past.begin(), past.begin() + cut);
    steps.erase(steps.begin(), steps.begin() + static_cast<ptrdiff_t>(n));
    for (Past& s : steps) s.begin -= cut;
  }
  void sweep() {
    if (stacks.size() < sweep_at) return;
    std::vector<int32_t*> roots;
    for (Config& c : past) roots.push_back(&c.frame);
    for (Config& c : now.configs) roots.push_back(&c.frame);
    stacks.keep_only(roots);
    std::sort(now.configs.begin(), now.configs.end());
    sweep_at = std::max(kManyFrames, stacks.size() * 4);
  }
};

}  // namespace grammar

using grammar::ConfigSet;
using grammar::MatcherState;

Grammar::Grammar(std::shared_ptr<const grammar::Automaton> automaton)
    : automaton_(std::move(automaton)) {}
const std::vector<std::string>& Grammar::notes() const { return automaton_->notes; }
size_t Grammar::nodes() const { return automaton_->nodes.size(); }
size_t Grammar::bytes() const { return automaton_->size_bytes(); }

GrammarMatcher::GrammarMatcher(const Grammar& grammar, const GrammarVocabulary& vocabulary)
    : state_(std::make_unique<MatcherState>()) {
  state_->automaton = grammar.automaton();
  state_->vocabulary = vocabulary.data();
  state_->cache = state_->automaton->cache_for(state_->vocabulary);
  state_->now = grammar::Runner(*state_->automaton, state_->stacks).start();
}
GrammarMatcher::GrammarMatcher(const GrammarMatcher& other)
    : state_(std::make_unique<MatcherState>(*other.state_)) {}
GrammarMatcher& GrammarMatcher::operator=(const GrammarMatcher& other) {
  if (this != &other) state_ = std::make_unique<MatcherState>(*other.state_);
  return *this;
}
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;
GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&&) noexcept = default;
GrammarMatcher::~GrammarMatcher() = default;

bool GrammarMatcher::mask(std::vector<uint64_t>& bits) const {
  const MatcherState& s = *state_;
  bits.assign((s.vocabulary->size + 63) / 64, 0);
  if (s.ended) return false;
  s.cache->fill(s.stacks, s.now, bits);
  if (s.now.ended)
    for (int32_t id : s.vocabulary->end_tokens) bits[id >> 6] |= uint64_t{1} << (id & 63);
  return std::any_of(bits.begin(), bits.end(), [](uint64_t w) { return w != 0; });
}

bool GrammarMatcher::accept(int32_t token) {
  MatcherState& s = *state_;
  if (s.ended || token < 0 || token >= s.vocabulary->size) return false;
  if (!s.vocabulary->is_end(token)) {
    const std::string_view bytes = s.vocabulary->bytes(token);
    return !bytes.empty() && accept_bytes(bytes);
  }
  if (!s.now.ended) return false;
  s.remember();
  s.ended = true;
  return true;
}

bool GrammarMatcher::accept_bytes(std::string_view bytes) {
  MatcherState& s = *state_;
  if (s.ended) return false;
  grammar::Runner runner(*s.automaton, s.stacks);
  ConfigSet from = s.now, to;
  for (unsigned char b : bytes) {
    runner.step(from, b, to);
    if (to.configs.empty() && !to.ended) return false;
    std::swap(from, to);
  }
  s.remember();
  s.now = std::move(from);
  s.sweep();
  return true;
}

bool GrammarMatcher::may_end() const { return !state_->ended && state_->now.ended; }
bool GrammarMatcher::ended() const { return state_->ended; }

void GrammarMatcher::rollback(int n) {
  MatcherState& s = *state_;
  if (n < 0 || static_cast<size_t>(n) > s.steps.size() || n > kMaxRollback)
    throw Error(Fault::usage, "rollback(" + std::to_string(n) + "): at most " +
                                  std::to_string(std::min<size_t>(kMaxRollback, s.steps.size())) +
                                  " tokens can be taken back");
  if (n == 0) return;
  const size_t keep = s.steps.size() - static_cast<size_t>(n);
  const MatcherState::Past step = s.steps[keep];
  const size_t end = keep + 1 < s.steps.size() ? s.steps[keep + 1].begin : s.past.size();
  s.now.configs.assign(s.past.begin() + step.begin, s.past.begin() + static_cast<ptrdiff_t>(end));
  std::sort(s.now.configs.begin(), s.now.configs.end());
  s.now.ended = step.may_end;
  s.ended = step.ended;
  s.past.resize(step.begin);
  s.steps.resize(keep);
}

std::string GrammarMatcher::forced(size_t limit) const {
  const MatcherState& s = *state_;
  std::string out;
  if (s.ended) return out;
  grammar::Stacks stacks = s.stacks;
  grammar::Runner runner(*s.automaton, stacks);
  ConfigSet from = s.now, to;
  while (out.size() < limit && !from.ended) {
    int only = -1;
    for (const auto& c : from.configs) {
      const auto& n = s.automaton->nodes[c.node];
      for (uint32_t i = n.bytes_begin; i < n.bytes_end; ++i) {
        const auto& e = s.automaton->bytes[i];
        if ((e.action & grammar::kGuard && c.need) || (e.action & grammar::kCount && !c.room))
          continue;
        if (e.low != e.high || (only >= 0 && only != e.low)) return out;
        only = e.low;
      }
    }
    if (only < 0) break;
    runner.step(from, static_cast<uint8_t>(only), to);
    if (to.configs.empty() && !to.ended) break;
    out += static_cast<char>(only);
    std::swap(from, to);
  }
  return out;
}

}  // namespace wellspring
