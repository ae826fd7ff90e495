#include "base/threads_pool.h"

#include <chrono>

namespace wellspring {
namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `ready` or some 60 us have passed.
template <class Ready>
bool spin_until(Ready ready) {
  auto limit = std::chrono::steady_clock::now() + std::chrono::microseconds(60);
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < limit);
  return ready();
}

}  // namespace

void ThreadPool::run(int n, bool spin, void (*fn)(void*, int), void* data) {
  auto workers = static_cast<size_t>(n - 1);
  if (workers_.size() != workers) resize(workers);
  fn_ = fn;
  data_ = data;
  spin_.store(spin, std::memory_order_relaxed);
  running_.store(workers, std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);
    epoch_.fetch_add(1, std::memory_order_release);
  }
  begin_.notify_all();
  fn(data, 0);
  auto done = [&] { return running_.load(std::memory_order_acquire) == 0; };
  if (spin && spin_until(done)) return;
  std::unique_lock lock(mutex_);
  end_.wait(lock, done);
}

void ThreadPool::resize(size_t workers) {
  {
    std::lock_guard lock(mutex_);
    quit_ = true;
    epoch_.fetch_add(1, std::memory_order_release);
  }
  begin_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  quit_ = false;
  for (size_t i = 0; i < workers; ++i)
    workers_.emplace_back(
        [this, i, epoch = epoch_.load()] { work(static_cast<int>(i) + 1, epoch); });
}

void ThreadPool::work(int index, unsigned long epoch) {
  while (true) {
    auto begun = [&] { return epoch_.load(std::memory_order_acquire) != epoch; };
    if (!spin_.load(std::memory_order_relaxed) || !spin_until(begun)) {
      std::unique_lock lock(mutex_);
      begin_.wait(lock, begun);
    }
    ++epoch;
    if (quit_) return;
    fn_(data_, index);
    if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      std::lock_guard lock(mutex_);  // so that the caller is not between its check and its wait
      end_.notify_one();
    }
  }
}

}  // namespace wellspring
