#include "serve/generation.h"

#include <algorithm>
#include <condition_variable>
#include <iterator>
#include <limits>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "serve/api.h"
#include "serve/constraint.h"
#include "serve/stop_filter.h"
#include "text/tokenizer.h"

namespace wellspring {

void Generation::News::add(News&& more) {
  const auto append = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  content += more.content;
  for (ToolCallDelta& d : more.calls) {
    if (!calls.empty() && calls.back().index == d.index)
      calls.back().arguments += d.arguments;
    else
      calls.push_back(std::move(d));
  }
  append(logprobs, more.logprobs), append(prompt_logprobs, more.prompt_logprobs);
}

// Between the engine's thread and the connection's, for all answers.
class Generation::Mailbox {
 public:
  explicit Mailbox(size_t answers) : news_(answers), results_(answers) {}

  void begin(int64_t answers) {
    std::lock_guard lock(mutex_);
    running_ += answers;
  }
  int64_t running() {
    std::lock_guard lock(mutex_);
    return running_;
  }
  // Log-probabilities alone wait for their text.
  void put(size_t answer, News news) {
    std::lock_guard lock(mutex_);
    if (!news.content.empty() || !news.calls.empty()) any_ = true, changed_.notify_one();
    news_[answer].add(std::move(news));
  }
  void end(size_t answer, const GenerateResult& result, std::exception_ptr error) {
    std::lock_guard lock(mutex_);
    results_[answer] = result;
    if (error && !error_) error_ = error;
    --running_, any_ = true;
    changed_.notify_one();
  }
  // Waits a moment for more; false when there will be no more. `ended`: which of the answers have.
  bool take(std::vector<News>& news, std::vector<bool>& ended) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return running_ == 0 || any_ || error_; });
    any_ = false;
    news.assign(news_.size(), {});
    std::swap(news, news_);
    for (size_t i = 0; i < results_.size(); ++i) ended[i] = results_[i].has_value();
    return running_ != 0;
  }
  void check() {
    std::lock_guard lock(mutex_);
    if (error_) std::rethrow_exception(error_);
  }
  const GenerateResult& result(size_t answer) const { return *results_[answer]; }  // once it has ended

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<News> news_;
  std::vector<std::optional<GenerateResult>> results_;
  std::exception_ptr error_;
  int64_t running_ = 0;
  bool any_ = false;
};

// Most of it belongs to the engine's thread while that runs.
struct Generation::Answer {
  Answer(const Tokenizer& tokenizer, bool show_special, std::vector<std::string> stops, size_t shown_stops, int64_t min_tokens)
      : stream(tokenizer, !show_special, true), filter(std::move(stops), shown_stops), least(min_tokens) {}
  // What is shown of more text: calls are taken out, and stop texts looked for in what is left, but not before so many
  // tokens.
  News read(const std::string& text, bool last) {
    News n;
    std::string shown;
    if (tools) {
      tools->push(text, shown, n.calls);
      if (last) tools->finish(shown);
    } else {
      shown = text;
    }
    n.content = tokens <= least ? shown : filter.push(shown);
    if (filter.stopped()) n.calls.clear();
    if (last || !n.calls.empty()) n.content += filter.finish();  // nothing is shown behind calls
    return n;
  }

  StreamDecoder stream;
  std::optional<ToolCallReader> tools;
  StopFilter filter;
  const int64_t least;
  int64_t tokens = 0;  // that have come
  // The connection's thread:
  int64_t ticket = 0;
  double log_probability = 0;  // of all tokens
  bool told = false;           // its end
};

