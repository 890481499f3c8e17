#include "tf_embed/engine/timer.h"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

TEST(TimerTest, CallsInOrderOfTime) {
  Timer timer;
  std::promise<void> done;
  std::vector<int> order;
  const auto now = Timer::Clock::now();
  timer.Schedule(1, now + milliseconds(30), [&] {
    order.push_back(1);
    done.set_value();
  });
  timer.Schedule(2, now + milliseconds(10), [&] { order.push_back(2); });
  timer.Schedule(3, now - hours(1), [&] { order.push_back(3); });
  done.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{3, 2, 1}));
  EXPECT_GE(Timer::Clock::now(), now + milliseconds(30));
}

TEST(TimerTest, CancelledCallsAreDropped) {
  Timer timer;
  std::promise<void> done;
  std::atomic<bool> called{false};
  auto held = std::make_shared<int>(0);
  std::weak_ptr<int> watch = held;
  const auto now = Timer::Clock::now();
  timer.Schedule(1, now + milliseconds(10),
                 [&, held = std::move(held)] { called = true; });
  timer.Schedule(2, now + milliseconds(20), [&] { done.set_value(); });
  timer.Cancel(1);
  EXPECT_TRUE(watch.expired());
  timer.Cancel(77);
  done.get_future().wait();
  EXPECT_FALSE(called);
}

TEST(TimerTest, DestructionDropsWhatIsPending) {
  std::atomic<bool> called{false};
  {
    Timer timer;
    timer.Schedule(1, Timer::Clock::now() + hours(1), [&] { called = true; });
  }
  EXPECT_FALSE(called);
}

TEST(TimerTest, CallMayDestroyTheTimer) {
  auto timer = std::make_unique<Timer>();
  std::promise<void> done;
  timer->Schedule(1, Timer::Clock::now(), [&] {
    timer.reset();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace
}  // namespace tf_embed
