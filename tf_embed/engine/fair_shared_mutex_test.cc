#include "tf_embed/engine/fair_shared_mutex.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

TEST(FairSharedMutexTest, WritersExcludeAllAndReadersShare) {
  FairSharedMutex mutex;
  std::atomic<int> readers{0};
  std::atomic<bool> shared{false};
  int value = 0;  // guarded by mutex
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        if (i % 5 == 0) {
          std::unique_lock<FairSharedMutex> lock(mutex);
          EXPECT_EQ(readers, 0);
          ++value;
        } else {
          std::shared_lock<FairSharedMutex> lock(mutex);
          if (++readers > 1) shared = true;
          EXPECT_GE(value, 0);
          --readers;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(value, 400);
  std::shared_lock<FairSharedMutex> first(mutex);
  std::shared_lock<FairSharedMutex> second(mutex);  // does not block
}

// Readers that overlap without end: the writer gets in all the same.
TEST(FairSharedMutexTest, ReadersDoNotKeepWritersOut) {
  FairSharedMutex mutex;
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!stop) {
        std::shared_lock<FairSharedMutex> lock(mutex);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  }
  for (int i = 0; i < 20; ++i) std::unique_lock<FairSharedMutex> lock(mutex);
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace tf_embed
