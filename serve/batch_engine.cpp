#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <future>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/threads.h"
#include "base/time.h"
#include "models/decoder/model.h"
#include "nn/sampler.h"
#include "serve/engine.h"
#include "serve/sequence.h"

namespace wellspring {

GenerateResult Engine::generate(GenerateRequest request) {
  std::promise<GenerateResult> promise;
  std::future<GenerateResult> future = promise.get_future();
  submit(std::move(request), [&](const GenerateResult& result, std::exception_ptr error) {
    if (error)
      promise.set_exception(error);
    else
      promise.set_value(result);
  });
  return future.get();
}

namespace {

constexpr int64_t kPage = PagePool::kPage;
// Guesses share a pass: beyond so many rows the pass takes longer than they save.
constexpr int64_t kGuessedRows = 16;
// Rows of a pass that score prompts: each takes memory for the whole vocabulary.
constexpr int64_t kScoredRows = 32;

// Whether nothing but these may come: a grammar that is at its end.
bool only(const std::vector<uint64_t>& allowed, const std::vector<int32_t>& tokens) {
  std::vector<uint64_t> rest = allowed;
  for (const int32_t t : tokens)
    if (t >= 0 && static_cast<size_t>(t) / 64 < rest.size()) rest[static_cast<size_t>(t) / 64] &= ~(uint64_t{1} << (t % 64));
  return std::all_of(rest.begin(), rest.end(), [](uint64_t w) { return w == 0; });
}

class BatchEngine : public Engine {
 public:
  BatchEngine(std::shared_ptr<const Decoder> model, const EngineOptions& o)
      : model_(std::move(model)), options_(o), pool_(model_->config(), count_pages(), dtype(*model_)),
        drafts_(o.draft ? std::make_unique<DraftModel>(o.draft, pool_.cache().pages(), o.rows, dtype(*o.draft)) : nullptr),
        thread_([this] { run(); }) {}

  ~BatchEngine() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
      for (auto& t : all_) t->cancelled = true;
    }
    ready_.notify_all();
    thread_.join();
  }

  int64_t submit(GenerateRequest request, OnEnd on_end) override {
    check(request);
    auto t = std::make_shared<Task>();
    t->request = std::move(request), t->on_end = std::move(on_end);
    t->share = str(t->request.owner, "\n", reinterpret_cast<uintptr_t>(t->request.adapter.get()));
    t->result.prompt_tokens = static_cast<int64_t>(t->request.prompt.size());
    t->submitted = monotonic_seconds();
    if (t->request.beams) t->search.emplace(t->request.beams, t->request.length_penalty, t->request.stop_tokens);
    auto s = std::make_shared<Sequence>();
    s->task = t, s->tokens = t->request.prompt;
    std::lock_guard lock(mutex_);
    if (closing_) throw Error(Fault::try_again, "the engine is shutting down");
    if (!t->request.part_of) take_in();
    t->ticket = ++tickets_;
    t->whole = t->request.part_of ? t->request.part_of : t->ticket;
    ++wholes_[t->whole].parts;
    waiting_.push_back(s);
    all_.insert(t);
    ready_.notify_one();
    return t->ticket;
  }

  void cancel(int64_t ticket) override {
    std::lock_guard lock(mutex_);
    for (auto& t : all_)
      if (t->ticket == ticket) t->cancelled = true;
    ready_.notify_one();
  }

  int64_t load() const override {
    std::lock_guard lock(mutex_);
    return static_cast<int64_t>(wholes_.size());
  }

  EngineFigures figures() const override {
    std::lock_guard lock(mutex_);
    EngineFigures f = figures_;
    f.waiting = waiting_requests(), f.running = static_cast<int64_t>(wholes_.size()) - f.waiting;
    return f;
  }

 private:
  using Ptr = std::shared_ptr<Sequence>;

  // A client's request: its parts that are here, and whether one of them ran at the last pass.
  struct Whole {
    int64_t parts = 0;
    bool runs = false;
  };

