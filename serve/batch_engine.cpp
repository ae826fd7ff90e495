#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "base/threads.h"
#include "base/time.h"
#include "models/decoder/model.h"
#include "serve/engine.h"
#include "serve/prefix_tree.h"

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

constexpr int64_t kPage = PagedCache::kPage;

// A request from its submission to its end.
struct Sequence {
  int64_t ticket = 0;
  GenerateRequest request;
  Engine::OnEnd on_end;
  std::atomic<bool> cancelled{false};
  double submitted = 0, first = 0;
  GenerateResult result;
  // What follows is the engine thread's.
  std::vector<int32_t> tokens;  // the prompt and what was made
  std::vector<int32_t> pages;
  std::unique_ptr<Sampler> sampler;
  int64_t computed = 0;  // tokens whose keys and values are there
  int64_t wanted() const { return static_cast<int64_t>(tokens.size()) - computed; }
};

// Whether nothing but these may come: a grammar that is at its end.
bool only(const std::vector<uint64_t>& allowed, const std::vector<int32_t>& tokens) {
  std::vector<uint64_t> rest = allowed;
  for (const int32_t t : tokens)
    if (t >= 0 && static_cast<size_t>(t) / 64 < rest.size()) rest[static_cast<size_t>(t) / 64] &= ~(uint64_t{1} << (t % 64));
  return std::all_of(rest.begin(), rest.end(), [](uint64_t w) { return w == 0; });
}

int64_t pages_for(int64_t tokens) { return (tokens + kPage - 1) / kPage; }

class BatchEngine : public Engine {
 public:
  BatchEngine(std::shared_ptr<const Decoder> model, const EngineOptions& o)
      : model_(std::move(model)), options_(o), cache_(make_cache()), kept_(cache_), thread_([this] { run(); }) {}

