#include "tf_embed/base/object_pool.h"

#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

TEST(ObjectPool, AnObjectComesBackAsItWasLeft) {
  ObjectPool<std::vector<int>> pool;
  const std::vector<int>* object;
  {
    const auto lease = pool.Take();
    lease->assign(1000, 7);
    object = lease.get();
  }
  const auto again = pool.Take();
  EXPECT_EQ(again.get(), object);
  EXPECT_EQ(*again, std::vector<int>(1000, 7));
}

TEST(ObjectPool, LentObjectsAreDistinct) {
  ObjectPool<int> pool;
  const auto a = pool.Take();
  const auto b = pool.Take();
  EXPECT_NE(a.get(), b.get());
}

TEST(ObjectPool, KeepsNoMoreThanItsLimit) {
  const auto counted = std::make_shared<int>();
  {
    ObjectPool<std::shared_ptr<int>> pool(2);
    {
      std::vector<ObjectPool<std::shared_ptr<int>>::Lease> leases;
      for (int i = 0; i < 5; ++i) {
        leases.push_back(pool.Take());
        *leases.back() = counted;
      }
      EXPECT_EQ(counted.use_count(), 6);
    }
    EXPECT_EQ(counted.use_count(), 3);
  }
  EXPECT_EQ(counted.use_count(), 1);
}

TEST(ObjectPool, AnObjectMayOutliveThePool) {
  auto pool = std::make_unique<ObjectPool<int>>();
  const auto lease = pool->Take();
  pool.reset();
  *lease = 3;
  EXPECT_EQ(*lease, 3);
}

TEST(ObjectPool, ServesThreads) {
  ObjectPool<int> pool;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool, t] {
      for (int i = 0; i < 1000; ++i) {
        const auto lease = pool.Take();
        *lease = t;
        std::this_thread::yield();
        ASSERT_EQ(*lease, t);  // nobody else has it
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace tf_embed