  // With the mutex: those of which nothing runs.
  int64_t waiting_requests() const {
    return std::count_if(wholes_.begin(), wholes_.end(), [](const auto& w) { return !w.second.runs; });
  }

  // With the mutex: one more request, when it finds a place or may wait for one.
  void take_in() {
    const int64_t wait = waiting_requests() - places_;
    if (wait >= options_.waiting) {
      ++figures_.refused;
      throw Error(Fault::try_again, str(wait, " requests wait already: try again later"));
    }
    ++figures_.requests;
  }

  void note_running() {
    const int64_t places = std::max<int64_t>(0, options_.sequences - moving());
    std::lock_guard lock(mutex_);
    for (auto& [ticket, w] : wholes_) w.runs = false;
    for (const Ptr& s : running_) wholes_[s->task->whole].runs = true;
    places_ = places;
  }

  DType dtype(const Decoder& model) const { return options_.cache.value_or(model.dtype()); }

  // Of the model, and as many of the one that guesses.
  int64_t count_pages() const {
    const DecoderConfig& c = model_->config();
    const int64_t page = PagePool::page_bytes(c, dtype(*model_)) +
                         (options_.draft ? PagePool::page_bytes(options_.draft->config(), dtype(*options_.draft)) : 0);
    const int64_t whole = PagePool::pages_for(c.context);
    int64_t bytes = options_.cache_bytes;
    if (!bytes)
      bytes = std::min<int64_t>(::sysconf(_SC_PHYS_PAGES) / 4 * ::sysconf(_SC_PAGE_SIZE), 64 * whole * page);
    const int64_t pages = std::min(bytes / page, options_.sequences * whole);
    if (pages < whole)
      throw Error(Fault::config, str("a cache of ", bytes >> 20, " MB does not hold one context of ", c.context, " tokens, which takes ",
                                     (whole * page + (1 << 20) - 1) >> 20, " MB"));
    return pages;
  }

  void check(const GenerateRequest& r) const {
    const DecoderConfig& c = model_->config();
    const auto n = static_cast<int64_t>(r.prompt.size());
    const bool embed = r.pooling != Pooling::none;
    if (!n) throw PromptError(Fault::usage, "the prompt is empty");
    if (n >= c.context + (embed || r.max_tokens == 0))
      throw PromptError(Fault::usage, str("the prompt has ", n, " tokens, but the model's context of ", c.context,
                                          embed ? " must hold it" : " must hold prompt and answer"), true);
    if (r.max_tokens < !r.prompt_logprobs)
      throw Error(Fault::usage, str("max_tokens is ", r.max_tokens, "; expected at least ", int{!r.prompt_logprobs}));
    const int64_t vocab = r.prompt_logprobs && r.vocab > 0 ? std::min(r.vocab, c.vocab) : c.vocab;
    for (int32_t t : r.prompt)
      if (t < 0 || t >= vocab)
        throw PromptError(Fault::usage, str("token ", t, " is not in the vocabulary of ", vocab));
    if (r.beams < 0 || r.beams > options_.sequences)
      throw Error(Fault::usage, str("beams is ", r.beams, "; expected at most ", options_.sequences, ", as many as run together"));
    r.sampling.check();
  }

  void run() {
    claim_team();
    while (true) {
      note_running();
      {
        std::unique_lock lock(mutex_);
        count_free();
        ready_.wait(lock, [&] { return closing_ || !waiting_.empty() || !running_.empty(); });
        if (closing_ && waiting_.empty() && running_.empty()) return;
      }
      drop_cancelled();
      try {
        admit();
        note_running();
        pass();
      } catch (...) {  // a fault of the pass is one of all that took part
        const std::exception_ptr error = std::current_exception();
        while (!running_.empty()) end(running_.back()->task, error);
      }
    }
  }

  void count_free() {
    figures_.pages = pool_.cache().pages(), figures_.free_pages = pool_.cache().free_pages(), figures_.kept_pages = pool_.kept();
  }

