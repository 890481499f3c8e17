#include "tf_embed/base/thread_pool.h"

#include <atomic>
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

}  // namespace
}  // namespace tf_embed
