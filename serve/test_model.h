#pragma once
// For tests: a model whose engine does what a test wants.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "serve/engine.h"
#include "serve/models.h"

namespace wellspring {

/// Answers what it says; when it holds, one letter of it, and then nothing until it is released or
/// cancelled.
class FakeEngine : public Engine {
 public:
  int64_t submit(GenerateRequest request, OnEnd on_end) override {
    std::lock_guard lock(mutex_);
    if (full) throw Error(Fault::try_again, "7 requests wait already: try again later");
    owners.push_back(request.owner);
    request.on_token(says[0]);
    if (hold) {
      held_[++tickets_] = std::move(on_end);
    } else {
      for (size_t i = 1; i < says.size(); ++i) request.on_token(says[i]);
      on_end(result(GenerateResult::Finish::length), nullptr);
    }
    return tickets_;
  }
  void cancel(int64_t ticket) override { end(ticket, GenerateResult::Finish::cancelled); }
  void release(std::exception_ptr error = nullptr) {
    std::unique_lock lock(mutex_);
    while (!held_.empty()) {
      const int64_t ticket = held_.begin()->first;
      lock.unlock();
      end(ticket, GenerateResult::Finish::length, error);
      lock.lock();
    }
  }
  int64_t load() const override {
    std::lock_guard lock(mutex_);
    return static_cast<int64_t>(held_.size());
  }
  EngineFigures figures() const override {
    EngineFigures f;
    std::lock_guard lock(mutex_);
    f.requests = static_cast<int64_t>(owners.size());
    return f;
  }

  std::string says = "aaa";
  std::atomic<bool> hold{false}, full{false};
  std::vector<std::string> owners;  // of the requests so far

 private:
  static GenerateResult result(GenerateResult::Finish finish) {
    GenerateResult r;
    r.finish = finish, r.prompt_tokens = 1, r.tokens = 3;
    return r;
  }
  void end(int64_t ticket, GenerateResult::Finish finish, std::exception_ptr error = nullptr) {
    OnEnd on_end;
    {
      std::lock_guard lock(mutex_);
      const auto it = held_.find(ticket);
      if (it == held_.end()) return;
      on_end = std::move(it->second);
      held_.erase(it);
    }
    on_end(result(finish), error);
  }
  mutable std::mutex mutex_;
  std::map<int64_t, OnEnd> held_;
  int64_t tickets_ = 0;
};

struct FakeModel : LoadedModel {
  explicit FakeModel(const std::string& name, const ModelText* text = nullptr, int64_t size = 0) {
    served = {name, &engine, text, 64};
    bytes = size;
  }
  mutable FakeEngine engine;
};

}  // namespace wellspring