  void drop_cancelled() {
    std::set<std::shared_ptr<Task>> gone;
    {
      std::lock_guard lock(mutex_);
      for (const Ptr& s : waiting_)
        if (s->task->cancelled) gone.insert(s->task);
    }
    for (const Ptr& s : running_)
      if (s->task->cancelled) gone.insert(s->task);
    for (const auto& t : gone) t->result.finish = GenerateResult::Finish::cancelled, end(t, nullptr);
  }

  void give_back(Sequence& s) {
    pool_.give_back(s.held);
    if (drafts_) drafts_->forget(s.drafted, s.task->share);
  }

  // Waiting ones in the order in which they begin: as they came, but of one request no more than of another, so that
  // one with many parts delays nobody.
  std::vector<Ptr> in_turn() {
    std::map<int64_t, int64_t> before;  // parts of a request that run, or come first
    for (const Ptr& s : running_) before[s->task->whole] += !s->stands();
    std::vector<std::pair<int64_t, Ptr>> order;
    {
      std::lock_guard lock(mutex_);
      for (const Ptr& s : waiting_) order.emplace_back(before[s->task->whole]++, s);
    }
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<Ptr> out;
    for (auto& [turn, s] : order) out.push_back(std::move(s));
    return out;
  }

  // As long as the pages of their prompts can be had.
  void admit() {
    if (moving() >= options_.sequences) return;
    for (const Ptr& s : in_turn()) {
      if (moving() >= options_.sequences) return;
      if (begins_like_a_running_one(*s)) continue;
      begin_with_known(*s);
      const int64_t need = PagePool::pages_for(static_cast<int64_t>(s->tokens.size()) + 1) - static_cast<int64_t>(s->held.pages.size());
      bool room = pool_.have_free(need);
      while (!room && strip_standing()) room = pool_.have_free(need);
      if (!room && moving()) return give_back(*s);
      s->admitted = true;
      running_.push_back(s);
      std::lock_guard lock(mutex_);
      std::erase(waiting_, s);
    }
  }

  // Whether what is being computed for another will be of use soon: several answers to one prompt, a crowd with one
  // system message.
  bool begins_like_a_running_one(const Sequence& s) {
    if (s.request().pooling == Pooling::mean || s.scores()) return false;
    int64_t common = 0;
    for (const Ptr& r : running_) {
      if (r->task->share != s.task->share || r->wanted() <= 1 || r->stands()) continue;
      const auto ends = std::mismatch(r->tokens.begin(), r->tokens.end(), s.tokens.begin(), s.tokens.end() - 1);
      common = std::max<int64_t>(common, ends.first - r->tokens.begin());
    }
    return common >= kPage && common >= kPage + pool_.known(s.task->share, std::span(s.tokens).first(s.tokens.size() - 1));
  }

  // The last token is always computed: its logits are wanted. A mean needs every token's activations, scores the logits
  // behind every one.
  void begin_with_known(Sequence& s) {
    if (s.request().pooling == Pooling::mean) {
      s.sum.clear();
      return;
    }
    const size_t known = s.scores() ? static_cast<size_t>(s.scored) : s.tokens.size() - 1;
    pool_.begin(s.task->share, std::span(s.tokens).first(known), s.held);
    if (!s.admitted && !s.task->search) s.task->result.cached_tokens = std::min(s.held.tokens, s.prompt());
  }

  // Pages for the next `rows` tokens. Takes them from the youngest others that run, when there are none; false: this
  // one has to wait itself.
  bool reserve(const Ptr& s, int64_t rows) {
    while (!pool_.reserve(s->held, s->held.tokens + rows)) {
      if (strip_standing()) continue;
      const Ptr last = *std::find_if(running_.rbegin(), running_.rend(), [](const Ptr& r) { return !r->stands(); });
      preempt(last);
      if (last == s) return false;
    }
    return true;
  }

  int64_t moving() const {
    return std::count_if(running_.begin(), running_.end(), [](const Ptr& s) { return !s->stands(); });
  }

  // The pages of a beam that stands still, lest searches wait for each other's; what goes on from it finds what is kept.
  bool strip_standing() {
    const auto it = std::find_if(running_.rbegin(), running_.rend(), [](const Ptr& s) { return s->stands() && !s->held.pages.empty(); });
    if (it == running_.rend()) return false;
    keep(**it);
    give_back(**it);
    return true;
  }

