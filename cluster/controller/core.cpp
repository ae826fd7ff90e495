#include "cluster/controller/core.h"

#include <algorithm>
#include <future>

#include "base/crypto.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {

SteadyClock::SteadyClock() : at_(monotonic_seconds()), value_(unix_seconds()) {}

double SteadyClock::now() {
  std::lock_guard lock(mutex_);
  const double at = monotonic_seconds();
  const double passed = at - at_;
  const double behind = unix_seconds() - (value_ + passed);
  value_ += passed + std::clamp(behind, -passed / 10, passed / 10);
  at_ = at;
  return value_;
}

Core::Core(const std::string& url, Options options) : options_(options), store_(url) {
  store_.load(state_);
  if (!state_.cluster.find("cluster"))
    state_.cluster.put("cluster", {.id = hex(random_bytes(8))});
  state_.loaded();
  state_.keep_command();
  store_.write(state_);
  state_.keep_batch();
}

Core::~Core() { stop(); }

void Core::start(Hooks hooks) {
  hooks_ = std::move(hooks);
  thread_ = std::thread([this] { loop(); });
}

void Core::stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    work_.notify_all();
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Core::call(const Command& command) {
  std::promise<void> promise;
  auto done = promise.get_future();
  const auto tell = [&](std::exception_ptr error) {
    if (error)
      promise.set_exception(error);
    else
      promise.set_value();
  };
  add({command, tell, nullptr, true});
  done.get();
}

void Core::post(Command command, std::function<void(std::exception_ptr)> done) {
  add({std::move(command), std::move(done), nullptr, false});
}

void Core::add(Job job) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      // One more of those that nobody waits for changes nothing for the thread.
      if (job.waited_for || queue_.empty()) work_.notify_one();
      waited_for_ += job.waited_for;
      queue_.push_back(std::move(job));
      return;
    }
  }
  if (job.done)
    job.done(std::make_exception_ptr(Error(Fault::try_again, "the controller is stopping: try again")));
}

void Core::wake() {
  std::lock_guard lock(mutex_);
  wanted_ = true;
  work_.notify_one();
}

void Core::wait_change(uint64_t seen, double seconds) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                    [&] { return version_ != seen || stopping_; });
}

std::string Core::trouble() const {
  std::lock_guard lock(mutex_);
  return trouble_;
}

void Core::loop() {
  constexpr size_t kMostAtOnce = 512;
  constexpr double kGather = 0.001;  // seconds in which what nobody waits for comes together
  double next_tick = 0, next_second = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    // A round costs time: leave as much for everything else.
    double at = monotonic_seconds();
    const double next_round = last_round_ + round_cost_;
    double wake = std::min(next_tick, next_second);
    if (wanted_) wake = std::min(wake, next_round);
    const auto ready = [&](double now) {
      return stopping_ || waited_for_ || (!queue_.empty() && now >= last_batch_ + kGather);
    };
    if (!queue_.empty()) wake = std::min(wake, last_batch_ + kGather);
    if (!ready(at) && wake > at) work_.wait_for(lock, std::chrono::duration<double>(wake - at));
    if (stopping_ && queue_.empty()) return;
    std::deque<Job> jobs;
    const bool take = ready(monotonic_seconds());
    while (take && !queue_.empty() && jobs.size() < kMostAtOnce) {
      waited_for_ -= queue_.front().waited_for;
      jobs.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    at = monotonic_seconds();
    const bool second = at >= next_second;
    if (second) next_second = at + 1;
    if (second && !trouble_.empty())  // whether it can be written again: nobody else may ask
      jobs.push_back({[](Change& c) { c.state.numbers(); }, {}, nullptr, false});
    if (!jobs.empty() || second) wanted_ = true;
    const bool round = wanted_ && at >= last_round_ + round_cost_;
    if (round) wanted_ = false;
    lock.unlock();
    if (!jobs.empty() || round) batch(jobs, round, second);
    at = monotonic_seconds();
    if (!jobs.empty()) last_batch_ = at;
    if (at >= next_tick) {
      next_tick = at + options_.tick;
      hooks_.tick(state_);
    }
    lock.lock();
  }
}

