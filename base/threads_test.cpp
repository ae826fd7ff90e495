#include "base/threads.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace wellspring {
namespace {

class Threads : public testing::Test {
 protected:
  void TearDown() override { set_threads(saved_); }
  int saved_ = threads();
};

TEST_F(Threads, EveryTileOnce) {
  for (int n : {1, 2, 3, 16, 64, 65}) {
    set_threads(n);
    for (const Deal deal : {Deal::apart, Deal::in_turn})
      for (int64_t tiles : {0, 1, 2, 7, 1000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(tiles));
        std::atomic<int> bad_index{0};
        parallel_for(
            tiles,
            [&](int64_t i) {
              ++hits[static_cast<size_t>(i)];
              if (thread_index() < 0 || thread_index() >= n) ++bad_index;
            },
            deal);
        for (auto& h : hits) ASSERT_EQ(h, 1);
        ASSERT_EQ(bad_index, 0);
      }
  }
}

TEST_F(Threads, TilesApartAndInTurn) {
  set_threads(2);
  // The first tile of each thread waits for the other's; not for ever, if there is but one thread to be had.
  const auto first_two = [](Deal deal) {
    std::atomic<int> begun{0};
    std::vector<int64_t> first(2, -1);
    parallel_for(
        10,
        [&](int64_t i) {
          int64_t& mine = first[static_cast<size_t>(thread_index())];
          if (mine >= 0) return;
          mine = i;
          ++begun;
          for (const double end = monotonic_seconds() + 10; begun < 2 && monotonic_seconds() < end;) std::this_thread::yield();
        },
        deal);
    std::sort(first.begin(), first.end());
    return first;
  };
  EXPECT_EQ(first_two(Deal::apart), (std::vector<int64_t>{0, 5}));
  EXPECT_EQ(first_two(Deal::in_turn), (std::vector<int64_t>{0, 1}));
}

TEST_F(Threads, ManyDispatches) {
  set_threads(2);
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 2000; ++round) parallel_for(4, [&](int64_t i) { sum += i; });
  EXPECT_EQ(sum, 2000 * 6);
}

TEST_F(Threads, NestedRunsInPlace) {
  set_threads(4);
  std::atomic<int> count{0}, moved{0};
  parallel_for(8, [&](int64_t) {
    auto self = std::this_thread::get_id();
    int index = thread_index();
    parallel_for(8, [&](int64_t) {
      ++count;
      if (std::this_thread::get_id() != self || thread_index() != index) ++moved;
    });
  });
  EXPECT_EQ(count, 64);
  EXPECT_EQ(moved, 0);
}

TEST_F(Threads, ExceptionComesOutAndTheTeamGoesOn) {
  set_threads(3);
  for (int round = 0; round < 20; ++round) {
    try {
      parallel_for(100, [&](int64_t i) {
        if (i == 17) throw Error(Fault::data, "tile 17");
      });
      FAIL();
    } catch (const Error& e) {
      EXPECT_STREQ(e.what(), "tile 17");
    }
  }
  std::atomic<int> count{0};
  parallel_for(100, [&](int64_t) { ++count; });
  EXPECT_EQ(count, 100);
}

TEST_F(Threads, OtherThreadsWorkWhileTheTeamIsBusy) {
  set_threads(2);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t)
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) parallel_for(10, [&](int64_t) { ++total; });
    });
  for (int round = 0; round < 50; ++round) parallel_for(10, [&](int64_t) { ++total; });
  for (auto& c : callers) c.join();
  EXPECT_EQ(total, 5 * 50 * 10);
}

TEST_F(Threads, AClaimedTeamServesItsThreadAlone) {
  set_threads(3);
  auto foreign_tiles = [] {  // tiles that ran on another thread than the caller
    std::atomic<int> moved{0};
    auto self = std::this_thread::get_id();
    parallel_for(64, [&](int64_t) {
      if (std::this_thread::get_id() != self) ++moved;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    });
    return moved.load();
  };
  int engine = 0, other = -1;
  std::thread([&] {
    claim_team();
    std::thread([&] { other = foreign_tiles(); }).join();
    engine = foreign_tiles();
  }).join();
  EXPECT_GT(engine, 0);
  EXPECT_EQ(other, 0);
  EXPECT_GT(foreign_tiles(), 0);  // the claim ended with its thread
  std::thread([&] {
    claim_team();
    std::thread([&] {
      claim_team();
      other = foreign_tiles();
    }).join();
    engine = foreign_tiles();
  }).join();
  EXPECT_GT(engine, 0);
  EXPECT_GT(other, 0) << "a second engine thread";
}

TEST_F(Threads, ForkedChildRunsAlone) {
  set_threads(2);
  parallel_for(4, [](int64_t) {});
  pid_t child = fork();
  if (child == 0) {
    int sum = 0;
    parallel_for(100, [&](int64_t i) { sum += static_cast<int>(i); });
    _exit(sum == 4950 && threads() == 1 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(Threads, ZeroThreadsRefused) { EXPECT_THROW(set_threads(0), Error); }

// Prints what a dispatch costs (no limit: the machine may be busy).
TEST_F(Threads, DispatchCost) {
  set_threads(2);
  constexpr int kRounds = 20000;
  parallel_for(2, [](int64_t) {});
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kRounds; ++i) parallel_for(2, [](int64_t) {});
  std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  RecordProperty("dispatch_us", std::to_string(took.count() / kRounds));
  std::printf("dispatch of 2 empty tiles on 2 threads: %.2f us\n", took.count() / kRounds);
}

}  // namespace
}  // namespace wellspring