Generation::Generation(const ServedModel& model, ApiRequest request) : model_(model), api_(std::move(request)) {
  const size_t n = (api_.chat ? 1 : api_.prompts.size()) * answers_per_prompt();
  mailbox_ = std::make_unique<Mailbox>(n);
  std::vector<std::string> stops = api_.stops;
  if (api_.chat) stops.insert(stops.end(), model_.text->chat_stops().begin(), model_.text->chat_stops().end());
  for (size_t i = 0; i < n; ++i) {
    answers_.push_back(std::make_unique<Answer>(model_.text->tokenizer(), calls_tools(), stops, api_.show_stop ? api_.stops.size() : 0,
                                                api_.generate.min_tokens));
    if (calls_tools()) answers_.back()->tools.emplace(model_.text->tool_format(), begun());
  }
  try {
    constraint_ = constraints();
    if (!api_.ignore_eos)
      for (const int32_t t : model_.text->stop_tokens()) api_.generate.stop_tokens.push_back(t);
    api_.generate.vocab = model_.text->vocab();
    api_.generate.adapter = model_.adapter;
    submit_more();
  } catch (...) {
    cancel();
    throw;
  }
}

Generation::~Generation() { cancel(); }

// The engine writes into this object: it must have ended before it goes.
void Generation::cancel() {
  for (const auto& a : answers_)
    if (a->ticket) model_.engine->cancel(a->ticket);
  std::vector<News> dropped;
  std::vector<bool> ended(answers_.size());
  while (mailbox_->take(dropped, ended)) {
  }
}

std::vector<int32_t> prompt_tokens(const ModelText& text, const ApiRequest& r, size_t i) {
  if (r.chat) return text.chat(*r.context, r.begun() ? text.tool_format().begin : "");
  const ApiRequest::Prompt& p = r.prompts[i];
  return p.ids.empty() ? text.prompt(p.text, r.add_special) : p.ids;
}

std::function<std::shared_ptr<TokenConstraint>()> Generation::constraints() const {
  const ModelText& text = *model_.text;
  if (api_.grammar)
    return [&text, g = text.grammar(*api_.grammar)] { return constrain(g, text); };
  if (!api_.allowed.empty())
    return [ids = api_.allowed, vocab = text.vocab()] { return constrain_to(ids, vocab); };
  if (!calls_tools()) return [] { return nullptr; };
  const ToolFormat& f = text.tool_format();
  const std::string trigger(f.trigger());
  GrammarText g{GrammarText::Kind::json_schema, "", {}, "tools"};
  g.text = tool_call_schema(f, *api_.tools, g.json);
  g.json.after = f.end;
  if (api_.parallel_tool_calls && f.several) g.json.between = f.between;
  if (begun()) return [&text, g = text.grammar(g)] { return constrain(g, text); };
  g.json.before = f.begin.substr(f.begin.find(trigger) + trigger.size());
  return [&text, trigger, g = text.grammar(g)] { return constrain_after(trigger, g, text); };
}

// All answers to a prompt together; not all prompts at once, so that others come between.
void Generation::submit_more() {
  constexpr int64_t kAtOnce = 32;
  while (submitted_ < answers_.size() && (submitted_ == 0 || mailbox_->running() < kAtOnce)) {
    const size_t first = submitted_;
    submitted_ += answers_per_prompt();
    api_.generate.prompt = prompt_tokens(*model_.text, api_, first / answers_per_prompt());
    if (api_.generate.beams) {
      submit_beams(first);
      continue;
    }
    for (size_t k = 0; k < answers_per_prompt(); ++k) submit_one(first + k, static_cast<int64_t>(k), constraint_());
  }
}