  void preempt(const Ptr& s) {
    keep(*s);
    give_back(*s);
    std::erase(running_, s);
    std::lock_guard lock(mutex_);
    waiting_.push_front(s);
    ++figures_.preemptions;
  }

  void keep(const Sequence& s) { pool_.keep(s.task->share, s.tokens, s.held); }

  bool runs(const Ptr& s) const { return std::find(running_.begin(), running_.end(), s) != running_.end(); }

  // How many tokens to guess: fewer when guesses were wrong, now and then one to see.
  int64_t worth_guessing(const Sequence& s, int64_t each) const {
    const GenerateRequest& r = s.request();
    if (s.wanted() != 1 || r.beams || r.pooling != Pooling::none || !s.sampler) return 0;
    const double most = static_cast<double>(std::min(options_.draft_tokens, each));
    int64_t n = static_cast<int64_t>(most * std::min(1.0, 2 * s.hits) + 0.5);
    if (n == 0 && s.tokens.size() % 16 == 0) n = 1;
    const auto length = static_cast<int64_t>(s.tokens.size());
    return std::min({n, r.max_tokens - s.task->result.tokens - 1, model_->config().context - length - 1});
  }

  void guess() {
    if (!options_.look_up && !drafts_) return;
    int64_t decoding = 0;
    for (const Ptr& s : running_) s->guess.clear(), decoding += s->wanted() == 1;
    const int64_t each = decoding ? kGuessedRows / decoding - 1 : 0;
    std::vector<DraftModel::Wish> wishes;
    for (const Ptr& s : running_) {
      const int64_t n = worth_guessing(*s, each);
      if (n < 1) continue;
      if (options_.look_up) s->guess = look_up(s->tokens, n);
      if (s->guess.empty() && drafts_)
        wishes.push_back({s->drafted, s->task->share, s->tokens, n, *s->sampler, vocab(*s, model_->config().vocab), s->guess});
    }
    try {
      if (!wishes.empty()) drafts_->guess(wishes);
    } catch (const std::exception& e) {  // answers go on without it
      log_warning("serve", "the model that guesses is left out from now on: ", e.what());
      for (const Ptr& s : running_) s->guess.clear(), s->drafted = {};
      drafts_ = nullptr;
    }
    for (const Ptr& s : running_) cut_by_grammar(*s);
  }

  // What a grammar will not let pass need not be computed.
  static void cut_by_grammar(Sequence& s) {
    if (s.guess.empty() || !s.request().constraint) return;
    const std::unique_ptr<TokenConstraint> c = s.request().constraint->copy();
    size_t n = 0;
    while (n < s.guess.size() && c->accept(s.guess[n])) ++n;
    s.guess.resize(n);
  }

  // Those that go on first, a token each and what was guessed; then prompts in their order, cut to what is left.
  std::vector<std::pair<Ptr, int64_t>> plan() {
    std::vector<std::pair<Ptr, int64_t>> rows;
    int64_t room = options_.rows, scored = kScoredRows;
    for (const bool prompts : {false, true})
      for (const Ptr& s : std::vector<Ptr>(running_)) {
        if ((s->wanted() > 1) != prompts || room == 0 || s->stands()) continue;
        if (!runs(s)) continue;  // preempted meanwhile
        int64_t n = std::min(s->wanted() + static_cast<int64_t>(s->guess.size()), room);
        if (prompts) n = std::min(s->wanted(), room);
        if (s->scores()) n = std::min(n, scored);
        if (n == 0 || !reserve(s, n)) continue;
        rows.emplace_back(s, n), room -= n;
        if (s->scores()) scored -= n;
      }
    std::erase_if(rows, [&](const auto& r) { return !runs(r.first); });
    return rows;
  }

