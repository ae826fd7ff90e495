#include "base/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <string>

#include "base/error.h"
#include "base/text.h"

#ifdef WS_THREADS_OPENMP
#include <omp.h>
#else
#include "base/threads_pool.h"
#endif

namespace wellspring {
namespace {

thread_local int t_index = 0;
thread_local bool t_inside = false, t_claims = false;

std::atomic<bool> g_busy{false};
std::atomic<bool> g_forked{false};
std::atomic<int> g_claims{0};   // threads that have claimed the team
std::atomic<int> g_threads{0};  // 0: not decided yet

int processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return 1;  // more than 1024 processors: set WELLSPRING_THREADS
}

int default_threads() {
  for (const char* name : {"WELLSPRING_THREADS", "OMP_NUM_THREADS"}) {
    const char* value = std::getenv(name);
    if (!value || !*value) continue;
    // OMP_NUM_THREADS may be a list by nesting level; the first entry counts.
    auto n = parse_int(trim(split(value, ',')[0]));
    if (!n || *n < 1 || *n > 65536)
      throw Error(Fault::usage, str(name, "='", value, "': want a number of threads, 1 or more"));
    return static_cast<int>(*n);
  }
  return processors();
}

// What one parallel_for shares among the team: a part of the tiles for each thread, or one for all.
struct Loop {
  Loop(int64_t tiles, TileFunction fn, int count) : fn(fn), parts(std::min(count, kMostParts)) {
    for (int p = 0; p < parts; ++p) {
      part[p].next.store(tiles * p / parts, std::memory_order_relaxed);
      part[p].end = tiles * (p + 1) / parts;
    }
  }

  static constexpr int kMostParts = 64;
  struct alignas(64) Part {
    std::atomic<int64_t> next;
    int64_t end;
  };
  TileFunction fn;
  const int parts;
  Part part[kMostParts];
  std::mutex mutex;
  std::exception_ptr error;
  int64_t error_tile = std::numeric_limits<int64_t>::max();

  void run(int index) noexcept {
    t_index = index;
    t_inside = true;
    for (int i = 0; i < parts; ++i) run(part[(index + i) % parts]);
    t_inside = false;
    t_index = 0;
  }

 private:
  void run(Part& p) {
    if (p.next.load(std::memory_order_relaxed) >= p.end) return;
    int64_t tile;
    while ((tile = p.next.fetch_add(1, std::memory_order_relaxed)) < p.end) {
      try {
        fn(tile);
      } catch (...) {
        std::lock_guard lock(mutex);
        if (tile < error_tile) {
          error_tile = tile;
          error = std::current_exception();
        }
        for (int i = 0; i < parts; ++i) part[i].next.store(part[i].end, std::memory_order_relaxed);
      }
    }
  }
};

#ifdef WS_THREADS_OPENMP

// The team always has `n` threads, also for fewer tiles: libgomp ends and starts threads whenever
// the number changes. Idle threads spin about a millisecond before they sleep (libgomp's default,
// read from GOMP_SPINCOUNT and OMP_WAIT_POLICY when the library loads), less when oversubscribed.
void run_team(Loop& loop, int n) {
#pragma omp parallel num_threads(n)
  loop.run(omp_get_thread_num());
}

#else

void run_team(Loop& loop, int n) {
  // Never destroyed: its threads may outlive static destructors.
  static ThreadPool* pool = new ThreadPool;
  pool->run(
      n, n <= processors(), [](void* l, int i) { static_cast<Loop*>(l)->run(i); }, &loop);
}

#endif

bool take_team() {
  if (t_inside || g_forked.load(std::memory_order_relaxed)) return false;
  if (!t_claims && g_claims.load(std::memory_order_relaxed) > 0) return false;
  return !g_busy.exchange(true, std::memory_order_acquire);
}

}  // namespace

void parallel_for(int64_t tiles, TileFunction fn, Deal deal) {
  int n = tiles > 1 ? threads() : 1;
  if (n == 1 || !take_team()) {
    for (int64_t tile = 0; tile < tiles; ++tile) fn(tile);
    return;
  }
  static const int kAtFork = pthread_atfork(nullptr, nullptr, [] { g_forked = true; });
  (void)kAtFork;
  Loop loop(tiles, fn, deal == Deal::apart ? n : 1);
  {
    struct Release {
      ~Release() { g_busy.store(false, std::memory_order_release); }
    } release;  // also when a thread cannot be started
    run_team(loop, n);
  }
  if (loop.error) std::rethrow_exception(loop.error);
}

int threads() {
  if (g_forked.load(std::memory_order_relaxed)) return 1;
  int n = g_threads.load(std::memory_order_relaxed);
  if (n == 0) {
    n = default_threads();
    g_threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

void set_threads(int n) {
  if (n < 1) throw Error(Fault::usage, str("number of threads is ", n, ": want 1 or more"));
  WS_CHECK(!t_inside, "set_threads inside parallel_for");
  g_threads.store(n, std::memory_order_relaxed);
}

void claim_team() {
  struct Claim {
    Claim() { t_claims = true, ++g_claims; }
    ~Claim() { t_claims = false, --g_claims; }
  };
  thread_local Claim claim;  // given back when the thread ends
  (void)claim;
}

int thread_index() { return t_index; }

}  // namespace wellspring
