#include "tf_embed/base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

TEST(ThreadPoolTest, RunsEachPieceOnce) {
  for (int threads : {1, 2, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (int64_t pieces : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> calls(pieces);
      pool.ParallelFor(pieces, [&](int64_t i) { ++calls[i]; });
      for (int64_t i = 0; i < pieces; ++i) EXPECT_EQ(calls[i], 1) << i;
    }
  }
}

TEST(ThreadPoolTest, WritesOfPiecesAreVisibleToTheCaller) {
  ThreadPool pool(4);
  for (int round = 0; round < 200; ++round) {
    std::vector<int> values(64, 0);
    pool.ParallelFor(64, [&](int64_t i) { values[i] = round + 1; });
    for (int value : values) ASSERT_EQ(value, round + 1);
  }
}

TEST(ThreadPoolTest, CallersTakeTurns) {
  ThreadPool pool(2);
  std::atomic<int> calls{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        pool.ParallelFor(10, [&](int64_t) { ++calls; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(calls, 3 * 50 * 10);
}

TEST(ParallelRangesTest, CoversEachElementOnceInRangesOfAtLeastTheMinimum) {
  ThreadPool pool(3);
  for (int64_t n : {0, 1, 9, 10, 11, 119, 120, 121, 1000}) {
    std::mutex mutex;
    std::map<int64_t, int64_t> ranges;
    ParallelRanges(pool, n, 10, [&](int64_t begin, int64_t end) {
      std::lock_guard<std::mutex> lock(mutex);
      EXPECT_TRUE(ranges.emplace(begin, end).second);
    });
    int64_t next = 0;
    for (const auto& [begin, end] : ranges) {
      EXPECT_EQ(begin, next);
      if (n >= 10) {
        EXPECT_GE(end - begin, 10);
      }
      next = end;
    }
    EXPECT_EQ(next, n);
    EXPECT_EQ(ranges.size(), std::clamp<int64_t>(n / 10, 1, 12));
  }
}

}  // namespace
}  // namespace tf_embed