  void pass() {
    guess();
    const auto rows = plan();
    if (rows.empty()) return;
    BatchBuilder batch;
    struct Asked {
      Ptr s;
      int64_t rows, scores;  // of logits; so many before them, of the prompt
    };
    std::vector<Asked> asked;
    std::vector<Ptr> pooled;  // one for each row of activations
    for (const auto& [s, n] : rows) {
      std::vector<int32_t> tokens(s->tokens.begin() + s->held.tokens, s->tokens.end());
      tokens.insert(tokens.end(), s->guess.begin(), s->guess.end());
      tokens.resize(static_cast<size_t>(n));
      const auto first = batch.add(s->held, tokens, s->request().adapter.get()), last = first + static_cast<int32_t>(n) - 1;
      const bool all = n >= s->wanted();
      if (s->request().pooling != Pooling::none) {
        const int32_t from = s->request().pooling == Pooling::mean ? first : all ? last : last + 1;
        for (int32_t r = from; r <= last; ++r) batch.want_hidden(r), pooled.push_back(s);
      } else {
        const int64_t wanted = all ? n - s->wanted() + 1 : 0;
        const int64_t from = std::max(s->held.tokens, s->scored), to = std::min(s->held.tokens + n, s->prompt() - 1);
        const int64_t scores = s->scores() ? std::max<int64_t>(0, to - from) : 0;
        for (int32_t r = last - static_cast<int32_t>(wanted + scores) + 1; r <= last; ++r) batch.want(r);
        if (wanted + scores) asked.push_back({s, wanted, scores});
      }
    }
    Tensor hidden;
    const Tensor logits = model_->step(batch.finish(), pool_.cache(), &hidden);
    {
      std::lock_guard lock(mutex_);
      ++figures_.passes;
    }
    for (const auto& [s, n] : rows) s->held.tokens += std::min(n, s->wanted());
    float* row = logits.defined() ? logits.data_as<float>() : nullptr;
    for (const Asked& a : asked) {
      const int64_t width = logits.size(1);
      const auto n = static_cast<size_t>(vocab(*a.s, width));
      float* next = row + a.scores * width;
      try {
        for (; row < next; row += width) score_next(*a.s, {row, n});
        if (a.s->task->search)
          next_beams(a.s, {next, n});
        else if (a.rows)
          next_tokens(a.s, next, a.rows, width);
      } catch (...) {
        end(a.s->task, std::current_exception());
      }
      row = next + a.rows * width;
    }
    pool_activations(pooled, hidden);
  }

  int64_t vocab(const Sequence& s, int64_t width) const {
    return s.request().vocab > 0 ? std::min(s.request().vocab, width) : width;
  }

  // From the logits behind a token of the prompt: of the one that follows it there.
  void score_next(Sequence& s, std::span<const float> logits) const {
    const GenerateRequest& r = s.request();
    const int32_t next = r.prompt[static_cast<size_t>(++s.scored)];
    if (r.on_prompt_logprobs) r.on_prompt_logprobs(log_probabilities(logits, next, r.top_logprobs));
  }

  // From the logits behind the last token and behind each guess: what is drawn, as long as the guesses were right.
  void next_tokens(const Ptr& s, float* row, int64_t rows, int64_t width) {
    const std::vector<int32_t> guess = std::move(s->guess);
    s->guess.clear();
    int64_t right = 0;
    bool going = true;
    for (int64_t i = 0; i < rows && going; ++i, row += width) {
      const std::optional<int32_t> token = next_token(s, row, width);
      going = token && i + 1 < rows && guess[static_cast<size_t>(i)] == *token;
      if (going) ++s->held.tokens, ++right;
    }
    if (rows < 2) return;
    s->hits = 0.8 * s->hits + 0.2 * static_cast<double>(right) / static_cast<double>(rows - 1);
    std::lock_guard lock(mutex_);
    figures_.guessed += rows - 1, figures_.guessed_right += right;
  }

  void first_token(const Ptr& s, double now) {
    Task& t = *s->task;
    t.first = now, t.result.prompt_seconds = now - t.submitted;
    keep(*s);  // for those that begin alike
  }

