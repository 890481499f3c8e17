#include "kernels/tf_executor.h"

#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/threadpool.h"
#include "tsl/platform/denormal.h"

namespace tf_embed {
namespace {

using ::tsl::thread::ThreadPool;

TEST(TfExecutorTest, RunsEachPieceOnce) {
  ThreadPool pool(tsl::Env::Default(), "test", 4);
  TfExecutor executor(&pool);
  EXPECT_EQ(executor.num_threads(), 4);
  for (int64_t num_pieces : {0, 1, 2, 3, 4, 5, 100, 1000}) {
    std::vector<std::atomic<int>> runs(num_pieces);
    executor.ParallelFor(num_pieces, [&](int64_t i) { ++runs[i]; });
    for (const auto& run : runs) EXPECT_EQ(run, 1);
  }
}

TEST(TfExecutorTest, NoPoolMeansTheCaller) {
  TfExecutor executor(static_cast<ThreadPool*>(nullptr));
  EXPECT_EQ(executor.num_threads(), 1);
  int64_t sum = 0;
  executor.ParallelFor(10, [&](int64_t i) { sum += i; });
  EXPECT_EQ(sum, 45);
}

// All threads of the pool are inside of ParallelFor, and each waits for
// helpers that can never start.
TEST(TfExecutorTest, CallsFromEveryThreadOfThePoolFinish) {
  std::atomic<int64_t> sum{0};
  {
    ThreadPool pool(tsl::Env::Default(), "test", 2);
    for (int call = 0; call < 50; ++call) {
      pool.Schedule([&] {
        TfExecutor executor(&pool);
        executor.ParallelFor(20, [&](int64_t i) {
          TfExecutor inner(&pool);
          inner.ParallelFor(3, [&](int64_t j) { sum += i * j; });
        });
      });
    }
  }  // Joins the threads.
  EXPECT_EQ(sum, 50 * 190 * 3);
}

// volatile: the compiler must not compute these.
bool KeepsDenormals() {
  volatile float smallest = std::numeric_limits<float>::denorm_min();
  volatile float sum = smallest + smallest;
  return sum != 0.0f;
}

TEST(TfExecutorTest, NoThreadFlushesDenormals) {
  ThreadPool pool(tsl::Env::Default(), "test", 4);
  const tsl::port::ScopedFlushDenormal flush;
  ASSERT_FALSE(KeepsDenormals());
  {
    TfExecutor executor(&pool);
    EXPECT_TRUE(KeepsDenormals());
    std::atomic<int> keeping{0};
    executor.ParallelFor(200, [&](int64_t) { keeping += KeepsDenormals(); });
    EXPECT_EQ(keeping, 200);
  }
  EXPECT_FALSE(KeepsDenormals());
}

}  // namespace
}  // namespace tf_embed
