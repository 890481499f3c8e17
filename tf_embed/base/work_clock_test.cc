#include "tf_embed/base/work_clock.h"

#include <chrono>
#include <cstdint>
#include <thread>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kMs = 1000 * 1000;

TEST(WorkClockTest, EachCounterGetsItsOwnTime) {
  TimeCounter a{0};
  TimeCounter b{5};
  {
    WorkClock clock(&a);
    std::this_thread::sleep_for(milliseconds(3));
    clock.Charge(&b);
    std::this_thread::sleep_for(milliseconds(2));
    clock.Charge(&a);
    std::this_thread::sleep_for(milliseconds(4));
  }
  EXPECT_GE(a, 7 * kMs);
  EXPECT_GE(b, 5 + 2 * kMs);
}

TEST(WorkClockTest, TimeWithoutCounterIsNotCounted) {
  TimeCounter a{0};
  const auto start = std::chrono::steady_clock::now();
  {
    WorkClock clock;
    std::this_thread::sleep_for(milliseconds(20));
    clock.Charge(&a);
    clock.Charge(nullptr);
    std::this_thread::sleep_for(milliseconds(20));
  }
  const std::chrono::nanoseconds elapsed =
      std::chrono::steady_clock::now() - start;
  EXPECT_LE(a + 40 * kMs, elapsed.count());
}

TEST(WorkClockTest, ChargingTheSameAgainGoesOn) {
  TimeCounter a{0};
  {
    WorkClock clock(&a);
    std::this_thread::sleep_for(milliseconds(2));
    clock.Charge(&a);
    EXPECT_EQ(a, 0);
  }
  EXPECT_GE(a, 2 * kMs);
}

}  // namespace
}  // namespace tf_embed