  // None: the request has ended.
  std::optional<int32_t> next_token(const Ptr& s, float* logits, int64_t width) {
    Task& t = *s->task;
    GenerateRequest& r = t.request;
    if (!t.first) first_token(s, monotonic_seconds());
    if (r.max_tokens == 0) return end(s->task, nullptr), std::nullopt;
    const auto n = static_cast<size_t>(vocab(*s, width));
    if (!s->sampler) s->sampler = std::make_unique<Sampler>(r.sampling, r.prompt);
    std::vector<float> plain;  // as the model gave them
    if (r.top_logprobs >= 0) plain.assign(logits, logits + n);
    const bool bound = r.constraint && r.constraint->mask(allowed_);
    if (bound && r.constraint->ended()) {
      t.result.finish = GenerateResult::Finish::stop;
      return end(s->task, nullptr), std::nullopt;
    }
    if (t.result.tokens < r.min_tokens && !(bound && only(allowed_, r.stop_tokens)))
      for (const int32_t stop : r.stop_tokens)
        if (stop >= 0 && static_cast<size_t>(stop) < n) logits[stop] = -std::numeric_limits<float>::infinity();
    const int32_t token = s->sampler->next({logits, n}, s->tokens.size(), bound ? allowed_.data() : nullptr);
    s->sampler->accept(token);
    if (r.constraint) r.constraint->accept(token);
    bool stop = std::find(r.stop_tokens.begin(), r.stop_tokens.end(), token) != r.stop_tokens.end() ||
                (r.constraint && r.constraint->ended());
    if (!stop) {
      ++t.result.tokens;
      if (r.top_logprobs >= 0 && r.on_logprobs) r.on_logprobs(log_probabilities(plain, token, r.top_logprobs));
      stop = r.on_token && !r.on_token(token);
    }
    t.result.seconds = monotonic_seconds() - t.first;
    if (stop || t.result.tokens >= most_tokens(t)) {
      t.result.finish = stop ? GenerateResult::Finish::stop : GenerateResult::Finish::length;
      end(s->task, nullptr);
      return {};
    }
    s->tokens.push_back(token);
    return token;
  }

  int64_t most_tokens(const Task& t) const {
    return std::min(t.request.max_tokens, model_->config().context - t.result.prompt_tokens);
  }

  // Notes what may follow a beam; when all of the search are as far, chooses those that go on.
  void next_beams(const Ptr& s, std::span<const float> logits) {
    Task& t = *s->task;
    if (!t.first) {
      first_token(s, monotonic_seconds());
      t.beams = {s};
    }
    s->likely = log_probabilities(logits, 0, 2 * t.search->width());
    s->likely.erase(s->likely.begin());  // token 0 was asked for
    if (std::any_of(t.beams.begin(), t.beams.end(), [](const Ptr& b) { return !b->stands(); })) return;
    std::vector<std::vector<int32_t>> made;
    for (const Ptr& b : t.beams) made.push_back(b->made());
    std::vector<BeamSearch::Parent> parents;
    for (size_t i = 0; i < made.size(); ++i) parents.push_back({&made[i], t.beams[i]->log_probability, &t.beams[i]->likely});
    const std::vector<BeamSearch::Next> next = t.search->step(parents);
    t.result.tokens = static_cast<int64_t>(made[0].size()) + 1;
    t.result.seconds = monotonic_seconds() - t.first;
    t.result.finish = GenerateResult::Finish::stop;
    if (next.empty()) return end(s->task, nullptr);
    if (t.result.tokens >= most_tokens(t)) {
      for (const BeamSearch::Next& n : next) {
        std::vector<int32_t> whole = made[n.parent];
        whole.push_back(n.token);
        t.search->cut(whole, n.log_probability);
      }
      t.result.finish = GenerateResult::Finish::length;
      return end(s->task, nullptr);
    }
    replace_beams(t, next);
  }

