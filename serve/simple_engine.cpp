#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "base/threads.h"
#include "serve/engine.h"
#include "serve/session.h"

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

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class SimpleEngine : public Engine {
 public:
  explicit SimpleEngine(std::shared_ptr<const Decoder> model)
      : model_(std::move(model)), thread_([this] { run(); }) {}

  ~SimpleEngine() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
      for (auto& job : waiting_) job->cancelled = true;
      if (running_) running_->cancelled = true;
    }
    ready_.notify_all();
    thread_.join();
  }

  int64_t submit(GenerateRequest request, OnEnd on_end) override {
    check(request);
    auto job = std::make_shared<Job>();
    job->request = std::move(request);
    job->on_end = std::move(on_end);
    std::lock_guard lock(mutex_);
    if (closing_) throw Error(Fault::try_again, "the engine is shutting down");
    job->ticket = ++tickets_;
    waiting_.push_back(job);
    ready_.notify_one();
    return job->ticket;
  }

  void cancel(int64_t ticket) override {
    std::lock_guard lock(mutex_);
    for (auto& job : waiting_)
      if (job->ticket == ticket) job->cancelled = true;
    if (running_ && running_->ticket == ticket) running_->cancelled = true;
  }

  int64_t load() const override {
    std::lock_guard lock(mutex_);
    return static_cast<int64_t>(waiting_.size()) + (running_ ? 1 : 0);
  }

 private:
  struct Job {
    int64_t ticket = 0;
    GenerateRequest request;
    OnEnd on_end;
    std::atomic<bool> cancelled{false};
  };

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
    Session session(model_);
    std::vector<int32_t> held;  // the tokens that the session's cache holds
    while (true) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex_);
        ready_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        job = waiting_.front();
        waiting_.pop_front();
        running_ = job;
      }
      GenerateResult result;
      std::exception_ptr error;
      try {
        answer(*job, session, held, result);
      } catch (...) {
        error = std::current_exception();
        session.truncate(0);
        held.clear();
      }
      {
        std::lock_guard lock(mutex_);
        running_ = nullptr;
      }
      if (job->on_end) job->on_end(result, error);
    }
  }

  void answer(Job& job, Session& session, std::vector<int32_t>& held, GenerateResult& result) {
    const GenerateRequest& r = job.request;
    result.prompt_tokens = static_cast<int64_t>(r.prompt.size());
    result.finish = GenerateResult::Finish::cancelled;
    if (job.cancelled) return;
    size_t common = 0;  // the last prompt token is always computed: its logits are needed
    while (common + 1 < r.prompt.size() && common < held.size() && held[common] == r.prompt[common])
      ++common;
    session.truncate(static_cast<int64_t>(common));
    held.assign(r.prompt.begin(), r.prompt.begin() + static_cast<int64_t>(common));
    double begin = now();
    Tensor logits = session.prefill(std::span(r.prompt).subspan(common));
    held = r.prompt;
    result.prompt_seconds = now() - begin;
    const int64_t room = model_->config().context - result.prompt_tokens;
    begin = now();
    while (!job.cancelled) {
      const auto vocab =
          static_cast<size_t>(r.vocab > 0 ? std::min(r.vocab, logits.numel()) : logits.numel());
      const Tensor scores = logits.to_device({});
      int32_t token = sample({scores.data_as<float>(), vocab}, r.sampling, held.size());
      bool stop =
          std::find(r.stop_tokens.begin(), r.stop_tokens.end(), token) != r.stop_tokens.end();
      if (!stop) {
        ++result.tokens;
        if (r.on_token && !r.on_token(token)) stop = true;
      }
      result.seconds = now() - begin;
      if (stop || result.tokens >= std::min(r.max_tokens, room)) {
        result.finish = stop ? GenerateResult::Finish::stop : GenerateResult::Finish::length;
        return;
      }
      logits = session.step(token);
      held.push_back(token);
    }
  }

  std::shared_ptr<const Decoder> model_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::shared_ptr<Job> running_;
  bool closing_ = false;
  int64_t tickets_ = 0;
  std::thread thread_;  // last: it uses the others
};

}  // namespace

std::unique_ptr<Engine> make_simple_engine(std::shared_ptr<const Decoder> model) {
  return std::make_unique<SimpleEngine>(std::move(model));
}

}  // namespace wellspring