void Core::set_trouble(const std::string& trouble) {
  std::lock_guard lock(mutex_);
  if (trouble != trouble_)
    trouble.empty() ? log_info("cluster", "the state can be written again")
                    : log_error("cluster", "the state cannot be written: ", trouble);
  trouble_ = trouble;
}

// The database server went away while it committed: what was asked for waits until it can say whether
// that is on disk, and what comes meanwhile is turned away.
bool Core::find_out(const std::string& why) {
  const std::string trouble =
      str("the database went away while it wrote; whether it has is asked until it answers: ", why);
  set_trouble(trouble);
  while (true) {
    try {
      return store_.settle();
    } catch (const Error& e) {
      if (e.fault() == Fault::config) throw;
    }
    std::deque<Job> refused;
    bool last;
    {
      std::lock_guard lock(mutex_);
      refused.swap(queue_);
      waited_for_ = 0;
      last = stopping_;
    }
    for (Job& job : refused)
      if (job.done) job.done(std::make_exception_ptr(Error(Fault::try_again, str("the state cannot be written: ", trouble))));
    if (last) throw Error(Fault::io, "the database did not come back: whether the last changes are there shows at the next start");
    sleep_seconds(0.1);
  }
}

void Core::batch(std::deque<Job>& jobs, bool round, bool second) {
  Effects all;
  bool worked = false;
  {
    std::unique_lock state_lock(state_mutex_);
    const double now = clock_.now();
    const auto run = [&](const Command& command) -> std::exception_ptr {
      Effects effects;
      Change change{state_, now, effects, [] { return hex(random_bytes(12)); }};
      try {
        command(change);
      } catch (...) {
        state_.undo_command();
        return std::current_exception();
      }
      state_.keep_command();
      all.add(std::move(effects));
      worked = true;
      return nullptr;
    };
    for (Job& job : jobs) job.error = run(job.command);
    if (round) {
      const double begin = monotonic_seconds();
      const auto error = run([&](Change& c) {
        if (second) pass_time(c, options_.keep);
        schedule(c, options_.policy);
      });
      last_round_ = monotonic_seconds();
      round_cost_ = last_round_ - begin;
      counters_.round_seconds = counters_.round_seconds + round_cost_;
      ++counters_.rounds;
      try {
        if (error) std::rethrow_exception(error);
      } catch (const std::exception& e) {
        log_error("cluster", "a round of scheduling failed: ", e.what());
      }
    }
  }
  counters_.commands += static_cast<int64_t>(jobs.size());
  ++counters_.batches;
  std::exception_ptr failed;
  if (worked) {
    const double begin = monotonic_seconds();
    std::string trouble;
    bool changed = true;
    try {
      try {
        changed = store_.write(state_);
      } catch (const OutcomeUnknown& e) {
        if (!find_out(e.what())) throw Error(Fault::io, e.what());
      }
      state_.keep_batch();
    } catch (const std::exception& e) {
      trouble = e.what();
      failed = std::make_exception_ptr(
          Error(Fault::try_again, str("the state cannot be written, so nothing was done: ", trouble)));
      std::unique_lock state_lock(state_mutex_);
      state_.undo_batch();
    }
    counters_.write_seconds = counters_.write_seconds + (monotonic_seconds() - begin);
    // A batch without a change writes nothing and shows nothing.
    if (changed || !trouble.empty()) set_trouble(trouble);
    std::lock_guard lock(mutex_);
    if (changed) ++version_;
    changed_.notify_all();
  }
  if (!failed && hooks_.effects) hooks_.effects(state_, all);
  for (Job& job : jobs)
    if (job.done) job.done(job.error ? job.error : failed);
  if (failed) sleep_seconds(0.05);  // a full disk does not get better by asking fast
}

}  // namespace wellspring::cluster