  ~BatchEngine() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
      for (auto& s : all_) s->cancelled = true;
    }
    ready_.notify_all();
    thread_.join();
  }

  int64_t submit(GenerateRequest request, OnEnd on_end) override {
    check(request);
    auto s = std::make_shared<Sequence>();
    s->request = std::move(request), s->on_end = std::move(on_end);
    s->tokens = s->request.prompt;
    s->result.prompt_tokens = static_cast<int64_t>(s->tokens.size());
    s->submitted = monotonic_seconds();
    std::lock_guard lock(mutex_);
    if (closing_) throw Error(Fault::try_again, "the engine is shutting down");
    if (static_cast<int64_t>(waiting_.size()) >= options_.waiting)
      throw Error(Fault::try_again, str(waiting_.size(), " requests wait already: try again later"));
    s->ticket = ++figures_.requests;
    waiting_.push_back(s);
    all_.insert(s);
    ready_.notify_one();
    return s->ticket;
  }

  void cancel(int64_t ticket) override {
    std::lock_guard lock(mutex_);
    for (auto& s : all_)
      if (s->ticket == ticket) s->cancelled = true;
    ready_.notify_one();
  }

  int64_t load() const override {
    std::lock_guard lock(mutex_);
    return static_cast<int64_t>(all_.size());
  }

  EngineFigures figures() const override {
    std::lock_guard lock(mutex_);
    EngineFigures f = figures_;
    f.waiting = static_cast<int64_t>(waiting_.size()), f.running = static_cast<int64_t>(all_.size()) - f.waiting;
    return f;
  }

 private:
  using Ptr = std::shared_ptr<Sequence>;

  PagedCache make_cache() const {
    const DecoderConfig& c = model_->config();
    const auto make = [&](int64_t pages) { return PagedCache(c.layers, c.kv_heads, c.head_width, pages, options_.cache.value_or(model_->dtype())); };
    const int64_t page = make(1).page_bytes(), whole = pages_for(c.context);
    int64_t bytes = options_.cache_bytes;
    if (!bytes)
      bytes = std::min<int64_t>(::sysconf(_SC_PHYS_PAGES) / 4 * ::sysconf(_SC_PAGE_SIZE), 64 * whole * page);
    const int64_t pages = std::min(bytes / page, options_.sequences * whole);
    if (pages < whole)
      throw Error(Fault::config, str("a cache of ", bytes >> 20, " MB does not hold one context of ", c.context, " tokens, which takes ",
                                     (whole * page + (1 << 20) - 1) >> 20, " MB"));
    return make(pages);
  }

  void check(const GenerateRequest& r) const {
    const DecoderConfig& c = model_->config();
    const auto n = static_cast<int64_t>(r.prompt.size());
    if (!n) throw Error(Fault::usage, "the prompt is empty");
    if (n >= c.context)
      throw Error(Fault::usage, str("the prompt has ", n, " tokens, but the model's context of ",
                                    c.context, " must hold prompt and answer"));
    if (r.max_tokens < 1)
      throw Error(Fault::usage, str("max_tokens is ", r.max_tokens, "; expected at least 1"));
    for (int32_t t : r.prompt)
      if (t < 0 || t >= c.vocab)
        throw Error(Fault::usage, str("token ", t, " is not in the vocabulary of ", c.vocab));
    r.sampling.check();
  }

  void run() {
    claim_team();
    while (true) {
      {
        std::unique_lock lock(mutex_);
        figures_.pages = cache_.pages(), figures_.free_pages = cache_.free_pages(), figures_.kept_pages = kept_.pages();
        ready_.wait(lock, [&] { return closing_ || !waiting_.empty() || !running_.empty(); });
        if (closing_ && waiting_.empty() && running_.empty()) return;
      }
      drop_cancelled();
      admit();
      try {
        pass();
      } catch (...) {  // a fault of the pass is one of all that took part
        const std::exception_ptr error = std::current_exception();
        for (const Ptr& s : std::vector<Ptr>(running_)) end(s, error);
      }
    }
  }

  void drop_cancelled() {
    std::vector<Ptr> gone;
    {
      std::lock_guard lock(mutex_);
      std::erase_if(waiting_, [&](const Ptr& s) { return s->cancelled && (gone.push_back(s), true); });
    }
    for (const Ptr& s : running_)
      if (s->cancelled) gone.push_back(s);
    for (const Ptr& s : gone) s->result.finish = GenerateResult::Finish::cancelled, end(s, nullptr);
  }

  // A page, if need be one that was kept; -1: none.
  int32_t take_page() {
    int32_t page = cache_.take();
    while (page < 0 && kept_.evict()) page = cache_.take();
    return page;
  }

  void give_back(Sequence& s) {
    for (const int32_t p : s.pages) cache_.release(p);
    s.pages.clear();
    s.computed = 0;
  }

  // Waiting ones, as long as the pages of their prompts can be had.
  void admit() {
    while (static_cast<int64_t>(running_.size()) < options_.sequences) {
      Ptr s;
      {
        std::lock_guard lock(mutex_);
        if (waiting_.empty()) return;
        s = waiting_.front();
      }
      begin_with_known(*s);
      if (begins_like_a_running_one(*s)) return give_back(*s);
      const int64_t need = pages_for(static_cast<int64_t>(s->tokens.size()) + 1) - static_cast<int64_t>(s->pages.size());
      if (need > cache_.free_pages() && !running_.empty()) {
        while (need > cache_.free_pages() && kept_.evict()) {
        }
        if (need > cache_.free_pages()) return give_back(*s);
      }
      std::lock_guard lock(mutex_);
      waiting_.pop_front();
      running_.push_back(s);
    }
  }

  // Whether what is being computed for another will be of use soon: several answers to one prompt, a crowd with one
  // system message.
  bool begins_like_a_running_one(const Sequence& s) const {
    for (const Ptr& r : running_) {
      if (r->request.owner != s.request.owner || r->wanted() <= 1) continue;
      const auto ends = std::mismatch(r->tokens.begin(), r->tokens.end(), s.tokens.begin(), s.tokens.end() - 1);
      if (ends.first - r->tokens.begin() >= s.computed + kPage) return true;
    }
    return false;
  }

  // The last token is always computed: its logits are wanted.
  void begin_with_known(Sequence& s) {
    PrefixTree::Match m = kept_.find(s.request.owner, std::span(s.tokens).first(s.tokens.size() - 1));
    s.pages = std::move(m.pages);
    s.computed = static_cast<int64_t>(s.pages.size()) * kPage;
    if (m.part >= 0) {
      cache_.share(m.part);  // lest it is evicted for its own copy
      if (const int32_t copy = take_page(); copy >= 0) {
        cache_.copy(m.part, copy);
        s.pages.push_back(copy);
        s.computed += m.part_tokens;
      }
      cache_.release(m.part);
    }
    s.result.cached_tokens = std::min(s.computed, s.result.prompt_tokens);
  }

  // Pages for the next `rows` tokens. Takes them from the youngest others that run, when there are none; false: this
  // one has to wait itself.
  bool reserve(const Ptr& s, int64_t rows) {
    while (static_cast<int64_t>(s->pages.size()) < pages_for(s->computed + rows)) {
      const int32_t page = take_page();
      if (page >= 0) {
        s->pages.push_back(page);
        continue;
      }
      const Ptr last = running_.back();
      preempt(last);
      if (last == s) return false;
    }
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

  void keep(const Sequence& s) {
    if (s.computed)
      kept_.keep(s.request.owner, std::span(s.tokens).first(static_cast<size_t>(s.computed)),
                 std::span(s.pages).first(static_cast<size_t>(pages_for(s.computed))));
  }

  // Those that go on first, a token each; then prompts in their order, cut to what is left.
  std::vector<std::pair<Ptr, int64_t>> plan() {
    std::vector<std::pair<Ptr, int64_t>> rows;
    int64_t room = options_.rows;
    for (const bool prompts : {false, true})
      for (const Ptr& s : std::vector<Ptr>(running_)) {
        if ((s->wanted() > 1) != prompts || room == 0) continue;
        if (std::find(running_.begin(), running_.end(), s) == running_.end()) continue;  // preempted meanwhile
        const int64_t n = std::min(s->wanted(), room);
        if (!reserve(s, n)) continue;
        rows.emplace_back(s, n), room -= n;
      }
    std::erase_if(rows, [&](const auto& r) { return std::find(running_.begin(), running_.end(), r.first) == running_.end(); });
    return rows;
  }

  void pass() {
    const auto rows = plan();
    if (rows.empty()) return;
    DecodeBatch b;
    for (const auto& [s, n] : rows) b.table_width = std::max<int64_t>(b.table_width, static_cast<int64_t>(s->pages.size()));
    std::vector<Ptr> asked;
    for (const auto& [s, n] : rows) {
      const auto first = static_cast<int32_t>(b.ids.size());
      b.segments.insert(b.segments.end(), {first, static_cast<int32_t>(n), static_cast<int32_t>(s->computed)});
      for (int64_t i = 0; i < n; ++i) {
        const int64_t p = s->computed + i;
        b.ids.push_back(s->tokens[static_cast<size_t>(p)]);
        b.positions.push_back(static_cast<int32_t>(p));
        b.slots.push_back(static_cast<int32_t>(s->pages[static_cast<size_t>(p / kPage)] * kPage + p % kPage));
      }
      std::vector<int32_t> table = s->pages;
      table.resize(static_cast<size_t>(b.table_width), 0);
      b.tables.insert(b.tables.end(), table.begin(), table.end());
      if (n == s->wanted()) b.wanted.push_back(static_cast<int32_t>(b.ids.size() - 1)), asked.push_back(s);
    }
    const Tensor logits = model_->step(b, cache_);
    for (const auto& [s, n] : rows) s->computed += n;
    {
      std::lock_guard lock(mutex_);
      ++figures_.passes;
    }
    for (size_t i = 0; i < asked.size(); ++i) {
      float* row = logits.data_as<float>() + static_cast<int64_t>(i) * logits.size(1);
      try {
        next_token(asked[i], row, logits.size(1));
      } catch (...) {
        end(asked[i], std::current_exception());
      }
    }
  }

  void next_token(const Ptr& s, float* logits, int64_t width) {
    GenerateRequest& r = s->request;
    const double now = monotonic_seconds();
    if (!s->first) {
      s->first = now, s->result.prompt_seconds = now - s->submitted;
      keep(*s);  // for those that begin alike
    }
    const auto vocab = static_cast<size_t>(r.vocab > 0 ? std::min(r.vocab, width) : width);
    if (!s->sampler) s->sampler = std::make_unique<Sampler>(r.sampling, r.prompt);
    std::vector<float> plain;  // as the model gave them
    if (r.top_logprobs >= 0) plain.assign(logits, logits + vocab);
    const bool bound = r.constraint && r.constraint->mask(allowed_);
    if (s->result.tokens < r.min_tokens && !(bound && only(allowed_, r.stop_tokens)))
      for (const int32_t t : r.stop_tokens)
        if (t >= 0 && static_cast<size_t>(t) < vocab) logits[t] = -std::numeric_limits<float>::infinity();
    const int32_t token = s->sampler->next({logits, vocab}, s->tokens.size(), bound ? allowed_.data() : nullptr);
    s->sampler->accept(token);
    if (r.constraint) r.constraint->accept(token);
    bool stop = std::find(r.stop_tokens.begin(), r.stop_tokens.end(), token) != r.stop_tokens.end() ||
                (r.constraint && r.constraint->ended());
    if (!stop) {
      ++s->result.tokens;
      if (r.top_logprobs >= 0 && r.on_logprobs) r.on_logprobs(log_probabilities(plain, token, r.top_logprobs));
      stop = r.on_token && !r.on_token(token);
    }
    s->result.seconds = monotonic_seconds() - s->first;
    const int64_t room = model_->config().context - s->result.prompt_tokens;
    if (stop || s->result.tokens >= std::min(r.max_tokens, room)) {
      s->result.finish = stop ? GenerateResult::Finish::stop : GenerateResult::Finish::length;
      return end(s, nullptr);
    }
    s->tokens.push_back(token);
  }

  void end(const Ptr& s, const std::exception_ptr& error) {
    if (!error) keep(*s);
    give_back(*s);
    std::erase(running_, s);
    {
      std::lock_guard lock(mutex_);
      all_.erase(s);
      figures_.prompt_tokens += s->result.prompt_tokens, figures_.cached_tokens += s->result.cached_tokens;
      figures_.tokens += s->result.tokens;
      figures_.free_pages = cache_.free_pages(), figures_.kept_pages = kept_.pages();
    }
    if (s->on_end) s->on_end(s->result, error);
  }

  std::shared_ptr<const Decoder> model_;
  const EngineOptions options_;
  PagedCache cache_;
  PrefixTree kept_;
  std::vector<Ptr> running_;  // the oldest first
  std::vector<uint64_t> allowed_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable ready_;
  std::deque<Ptr> waiting_;
  std::set<Ptr> all_;
  EngineFigures figures_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace

std::unique_ptr<Engine> make_engine(std::shared_ptr<const Decoder> model, const EngineOptions& options) {
  return std::make_unique<BatchEngine>(std::move(model), options);
}

}  // namespace wellspring