  // What goes on is a fork of its parent, whose pages are then given back, and as old: searches that became the youngest
  // with each token would take each other's pages by turns.
  void replace_beams(Task& t, const std::vector<BeamSearch::Next>& next) {
    const std::vector<Ptr> old = std::move(t.beams);
    t.beams.clear();
    for (const BeamSearch::Next& n : next) {
      const Ptr& parent = old[n.parent];
      auto b = std::make_shared<Sequence>();
      b->task = parent->task, b->tokens = parent->tokens, b->log_probability = n.log_probability;
      if (parent->held.pages.empty())
        pool_.begin(parent->task->share, parent->tokens, b->held);
      else
        b->held = pool_.fork(parent->held);
      b->tokens.push_back(n.token);
      t.beams.push_back(b);
    }
    const auto first = std::find_if(running_.begin(), running_.end(), [&](const Ptr& s) { return s->task.get() == &t; });
    const auto age = first - running_.begin();
    for (const Ptr& b : old) {
      give_back(*b);
      leave(b);
    }
    running_.insert(running_.begin() + age, t.beams.begin(), t.beams.end());
  }

  // Sums in order of position, in f64: the same bits however a prompt is cut.
  void pool_activations(const std::vector<Ptr>& of_rows, const Tensor& hidden) {
    for (size_t i = 0; i < of_rows.size(); ++i) {
      Sequence& s = *of_rows[i];
      const int64_t width = hidden.size(1);
      const float* row = hidden.data_as<float>() + static_cast<int64_t>(i) * width;
      s.sum.resize(static_cast<size_t>(width));
      for (int64_t k = 0; k < width; ++k) s.sum[static_cast<size_t>(k)] += row[k];
      if (s.wanted() > 0 || (i + 1 < of_rows.size() && of_rows[i + 1] == of_rows[i])) continue;
      const double count = s.request().pooling == Pooling::mean ? static_cast<double>(s.tokens.size()) : 1;
      std::vector<float> out;
      for (const double x : s.sum) out.push_back(static_cast<float>(x / count));
      s.task->result.finish = GenerateResult::Finish::stop;
      s.task->result.prompt_seconds = monotonic_seconds() - s.task->submitted;
      if (s.request().on_embedding) s.request().on_embedding(out);
      end(of_rows[i]->task, nullptr);
    }
  }

  void leave(const Ptr& s) {
    std::erase(running_, s);
    std::lock_guard lock(mutex_);
    std::erase(waiting_, s);
  }

  void end(const std::shared_ptr<Task>& t, const std::exception_ptr& error) {
    std::vector<Ptr> mine;
    int64_t places = 0;  // that it leaves
    for (const Ptr& s : running_)
      if (s->task == t) mine.push_back(s), places += !s->stands();
    {
      std::lock_guard lock(mutex_);
      for (const Ptr& s : waiting_)
        if (s->task == t) mine.push_back(s);
    }
    for (const Ptr& s : mine) {
      if (!error) keep(*s);
      give_back(*s);
      leave(s);
    }
    t->beams.clear();
    {
      std::lock_guard lock(mutex_);
      all_.erase(t);
      places_ += places;
      if (const auto w = wholes_.find(t->whole); --w->second.parts == 0) wholes_.erase(w);
      figures_.prompt_tokens += t->result.prompt_tokens, figures_.cached_tokens += t->result.cached_tokens;
      figures_.tokens += t->result.tokens;
      count_free();
    }
    if (!error && t->search && t->request.on_beams) t->request.on_beams(t->search->found());
    if (t->on_end) t->on_end(t->result, error);
  }

  std::shared_ptr<const Decoder> model_;
  const EngineOptions options_;
  PagePool pool_;
  std::unique_ptr<DraftModel> drafts_;
  std::vector<Ptr> running_;  // the oldest first
  std::vector<uint64_t> allowed_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable ready_;
  std::deque<Ptr> waiting_;
  std::set<std::shared_ptr<Task>> all_;
  std::map<int64_t, Whole> wholes_;  // by the tickets of their first parts
  int64_t tickets_ = 0, places_ = 0;  // places_: those free
  EngineFigures figures_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace

std::unique_ptr<Engine> make_engine(std::shared_ptr<const Decoder> model, const EngineOptions& options) {
  return std::make_unique<BatchEngine>(std::move(model), options);
}

}  // namespace wellspring