void Generation::submit_one(size_t i, int64_t k, std::shared_ptr<TokenConstraint> constraint) {
  Answer& a = *answers_[i];
  GenerateRequest g = api_.generate;
  if (api_.best_of > api_.n) g.top_logprobs = std::max<int64_t>(g.top_logprobs, 0);
  if (k) g.sampling.seed = Random(g.sampling.seed, static_cast<uint64_t>(k)).next_u64();  // the first: as alone
  g.constraint = std::move(constraint);
  g.part_of = answers_[0]->ticket;
  g.on_token = [this, i, &a](int32_t token) {
    ++a.tokens;
    mailbox_->put(i, a.read(a.stream.push(token), false));
    return !a.filter.stopped();
  };
  g.on_logprobs = [this, i](const std::vector<TokenProbability>& p) { mailbox_->put(i, {.logprobs = {p}}); };
  g.on_prompt_logprobs = [this, i](const std::vector<TokenProbability>& p) { mailbox_->put(i, {.prompt_logprobs = {p}}); };
  if (g.prompt_logprobs) g.on_prompt_logprobs({{g.prompt[0], std::numeric_limits<float>::quiet_NaN()}});
  mailbox_->begin(1);
  try {
    a.ticket = model_.engine->submit(std::move(g), [this, i, &a](const GenerateResult& r, std::exception_ptr e) {
      if (!e && !a.filter.stopped()) mailbox_->put(i, a.read(a.stream.finish(), true));
      mailbox_->end(i, r, e);
    });
  } catch (...) {
    mailbox_->end(i, {}, nullptr);
    throw;
  }
}

// One request of the engine for all answers to a prompt, which come at the end.
void Generation::submit_beams(size_t first) {
  GenerateRequest g = api_.generate;
  g.part_of = answers_[0]->ticket;
  const size_t n = answers_per_prompt();
  auto found = std::make_shared<std::vector<Beam>>();
  g.on_beams = [found](const std::vector<Beam>& beams) { *found = beams; };
  mailbox_->begin(static_cast<int64_t>(n));
  const auto end_all = [this, first, n](const GenerateResult& r, const std::vector<Beam>& beams, const std::exception_ptr& e) {
    for (size_t k = 0; k < n; ++k) {
      GenerateResult one = r;
      if (k < beams.size()) {
        Answer& a = *answers_[first + k];
        std::string text;
        for (const int32_t t : beams[k].tokens) text += a.stream.push(t);
        mailbox_->put(first + k, {.content = text + a.stream.finish()});
        one.tokens = static_cast<int64_t>(beams[k].tokens.size());
        one.finish = beams[k].ended ? GenerateResult::Finish::stop : GenerateResult::Finish::length;
      }
      mailbox_->end(first + k, one, e);
    }
  };
  try {
    answers_[first]->ticket = model_.engine->submit(
        std::move(g), [end_all, found](const GenerateResult& r, std::exception_ptr e) { end_all(r, *found, e); });
  } catch (...) {
    end_all({}, {}, nullptr);
    throw;
  }
}

bool Generation::take(std::vector<News>& news) {
  std::vector<bool> ended(answers_.size());
  bool more = mailbox_->take(news, ended);
  if (model_.check) model_.check();
  if (submitted_ < answers_.size()) submit_more(), more = true;
  for (size_t i = 0; i < answers_.size(); ++i) {
    Answer& a = *answers_[i];
    news[i].ended = ended[i] && !a.told;
    a.told |= ended[i];
    for (const auto& p : news[i].logprobs) a.log_probability += p[0].log_probability;
  }
  return more;
}

void Generation::check() const { mailbox_->check(); }

const GenerateResult& Generation::result(size_t answer) const { return mailbox_->result(answer); }

const char* Generation::finish_reason(size_t answer) const {
  if (result(answer).finish == GenerateResult::Finish::length) return "length";
  const Answer& a = *answers_[answer];
  return a.tools && a.tools->calls() ? "tool_calls" : "stop";
}

double Generation::mean_log_probability(size_t answer) const {
  return answers_[answer]->log_probability / static_cast<double>(std::max<int64_t>(1, result(answer).tokens));
}

Generation::Usage Generation::usage() const {
  Usage u;
  for (size_t i = 0; i < answers_.size(); ++i) {
    const GenerateResult& r = result(i);
    u.made += r.tokens;
    if (i % answers_per_prompt() == 0) u.prompt += r.prompt_tokens, u.cached += r.cached_tokens;
  }
  return u;
}

}  // namespace wellspring
