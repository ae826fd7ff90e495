#pragma once
// The std::thread back end of base/threads (for thread-sanitizer and clang builds). Included by
// threads.cpp alone.

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace wellspring {

/// A team of threads that all run one function, with indices 1 .. n-1, while the caller is index 0.
/// One caller at a time. Waiting threads spin for some 60 us before they sleep on a condition
/// variable, whose wake-up costs some 20 us.
class ThreadPool {
 public:
  ~ThreadPool() { resize(0); }

  /// Runs fn(data, 0..n-1), each index once on its own thread, and returns when all have ended.
  /// `spin` is false when there are more threads than processors.
  void run(int n, bool spin, void (*fn)(void*, int), void* data);

 private:
  void resize(size_t workers);
  void work(int index, unsigned long epoch);

  std::vector<std::thread> workers_;
  void (*fn_)(void*, int) = nullptr;  // fn_, data_, spin_: written before epoch_ moves
  void* data_ = nullptr;
  std::atomic<bool> spin_{true};
  bool quit_ = false;
  std::atomic<unsigned long> epoch_{0};
  std::atomic<size_t> running_{0};
  std::mutex mutex_;
  std::condition_variable begin_, end_;
};

}  // namespace wellspring
