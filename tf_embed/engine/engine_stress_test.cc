// Many threads at once, for the thread sanitizer: what must hold is that
// nothing hangs, no batch is lost, and the sums come out right.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/engine/engine.h"
#include "tf_embed/engine/engine_testing.h"

namespace tf_embed {
namespace {

constexpr int kSteps = 200;

// A core's training loop, with receives that are cancelled or time out now and
// then and are tried again.
void TrainCore(Engine& engine, int core, std::atomic<int>& ended) {
  SerialExecutor executor;
  std::mt19937 random(core);
  for (int step = 0; step < kSteps;) {
    PendingReceive pending = StartReceive(
        engine, CoreRange{core, 1}, std::chrono::microseconds(random() % 2000));
    if (random() % 4 == 0) engine.CancelReceive(pending.ticket);
    const StatusOr<ReceivedBatches> batches = pending.result.get();
    if (!batches.ok()) {
      ASSERT_TRUE(batches.status().code() == StatusCode::kCancelled ||
                  batches.status().code() == StatusCode::kDeadlineExceeded)
          << batches.status().message();
      ++ended;
      continue;
    }
    LookUp(engine, *batches, executor);
    const Status status =
        SendGradients(engine, CoreRange{core, 1}, {{1, 1}}, {}, executor);
    ASSERT_TRUE(status.ok()) << status.message();
    ++step;
  }
}

void RunStress(bool pipelined) {
  constexpr int kCores = 3;
  EngineConfig config = OneTable(4, 1, 2, kCores);
  config.pipeline_execution_with_tensor_core = pipelined;
  const auto engine = MakeEngine(config);
  std::atomic<bool> stop{false};
  std::atomic<int> ended{0};
  std::vector<std::thread> training;
  for (int core = 0; core < kCores; ++core) {
    training.emplace_back([&, core] {
      for (int step = 0; step < kSteps; ++step) {
        ASSERT_TRUE(EnqueueDense(*engine, core, {0, step % 4}).ok());
      }
    });
    training.emplace_back([&, core] { TrainCore(*engine, core, ended); });
  }
  std::thread reader([&] {
    float last = 0;
    while (!stop) {
      const float row0 = RetrieveTable(*engine, 0)[0][0];
      EXPECT_LE(row0, last);  // only ever decreases
      EXPECT_EQ(row0, static_cast<int64_t>(row0));
      last = row0;
      engine->Stats();
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : training) thread.join();
  stop = true;
  reader.join();
  // Row 0: once per step and core at position 0, each fourth step at 1.
  EXPECT_EQ(RetrieveTable(*engine, 0)[0],
            (Matrix{-kCores * (kSteps + kSteps / 4.0f), -kCores * kSteps / 4.0f,
                    -kCores * kSteps / 4.0f, -kCores * kSteps / 4.0f}));
  EXPECT_EQ(engine->Stats().steps_completed, kSteps);
  EXPECT_EQ(engine->Stats().batches_received, kCores * kSteps);
}

TEST(EngineStressTest, TrainingWithCancellationLosesNothing) {
  RunStress(/*pipelined=*/false);
}

TEST(EngineStressTest, PipelinedTrainingLosesNothing) {
  RunStress(/*pipelined=*/true);
}

TEST(EngineStressTest, InferenceLoadAndRetrieveRunBesideOneAnother) {
  const auto engine = MakeEngine(OneTable(64, 8, 16, 4));
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int core = 0; core < 4; ++core) {
    threads.emplace_back([&, core] {
      ThreadPool pool(2);
      while (!stop) {
        ASSERT_TRUE(EnqueueDense(*engine, core, std::vector<int64_t>(16, 5),
                                 Mode::kInference)
                        .ok());
        const ReceivedBatches batches = *Receive(*engine, CoreRange{core, 1});
        const Matrix activations = LookUp(*engine, batches, pool)[0];
        // A Load is seen as a whole or not at all.
        EXPECT_EQ(activations, Matrix(16 * 8, activations[0]));
      }
    });
  }
  for (int value = 1; value <= 300; ++value) {
    ASSERT_TRUE(LoadShard(*engine, 0, {}, 64, {Matrix(64 * 8, value)}).ok());
    EXPECT_EQ(RetrieveTable(*engine, 0)[0], Matrix(64 * 8, value));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(EngineStressTest, ShutdownAtAnyTimeEndsEveryThread) {
  for (int trial = 0; trial < 50; ++trial) {
    EngineConfig config = OneTable(4, 1, 1, 2);
    config.pipeline_execution_with_tensor_core = trial % 2;
    const auto engine = MakeEngine(config);
    std::vector<std::thread> threads;
    for (int core = 0; core < 2; ++core) {
      threads.emplace_back([&, core] {
        SerialExecutor executor;
        while (EnqueueDense(*engine, core, {0}).ok()) {
          const StatusOr<ReceivedBatches> batches =
              Receive(*engine, CoreRange{core, 1});
          if (!batches.ok()) return;
          float value = 0;
          float* output = &value;
          if (!engine->Lookup(*batches, {&output, 1}, executor).ok()) return;
          if (!SendGradients(*engine, CoreRange{core, 1}, {{1}}, {}, executor)
                   .ok()) {
            return;
          }
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::microseconds(trial * 40));
    engine->Shutdown("the test says so");
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace tf_embed
