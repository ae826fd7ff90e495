#include "serve/constraint.h"

#include "base/error.h"
#include "serve/model_text.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

class GrammarConstraint : public TokenConstraint {
 public:
  GrammarConstraint(const Grammar& grammar, const ModelText& text) : matcher_(grammar, text.grammar_vocabulary()) {}

  bool mask(std::vector<uint64_t>& allowed) override {
    complete_ = !matcher_.mask(allowed);
    if (complete_ && !matcher_.may_end())
      throw Error(Fault::data, "no token of the model spells what the grammar asks for next");
    return true;
  }
  bool accept(int32_t token) override { return matcher_.accept(token); }
  std::unique_ptr<TokenConstraint> copy() const override { return std::make_unique<GrammarConstraint>(*this); }
  bool ended() const override { return complete_ || matcher_.ended(); }

 private:
  friend class TriggeredConstraint;
  GrammarMatcher matcher_;
  bool complete_ = false;  // and the model has no end token to say so
};

class TriggeredConstraint : public TokenConstraint {
 public:
  TriggeredConstraint(std::string trigger, const Grammar& grammar, const ModelText& text)
      : trigger_(std::move(trigger)), inner_(grammar, text), stream_(text.tokenizer(), false) {}

  bool mask(std::vector<uint64_t>& allowed) override { return state_ == State::bound && inner_.mask(allowed); }

  bool accept(int32_t token) override {
    if (state_ == State::bound) return inner_.accept(token);
    if (state_ == State::free) return true;
    seen_ += stream_.push(token);
    size_t at = 0;
    if (trigger_.empty()) {
      at = seen_.find_first_not_of(" \n\t");
      if (at == seen_.npos) return true;
      state_ = seen_[at] == '{' ? State::bound : State::free;
    } else {
      at = seen_.find(trigger_);
      if (at == seen_.npos) {
        if (seen_.size() > trigger_.size()) seen_.erase(0, seen_.size() - trigger_.size());
        return true;
      }
      at += trigger_.size();
      state_ = State::bound;
    }
    // One token may hold the trigger and more, which the grammar did not see. Unless that begins a call already, the
    // grammar begins behind it.
    const std::string_view rest = std::string_view(seen_).substr(at);
    if (state_ == State::bound && !inner_.matcher_.accept_bytes(rest) && rest.find('{') != rest.npos) state_ = State::free;
    return true;
  }
  std::unique_ptr<TokenConstraint> copy() const override { return std::make_unique<TriggeredConstraint>(*this); }
  bool ended() const override { return state_ == State::bound && inner_.ended(); }

 private:
  enum class State { watching, bound, free };
  const std::string trigger_;
  GrammarConstraint inner_;
  StreamDecoder stream_;
  std::string seen_;
  State state_ = State::watching;
};

class ListConstraint : public TokenConstraint {
 public:
  ListConstraint(const std::vector<int32_t>& tokens, int64_t vocab) : bits_(static_cast<size_t>(vocab + 63) / 64) {
    for (const int32_t t : tokens) bits_[static_cast<size_t>(t) / 64] |= uint64_t{1} << (t % 64);
  }
  bool mask(std::vector<uint64_t>& allowed) override { return allowed = bits_, true; }
  bool accept(int32_t token) override {
    const auto word = static_cast<size_t>(token) / 64;
    return word < bits_.size() && bits_[word] >> (token % 64) & 1;
  }
  std::unique_ptr<TokenConstraint> copy() const override { return std::make_unique<ListConstraint>(*this); }
  bool ended() const override { return false; }

 private:
  std::vector<uint64_t> bits_;
};

}  // namespace

std::unique_ptr<TokenConstraint> constrain_to(const std::vector<int32_t>& tokens, int64_t vocab) {
  return std::make_unique<ListConstraint>(tokens, vocab);
}

std::unique_ptr<TokenConstraint> constrain(const Grammar& grammar, const ModelText& text) {
  return std::make_unique<GrammarConstraint>(grammar, text);
}

std::unique_ptr<TokenConstraint> constrain_after(std::string trigger, const Grammar& grammar, const ModelText& text) {
  return std::make_unique<TriggeredConstraint>(std::move(trigger), grammar, text);
}

}  // namespace wellspring
