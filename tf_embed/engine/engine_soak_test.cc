// A million steps in flat memory. Takes a minute or so under a sanitizer.

#include <cstdint>

#include "gtest/gtest.h"
#include "tf_embed/base/memory_info.h"
#include "tf_embed/engine/engine.h"
#include "tf_embed/engine/engine_testing.h"

namespace tf_embed {
namespace {

TEST(EngineSoakTest, MillionStepsInFlatMemory) {
  constexpr int64_t kSteps = 1000000;
  // Long enough for a sanitizer's quarantine of freed memory to fill up.
  constexpr int64_t kWarmUp = kSteps / 2;
  const auto engine = MakeEngine(OneTable(100, 8, 16));
  SerialExecutor executor;
  const std::vector<Matrix> gradients = {Matrix(16 * 8, 0.5f)};
  int64_t resident = 0;
  for (int64_t step = 0; step < kSteps; ++step) {
    std::vector<int64_t> ids(16);
    for (int64_t i = 0; i < 16; ++i) ids[i] = (step + i * i) % 100;
    ASSERT_TRUE(EnqueueDense(*engine, 0, ids).ok());
    // A time limit each time: served waits must leave nothing behind.
    PendingReceive pending = StartReceive(*engine, {}, std::chrono::hours(10));
    ASSERT_TRUE(pending.done());
    LookUp(*engine, *pending.result.get(), executor);
    ASSERT_TRUE(SendGradients(*engine, {}, gradients, {}, executor).ok());
    // One that waits, is served, and one that is cancelled.
    if (step % 10 == 0) {
      PendingReceive cancelled =
          StartReceive(*engine, {}, std::chrono::hours(10));
      engine->CancelReceive(cancelled.ticket);
      ASSERT_FALSE(cancelled.result.get().ok());
    }
    if (step == kWarmUp) resident = ResidentMemoryBytes();
  }
  EXPECT_EQ(engine->Stats().steps_completed, kSteps);
  EXPECT_LT(ResidentMemoryBytes() - resident, 4 << 20);
}

}  // namespace
}  // namespace tf_embed
