#include "tf_embed/engine/engine.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/engine/engine_testing.h"

namespace tf_embed {
namespace {

using std::chrono::milliseconds;

class EngineTest : public testing::Test {
 protected:
  SerialExecutor executor_;

  // Enqueues, receives and looks up on one core.
  ReceivedBatches Begin(Engine& engine, int core, std::vector<int64_t> ids) {
    EXPECT_TRUE(EnqueueDense(engine, core, ids).ok());
    return BeginEnqueued(engine, core);
  }
  ReceivedBatches BeginEnqueued(Engine& engine, int core) {
    StatusOr<ReceivedBatches> batches = Receive(engine, CoreRange{core, 1});
    EXPECT_TRUE(batches.ok()) << batches.status().message();
    if (!batches.ok()) return {};
    activations_ = LookUp(engine, *batches, executor_)[0];
    return *batches;
  }
  Status SendOn(Engine& engine, int core, Matrix gradient,
                const ReceivedBatches* batches = nullptr) {
    return SendGradients(engine, CoreRange{core, 1}, {std::move(gradient)}, {},
                         executor_, batches);
  }
  float Row0(Engine& engine) { return RetrieveTable(engine, 0)[0][0]; }

  Matrix activations_;  // of the last Begin
};

TEST_F(EngineTest, TablesBeginWithZerosAndInitialSlots) {
  EngineConfig config = OneTable(5, 3, 2);
  config.tables[0].optimizer.params = AdagradParams{};
  const auto engine = MakeEngine(config);
  const std::vector<Matrix> variables = RetrieveTable(*engine, 0);
  ASSERT_EQ(variables.size(), 2u);
  EXPECT_EQ(variables[0], Matrix(15, 0.0f));
  EXPECT_EQ(variables[1],
            Matrix(15, engine->optimizer(0)->slots()[0].initial_value));
}

TEST_F(EngineTest, OneStep) {
  const auto engine = MakeEngine(OneTable(4, 2, 3));
  ASSERT_TRUE(LoadShard(*engine, 0, {}, 4, {{0, 0, 1, 1, 2, 2, 3, 3}}).ok());
  Begin(*engine, 0, {1, 3, 1});
  EXPECT_EQ(activations_, (Matrix{1, 1, 3, 3, 1, 1}));
  ASSERT_TRUE(SendOn(*engine, 0, {1, 2, 10, 20, 100, 200}).ok());
  EXPECT_EQ(RetrieveTable(*engine, 0)[0],
            (Matrix{0, 0, -100, -201, 2, 2, -7, -17}));
}

TEST_F(EngineTest, CreateRefusesBadConfigs) {
  EngineConfig config = OneTable(4, 2, 3);
  config.tables[0].vocabulary_size = 0;
  EXPECT_EQ(Engine::Create(config, {}, executor_).status().code(),
            StatusCode::kInvalidArgument);
  config = OneTable(4, 2, 3);
  config.tables[0].optimizer.params = UserDefinedProgramParams{};
  const Status status = Engine::Create(config, {}, executor_).status();
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_EQ(status.message().rfind("Table 't': ", 0), 0u) << status.message();
}

TEST_F(EngineTest, CreateRefusesTablesThatDoNotFit) {
  const Status huge =
      Engine::Create(OneTable(int64_t{1} << 60, 64, 1), {}, executor_).status();
  EXPECT_EQ(huge.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(huge.message().rfind("Table 't' with 1152921504606846976 rows of "
                                 "dimension 64 and 0 slot variables needs more "
                                 "than 2^63 bytes; ",
                                 0),
            0u)
      << huge.message();
  const Status large =
      Engine::Create(OneTable(int64_t{1} << 40, 64, 1), {}, executor_).status();
  EXPECT_EQ(large.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(large.message().find("needs 281474976710656 bytes; "),
            std::string::npos)
      << large.message();
}

TEST_F(EngineTest, CoreMinusOneIsTheOnlyCore) {
  const auto one = MakeEngine(OneTable(4, 2, 1));
  EXPECT_TRUE(EnqueueDense(*one, -1, {1}).ok());
  EXPECT_EQ(one->Stats().queue_depth, (std::vector<int64_t>{1}));
  const auto two = MakeEngine(OneTable(4, 2, 1, 2));
  ExpectStatus(EnqueueDense(*two, -1, {1}), StatusCode::kInvalidArgument,
               "Core -1 is outside [0, 2).");
}

TEST_F(EngineTest, CoresOutsideTheConfigAreRefused) {
  const auto engine = MakeEngine(OneTable(4, 2, 1, 2));
  ExpectStatus(EnqueueDense(*engine, 2, {1}), StatusCode::kInvalidArgument,
               "Core 2 is outside [0, 2).");
  ExpectStatus(Receive(*engine, CoreRange{2, 1}).status(),
               StatusCode::kInvalidArgument, "Core 2 is outside [0, 2).");
  ExpectStatus(Receive(*engine, CoreRange{1, 2}).status(),
               StatusCode::kInvalidArgument,
               "2 cores from core 1 on are not in [0, 2).");
  ExpectStatus(
      Receive(*engine, CoreRange{1, std::numeric_limits<int>::max()}).status(),
      StatusCode::kInvalidArgument,
      "2147483647 cores from core 1 on are not in [0, 2).");
  ExpectStatus(SendOn(*engine, -3, {0, 0}), StatusCode::kInvalidArgument,
               "Core -3 is outside [0, 2).");
}

TEST_F(EngineTest, BadBatchEnqueuesNothing) {
  const auto engine = MakeEngine(OneTable(4, 2, 2));
  ExpectStatus(EnqueueDense(*engine, 0, {1, 4}), StatusCode::kInvalidArgument,
               "input 0 (feature 'f', table 't'): id 4 at index 1 is outside "
               "[0, 4).");
  EXPECT_EQ(engine->Stats().queue_depth, (std::vector<int64_t>{0}));
  EXPECT_EQ(engine->Stats().batches_enqueued, 0);
}

TEST_F(EngineTest, SendChecksItsArguments) {
  EngineConfig config = OneTable(4, 2, 1);
  config.tables[0].optimizer.learning_rate = {true, 0, 0};
  const auto engine = MakeEngine(config);
  const auto batches = Begin(*engine, 0, {1});
  const auto send = [&](std::vector<Matrix> gradients,
                        std::vector<float> rates) {
    return SendGradients(*engine, {}, gradients, rates, executor_);
  };
  ExpectStatus(send({}, {1}), StatusCode::kInvalidArgument,
               "Expected 1 gradients, one per feature, but got 0.");
  ExpectStatus(send({{1, 1}}, {}), StatusCode::kInvalidArgument,
               "Expected 1 learning rates, one per dynamic tag of the TPU "
               "embedding configuration, but got 0.");
  const float* missing = nullptr;
  const float rate = 0.5f;
  ExpectStatus(
      engine->Send({}, {&missing, 1}, nullptr, {&rate, 1}, nullptr, executor_),
      StatusCode::kInvalidArgument,
      "The gradient of feature 0 ('f') is missing.");
  EXPECT_TRUE(send({{1, 1}}, {0.5f}).ok());  // the errors consumed nothing
  EXPECT_EQ(RetrieveTable(*engine, 0)[0], (Matrix{0, 0, -.5, -.5, 0, 0, 0, 0}));
}

TEST_F(EngineTest, SendWithoutTrainingBatchFails) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  ExpectStatus(SendOn(*engine, 0, {1}), StatusCode::kFailedPrecondition,
               "Core 0 has no received training batch that awaits gradients.");
  ASSERT_TRUE(EnqueueDense(*engine, 0, {1}).ok());  // not received
  EXPECT_EQ(SendOn(*engine, 0, {1}).code(), StatusCode::kFailedPrecondition);
  BeginEnqueued(*engine, 0);
  EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {1}, Mode::kInference).ok());
  const ReceivedBatches inference = BeginEnqueued(*engine, 0);
  ExpectStatus(SendOn(*engine, 0, {1}), StatusCode::kFailedPrecondition,
               "Core 0 has no received training batch that awaits gradients; "
               "its last batch was enqueued for inference, which takes none.");
  ExpectStatus(SendOn(*engine, 0, {1}, &inference),
               StatusCode::kFailedPrecondition,
               "The batch of core 0 was enqueued for inference; it takes no "
               "gradients.");
}

TEST_F(EngineTest, SendOfGivenBatches) {
  const auto engine = MakeEngine(OneTable(4, 1, 1, 2));
  const ReceivedBatches batch = Begin(*engine, 0, {1});
  ExpectStatus(SendOn(*engine, 1, {1}, &batch), StatusCode::kInvalidArgument,
               "The batch was received on core 0, but its gradients are sent "
               "on core 1.");
  ExpectStatus(
      SendGradients(*engine, CoreRange{0, 2}, {{1, 1}}, {}, executor_, &batch),
      StatusCode::kInvalidArgument,
      "Gradients of 2 cores for 1 received batches.");
  EXPECT_TRUE(SendOn(*engine, 0, {1}, &batch).ok());
  ExpectStatus(
      SendOn(*engine, 0, {1}, &batch), StatusCode::kFailedPrecondition,
      "The gradients of step 0 of core 0 were sent already, or the batch "
      "was discarded.");
  const auto other = MakeEngine(OneTable(4, 1, 1, 2));
  const std::string foreign =
      "The batch was received from another TPU embedding engine than the "
      "active one.";
  ExpectStatus(SendOn(*other, 0, {1}, &batch), StatusCode::kFailedPrecondition,
               foreign);
  float out = 0;
  float* outputs[] = {&out};
  ExpectStatus(other->Lookup(batch, outputs, executor_),
               StatusCode::kFailedPrecondition, foreign);
}

TEST_F(EngineTest, GivenBatchesMaySendOutOfOrder) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  const ReceivedBatches first = Begin(*engine, 0, {0});
  const ReceivedBatches second = Begin(*engine, 0, {0});
  EXPECT_TRUE(SendOn(*engine, 0, {1}, &second).ok());
  EXPECT_EQ(engine->Stats().steps_completed, 0);  // steps complete in order
  EXPECT_TRUE(SendOn(*engine, 0, {1}, &first).ok());
  EXPECT_EQ(engine->Stats().steps_completed, 2);
  EXPECT_EQ(Row0(*engine), -2);
}

TEST_F(EngineTest, LookupChecksItsArguments) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  ASSERT_TRUE(EnqueueDense(*engine, 0, {1}).ok());
  const ReceivedBatches batches = *Receive(*engine);
  float* none = nullptr;
  ExpectStatus(engine->Lookup(batches, {}, executor_),
               StatusCode::kInvalidArgument,
               "Expected 1 outputs, one per feature, but got 0.");
  ExpectStatus(engine->Lookup(batches, {&none, 1}, executor_),
               StatusCode::kInvalidArgument,
               "The output of feature 0 ('f') is missing.");
}

TEST_F(EngineTest, OptimizersThatCannotUpdateRefuseSend) {
  EngineConfig config = OneTable(4, 1, 1);
  config.tables[0].optimizer.params = MdlAdagradLightParams{};
  const auto engine = MakeEngine(config);
  Begin(*engine, 0, {1});
  const Status status = SendOn(*engine, 0, {1});
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_EQ(status.message().rfind("Table 't': ", 0), 0u) << status.message();

  config.mode = Mode::kInference;
  config.tables[0].optimizer.params = std::monostate();
  const auto inference = MakeEngine(config);
  EXPECT_EQ(inference->optimizer(0), nullptr);
  ASSERT_TRUE(EnqueueDense(*inference, 0, {1}, Mode::kTraining).ok());
  BeginEnqueued(*inference, 0);
  ExpectStatus(SendOn(*inference, 0, {1}), StatusCode::kFailedPrecondition,
               "Table 't' takes no gradients: no optimization algorithm is "
               "specified.");
}

TEST_F(EngineTest, BackwardPassOnlyTakesGradientsWithoutReceive) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}, Mode::kBackwardPassOnly).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {1}).ok());
  ExpectStatus(Receive(*engine).status(), StatusCode::kFailedPrecondition,
               "The next batch of core 0 was enqueued as backward_pass_only: "
               "it has no activations; send its gradients first.");
  EXPECT_EQ(engine->Stats().queue_depth[0], 2);
  EXPECT_TRUE(SendOn(*engine, 0, {5}).ok());
  EXPECT_EQ(Row0(*engine), -5);
  BeginEnqueued(*engine, 0);
  EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
}

TEST_F(EngineTest, TrainingAndInferenceInterleave) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}, Mode::kTraining).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}, Mode::kInference).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}, Mode::kTraining).ok());
  const ReceivedBatches training = BeginEnqueued(*engine, 0);
  BeginEnqueued(*engine, 0);
  EXPECT_EQ(activations_, Matrix{0});  // received before the update
  EXPECT_TRUE(SendOn(*engine, 0, {3}).ok());
  BeginEnqueued(*engine, 0);
  EXPECT_EQ(activations_, Matrix{-3});
  EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}, Mode::kInference).ok());
  BeginEnqueued(*engine, 0);
  EXPECT_EQ(activations_, Matrix{-4});
}

TEST_F(EngineTest, LastCoreRunsTheJointUpdate) {
  const auto engine = MakeEngine(OneTable(4, 1, 1, 3));
  for (int core = 0; core < 3; ++core) Begin(*engine, core, {0});
  EXPECT_TRUE(SendOn(*engine, 1, {1}).ok());
  EXPECT_TRUE(SendOn(*engine, 2, {10}).ok());
  EXPECT_EQ(Row0(*engine), 0);
  EXPECT_TRUE(SendOn(*engine, 0, {100}).ok());
  EXPECT_EQ(Row0(*engine), -111);
  EXPECT_EQ(engine->Stats().tables[0].rows_updated, 1);
  EXPECT_EQ(engine->Stats().tables[0].ids_updated, 3);
}

TEST_F(EngineTest, ReceiveWaitsForTheStepsThatTheCoreHasSent) {
  const auto engine = MakeEngine(OneTable(4, 1, 1, 2));
  Begin(*engine, 0, {0});
  Begin(*engine, 1, {0});
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 1, {0}).ok());
  EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
  PendingReceive waiting = StartReceive(*engine, CoreRange{0, 1});
  EXPECT_FALSE(waiting.done());
  // Core 1 has not sent: queue order decides, so that one thread can go on.
  PendingReceive ahead = StartReceive(*engine, CoreRange{1, 1});
  EXPECT_TRUE(ahead.done());
  EXPECT_TRUE(SendOn(*engine, 1, {1}).ok());
  ASSERT_TRUE(waiting.done());
  EXPECT_EQ(LookUp(*engine, *waiting.result.get(), executor_)[0], Matrix{-2});
}

TEST_F(EngineTest, ReceivesOfACoreAreServedInTheirOrder) {
  const auto engine = MakeEngine(OneTable(4, 1, 1, 2));
  PendingReceive both = StartReceive(*engine, CoreRange{0, 2});
  PendingReceive second = StartReceive(*engine, CoreRange{1, 1});
  ASSERT_TRUE(EnqueueDense(*engine, 1, {1}).ok());
  EXPECT_FALSE(both.done());
  EXPECT_FALSE(second.done());  // the first one has a right to it
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}).ok());
  EXPECT_TRUE(both.done());
  EXPECT_FALSE(second.done());
  ASSERT_TRUE(EnqueueDense(*engine, 1, {1}).ok());
  EXPECT_TRUE(second.done());
}

TEST_F(EngineTest, CancellationFreesThoseBehind) {
  const auto engine = MakeEngine(OneTable(4, 1, 1, 2));
  PendingReceive both = StartReceive(*engine, CoreRange{0, 2});
  PendingReceive second = StartReceive(*engine, CoreRange{1, 1});
  ASSERT_TRUE(EnqueueDense(*engine, 1, {1}).ok());
  engine->CancelReceive(both.ticket);
  ExpectStatus(both.result.get().status(), StatusCode::kCancelled,
               "Waiting for a batch of ids was cancelled: core 0 has no "
               "enqueued batch.");
  EXPECT_TRUE(second.result.get().ok());
  engine->CancelReceive(both.ticket);  // once is enough
  engine->CancelReceive(second.ticket);
  engine->CancelReceive(987654321);
}

TEST_F(EngineTest, TimeoutNamesWhatIsMissing) {
  const auto engine = MakeEngine(OneTable(4, 1, 1, 2));
  ExpectStatus(StartReceive(*engine, CoreRange{1, 1}, milliseconds(1))
                   .result.get()
                   .status(),
               StatusCode::kDeadlineExceeded,
               "Waiting for a batch of ids took too long: core 1 has no "
               "enqueued batch.");
  Begin(*engine, 0, {0});
  Begin(*engine, 1, {0});
  EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}).ok());
  ExpectStatus(StartReceive(*engine, CoreRange{0, 1}, milliseconds(1))
                   .result.get()
                   .status(),
               StatusCode::kDeadlineExceeded,
               "Waiting for a batch of ids took too long: core 1 has not sent "
               "the gradients of step 0.");
}

TEST_F(EngineTest, TimeoutsDoNotFireOnceServed) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  PendingReceive soon = StartReceive(*engine, {}, milliseconds(50));
  PendingReceive endless = StartReceive(
      *engine, {},
      std::chrono::nanoseconds(std::numeric_limits<int64_t>::max()));
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}).ok());
  EXPECT_TRUE(soon.result.get().ok());
  EXPECT_TRUE(endless.result.get().ok());
  std::this_thread::sleep_for(milliseconds(60));
}

TEST_F(EngineTest, TimeoutMayReleaseTheEngine) {
  auto engine = MakeEngine(OneTable(4, 1, 1));
  std::promise<StatusCode> promise;
  Engine* raw = engine.get();
  raw->ReceiveAsync({}, milliseconds(20),
                    [engine = std::move(engine),
                     &promise](StatusOr<ReceivedBatches> batches) mutable {
                      engine.reset();  // the last reference
                      promise.set_value(batches.status().code());
                    });
  EXPECT_EQ(promise.get_future().get(), StatusCode::kDeadlineExceeded);
}

TEST_F(EngineTest, ShutdownAbortsWhatWaitsAndRefusesWhatFollows) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  PendingReceive waiting = StartReceive(*engine, {}, std::chrono::hours(1));
  engine->Shutdown("the test ends");
  engine->Shutdown("again");  // without effect
  ExpectStatus(waiting.result.get().status(), StatusCode::kAborted,
               "The TPU embedding engine was shut down while waiting for a "
               "batch of ids: the test ends.");
  const std::string refused =
      "The TPU embedding engine was shut down: the test ends.";
  const auto code = StatusCode::kFailedPrecondition;
  float value = 0;
  float* pointer = &value;
  ExpectStatus(EnqueueDense(*engine, 0, {0}), code, refused);
  ExpectStatus(Receive(*engine).status(), code, refused);
  ExpectStatus(engine->Lookup({}, {&pointer, 1}, executor_), code, refused);
  ExpectStatus(SendOn(*engine, 0, {0}), code, refused);
  ExpectStatus(engine->Retrieve(0, {}, {&pointer, 1}, executor_), code,
               refused);
  ExpectStatus(LoadShard(*engine, 0, {}, 4, {{1, 2, 3, 4}}), code, refused);
}

TEST_F(EngineTest, DestructionAbortsWhatWaits) {
  auto engine = MakeEngine(OneTable(4, 1, 1));
  PendingReceive waiting = StartReceive(*engine);
  engine.reset();
  EXPECT_EQ(waiting.result.get().status().code(), StatusCode::kAborted);
}

TEST_F(EngineTest, CallbacksMayCallTheEngine) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  int received = 0;
  std::function<void(StatusOr<ReceivedBatches>)> again =
      [&](StatusOr<ReceivedBatches> batches) {
        if (!batches.ok()) return;
        ++received;
        LookUp(*engine, *batches, executor_);
        EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
        engine->ReceiveAsync({}, std::nullopt, again);
      };
  engine->ReceiveAsync({}, std::nullopt, again);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(EnqueueDense(*engine, 0, {0}).ok());
  EXPECT_EQ(received, 5);
  EXPECT_EQ(Row0(*engine), -5);
}

TEST_F(EngineTest, SpmdHandlesCoresInOneGo) {
  EngineConfig config = OneTable(4, 1, 2, 4);
  config.spmd_sharding = {true, 2, false};
  const auto engine = MakeEngine(config);
  ASSERT_TRUE(LoadShard(*engine, 0, {}, 4, {{10, 11, 12, 13}}).ok());
  for (int core = 0; core < 4; ++core) {
    ASSERT_TRUE(EnqueueDense(*engine, core, {core, 0}).ok());
  }
  const ReceivedBatches left = *Receive(*engine, CoreRange{0, 2});
  const ReceivedBatches right = *Receive(*engine, CoreRange{2, 2});
  EXPECT_EQ(LookUp(*engine, right, executor_)[0], (Matrix{12, 10, 13, 10}));
  EXPECT_TRUE(
      SendGradients(*engine, CoreRange{0, 2}, {{1, 2, 3, 4}}, {}, executor_)
          .ok());
  EXPECT_TRUE(SendGradients(*engine, CoreRange{2, 2}, {{5, 6, 7, 8}}, {},
                            executor_, &right)
                  .ok());
  EXPECT_EQ(RetrieveTable(*engine, 0)[0],
            (Matrix{10 - 1 - 2 - 4 - 6 - 8, 11 - 3, 12 - 5, 13 - 7}));
}

TEST_F(EngineTest, LearningRatesOfTheLastSendCount) {
  EngineConfig config = OneTable(4, 1, 1, 2);
  config.tables[0].optimizer.learning_rate = {true, 0, 0};
  const auto engine = MakeEngine(config);
  Begin(*engine, 0, {0});
  Begin(*engine, 1, {0});
  EXPECT_TRUE(
      SendGradients(*engine, CoreRange{1, 1}, {{1}}, {100}, executor_).ok());
  EXPECT_TRUE(
      SendGradients(*engine, CoreRange{0, 1}, {{1}}, {0.5}, executor_).ok());
  EXPECT_EQ(Row0(*engine), -1);
}

TEST_F(EngineTest, GradientsAreKeptUntilTheStepIsComplete) {
  const auto engine = MakeEngine(OneTable(4, 1, 1, 2));
  Begin(*engine, 0, {0});
  Begin(*engine, 1, {0});
  auto gradient = std::make_shared<float>(7.0f);
  const float* pointer = gradient.get();
  std::weak_ptr<float> watch = gradient;
  ASSERT_TRUE(engine
                  ->Send(CoreRange{0, 1}, {&pointer, 1}, std::move(gradient),
                         {}, nullptr, executor_)
                  .ok());
  EXPECT_FALSE(watch.expired());
  ASSERT_TRUE(SendOn(*engine, 1, {1}).ok());
  EXPECT_TRUE(watch.expired());
  EXPECT_EQ(Row0(*engine), -8);
}

// Pipelining: activations of step n include the updates to n - 2, exactly.
class PipelineTest : public EngineTest {
 protected:
  std::shared_ptr<Engine> Pipelined(int num_cores = 1) {
    EngineConfig config = OneTable(4, 1, 1, num_cores);
    config.pipeline_execution_with_tensor_core = true;
    return MakeEngine(config);
  }
};

TEST_F(PipelineTest, LookupsLackExactlyOneUpdate) {
  const auto engine = Pipelined();
  for (int step = 0; step < 6; ++step) {
    Begin(*engine, 0, {0});
    EXPECT_EQ(activations_, Matrix{-std::max(0.0f, step - 1.0f)});
    EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
  }
  EXPECT_EQ(Row0(*engine), -6);  // Retrieve applies what is held
  Begin(*engine, 0, {0});
  EXPECT_EQ(activations_, Matrix{-6});
}

TEST_F(PipelineTest, SendingAfterTheNextLookupIsTheSame) {
  const auto engine = Pipelined();
  Begin(*engine, 0, {0});
  for (int step = 1; step < 6; ++step) {
    Begin(*engine, 0, {0});
    EXPECT_EQ(activations_, Matrix{-(step - 1.0f)});
    EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());  // of step - 1
  }
}

TEST_F(PipelineTest, UpdateWaitsForTheLookupsOfAllCores) {
  const auto engine = Pipelined(2);
  for (int step = 0; step < 5; ++step) {
    for (int core : {step % 2, 1 - step % 2}) {
      Begin(*engine, core, {0});
      EXPECT_EQ(activations_, Matrix{-2 * std::max(0.0f, step - 1.0f)});
    }
    for (int core = 0; core < 2; ++core) {
      EXPECT_TRUE(SendOn(*engine, core, {1}).ok());
    }
  }
}

TEST_F(PipelineTest, CoreThatIsAheadWaitsForTheUpdateItMustSee) {
  const auto engine = Pipelined(2);
  for (int core = 0; core < 2; ++core) Begin(*engine, core, {0});
  for (int core = 0; core < 2; ++core) {
    EXPECT_TRUE(SendOn(*engine, core, {1}).ok());
  }
  Begin(*engine, 0, {0});  // step 1; core 1 has not looked it up
  EXPECT_EQ(activations_, Matrix{0});
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}).ok());
  PendingReceive step2 = StartReceive(*engine, CoreRange{0, 1});
  EXPECT_FALSE(step2.done());
  Begin(*engine, 1, {0});
  EXPECT_EQ(activations_, Matrix{0});
  ASSERT_TRUE(step2.done());
  EXPECT_EQ(LookUp(*engine, *step2.result.get(), executor_)[0], Matrix{-2});
}

TEST_F(PipelineTest, InferenceAndLoadSeeAllUpdates) {
  const auto engine = Pipelined();
  Begin(*engine, 0, {0});
  EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}, Mode::kInference).ok());
  BeginEnqueued(*engine, 0);
  EXPECT_EQ(activations_, Matrix{-1});
  Begin(*engine, 0, {0});
  EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
  ASSERT_TRUE(LoadShard(*engine, 0, {}, 4, {{9, 9, 9, 9}}).ok());
  EXPECT_EQ(Row0(*engine), 9);  // the held update came before the Load
}

TEST_F(PipelineTest, BackwardPassOnlyStepsDoNotBlock) {
  const auto engine = Pipelined();
  for (int step = 0; step < 4; ++step) {
    ASSERT_TRUE(EnqueueDense(*engine, 0, {0}, Mode::kBackwardPassOnly).ok());
    EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
    Begin(*engine, 0, {0});
    EXPECT_TRUE(SendOn(*engine, 0, {1}).ok());
  }
  EXPECT_EQ(Row0(*engine), -8);
}

TEST_F(EngineTest, LoadAndRetrieveCheckTheirArguments) {
  EngineConfig config = OneTable(7, 2, 1);
  config.tables[0].optimizer.params = AdagradParams{};
  const auto engine = MakeEngine(config);
  const std::vector<Matrix> before = RetrieveTable(*engine, 0);
  const Matrix m(14, 1.0f);
  const auto code = StatusCode::kInvalidArgument;
  ExpectStatus(LoadShard(*engine, 0, {0, 0}, 7, {m, m}), code,
               "The value of num_shards must be >= 1. Currently set to: 0");
  ExpectStatus(LoadShard(*engine, 0, {3, 3}, 7, {m, m}), code,
               "The value of shard_id must be >= 0 and < 3. Currently set to: "
               "3");
  ExpectStatus(LoadShard(*engine, 0, {-1, 3}, 7, {m, m}), code,
               "The value of shard_id must be >= 0 and < 3. Currently set to: "
               "-1");
  ExpectStatus(LoadShard(*engine, 0, {}, 7, {m}), code,
               "Table 't' has 2 state variables, the parameters and 1 slot "
               "variables, but got 1.");
  ExpectStatus(LoadShard(*engine, 0, {1, 3}, 3, {m, m}), code,
               "Shard 1 of 3 of table 't' has shape [2,2], but got [3,2].");
  const float* pointers[] = {m.data(), m.data()};
  ExpectStatus(engine->Load(0, {}, pointers, 7, 3, executor_), code,
               "Shard 0 of 1 of table 't' has shape [7,2], but got [7,3].");
  ExpectStatus(engine->Load(1, {}, pointers, 7, 2, executor_), code,
               "table_id 1 is outside [0, 1).");
  ExpectStatus(engine->Load(-1, {}, pointers, 7, 2, executor_), code,
               "table_id -1 is outside [0, 1).");
  const float* missing[] = {m.data(), nullptr};
  ExpectStatus(engine->Load(0, {}, missing, 7, 2, executor_), code,
               "State variable 1 of table 't' is missing.");
  ExpectStatus(engine->Retrieve(2, {}, {}, executor_), code,
               "table_id 2 is outside [0, 1).");
  EXPECT_EQ(RetrieveTable(*engine, 0), before);
}

// Semantics 2.4: V = 13 on 5 shards.
TEST_F(EngineTest, ShardsHoldTheRowsOfTheSpecification) {
  const std::vector<std::vector<float>> div = {
      {0, 1, 2}, {3, 4, 5}, {6, 7, 8}, {9, 10}, {11, 12}};
  const std::vector<std::vector<float>> mod = {
      {0, 5, 10}, {1, 6, 11}, {2, 7, 12}, {3, 8}, {4, 9}};
  for (const bool is_mod : {false, true}) {
    EngineConfig config = OneTable(13, 1, 1);
    config.sharding_strategy =
        is_mod ? ShardingStrategy::kMod : ShardingStrategy::kDiv;
    const auto engine = MakeEngine(config);
    Matrix rows(13);
    for (int i = 0; i < 13; ++i) rows[i] = i;
    ASSERT_TRUE(LoadShard(*engine, 0, {}, 13, {rows}).ok());
    for (int shard = 0; shard < 5; ++shard) {
      const auto& want = (is_mod ? mod : div)[shard];
      EXPECT_EQ(RetrieveShard(*engine, 0, {shard, 5}, want.size(), 1)[0], want);
    }
  }
}

TEST_F(EngineTest, LoadRetrieveRoundTripIsExactForAnyShards) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 60; ++trial) {
    SCOPED_TRACE(trial);
    const int64_t rows = 1 + random() % 40;
    const int64_t dim = 1 + random() % 9;
    EngineConfig config = OneTable(rows, dim, 1);
    config.tables[0].optimizer.params = AdamParams{0.9f, 0.999f, 1e-7f};
    config.sharding_strategy =
        random() % 2 ? ShardingStrategy::kMod : ShardingStrategy::kDiv;
    const auto engine = MakeEngine(config);
    // Bits of all kinds, NaN payloads and denormals among them.
    std::vector<Matrix> whole(3, Matrix(rows * dim));
    for (Matrix& variable : whole) {
      for (float& value : variable) {
        const uint32_t bits = random();
        std::memcpy(&value, &bits, sizeof(value));
      }
    }
    ASSERT_TRUE(LoadShard(*engine, 0, {}, rows, whole).ok());
    const auto copy = MakeEngine(config);
    const int num_shards = 1 + random() % (2 * rows);  // empty ones too
    int64_t total = 0;
    for (int shard = 0; shard < num_shards; ++shard) {
      const int64_t count =
          rows / num_shards + (shard < rows % num_shards ? 1 : 0);
      total += count;
      const Shard name{shard, num_shards};
      ASSERT_TRUE(LoadShard(*copy, 0, name, count,
                            RetrieveShard(*engine, 0, name, count, 3))
                      .ok());
    }
    EXPECT_EQ(total, rows);
    const std::vector<Matrix> again = RetrieveTable(*copy, 0);
    for (int v = 0; v < 3; ++v) {
      EXPECT_EQ(std::memcmp(again[v].data(), whole[v].data(),
                            whole[v].size() * sizeof(float)),
                0);
    }
  }
}

TEST_F(EngineTest, StatsCount) {
  EngineOptions options;
  options.batch.prune_negative_ids = true;
  const auto engine = MakeEngine(OneTable(4, 2, 3), options);
  Begin(*engine, 0, {1, 1, -1});
  ASSERT_TRUE(SendOn(*engine, 0, Matrix(6, 1.0f)).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0, 1, 2}).ok());
  const EngineStats stats = engine->Stats();
  ASSERT_EQ(stats.tables.size(), 1u);
  EXPECT_EQ(stats.tables[0].name, "t");
  EXPECT_EQ(stats.tables[0].table_bytes, 4 * 2 * 4);
  EXPECT_EQ(stats.tables[0].ids_looked_up, 2);
  EXPECT_EQ(stats.tables[0].ids_updated, 2);
  EXPECT_EQ(stats.tables[0].ids_enqueued, 2 + 3);
  EXPECT_EQ(stats.tables[0].negative_ids_pruned, 1);
  EXPECT_EQ(stats.tables[0].unique_ids, 1);
  EXPECT_EQ(stats.tables[0].rows_updated, 1);
  EXPECT_EQ(stats.tables[0].bytes_looked_up, 2 * 2 * 4);
  EXPECT_EQ(stats.tables[0].bytes_updated, 1 * 2 * 4);
  EXPECT_EQ(stats.negative_ids_pruned, 1);
  EXPECT_EQ(stats.batches_enqueued, 2);
  EXPECT_EQ(stats.batches_received, 1);
  EXPECT_EQ(stats.steps_completed, 1);
  EXPECT_EQ(stats.queue_depth, (std::vector<int64_t>{1}));
  EXPECT_GT(stats.enqueue_ns, 0);
  EXPECT_GT(stats.lookup_ns, 0);
  EXPECT_GT(stats.update_ns, 0);
}

TEST_F(EngineTest, StatsCountAllRowsWhereTheOptimizerIsNotLazy) {
  EngineConfig config = OneTable(4, 2, 3);
  AdamParams adam{0.9f, 0.999f, 1e-7f};
  adam.use_non_lazy_adam = true;
  config.tables[0].optimizer.params = adam;
  const auto engine = MakeEngine(config);
  Begin(*engine, 0, {1, 1, 3});
  ASSERT_TRUE(SendOn(*engine, 0, Matrix(6, 1.0f)).ok());
  const TableStats stats = engine->Stats().tables[0];
  EXPECT_EQ(stats.unique_ids, 2);
  EXPECT_EQ(stats.rows_updated, 4);
  EXPECT_EQ(stats.bytes_updated, 4 * 2 * 4 * 3);
}

// One table has a thousand times the other's work, shared by several threads.
TEST_F(EngineTest, StatsTellTheTimesOfTablesApart) {
  constexpr int kRows = 20000;
  constexpr int kDim = 32;
  EngineConfig config = OneTable(kRows, kDim, kRows);
  config.tables.push_back(config.tables[0]);
  config.tables[1].name = "idle";
  config.features.push_back({"one", 1, {20}});
  const auto engine = MakeEngine(config);
  std::vector<int64_t> ids(kRows);
  std::iota(ids.begin(), ids.end(), 0);
  ThreadPool pool(3);
  EnqueueBuilder builder;
  builder.Dense(ids);
  builder.Dense(std::vector<int64_t>(20, 5));
  ASSERT_TRUE(engine->Enqueue(0, Mode::kTraining, builder.Build()).ok());
  const auto batches = Receive(*engine);
  ASSERT_TRUE(batches.ok());
  const std::vector<Matrix> activations = LookUp(*engine, *batches, pool);
  ASSERT_TRUE(SendGradients(*engine, {}, activations, {}, pool).ok());
  const std::vector<TableStats> tables = engine->Stats().tables;
  EXPECT_GT(tables[1].enqueue_ns, 0);
  EXPECT_GT(tables[1].lookup_ns, 0);
  EXPECT_GT(tables[1].update_ns, 0);
  EXPECT_GT(tables[0].enqueue_ns, tables[1].enqueue_ns);
  EXPECT_GT(tables[0].lookup_ns, tables[1].lookup_ns);
  EXPECT_GT(tables[0].update_ns, tables[1].update_ns);
}

TEST_F(EngineTest, ShutdownGivesTheTablesBack) {
  const auto engine = MakeEngine(OneTable(1 << 20, 4, 1));
  EXPECT_EQ(engine->Mapped().bytes, (1 << 20) * 4 * sizeof(float));
  engine->Shutdown("the test ends");
  EXPECT_EQ(engine->Mapped().bytes, 0);
}

// A run fails between its receive and its send; the next does not know of it.
TEST_F(EngineTest, BatchesOfAFailedRunAreNotTakenForThoseOfTheNext) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  ASSERT_TRUE(EnqueueDense(*engine, 0, {1}).ok());
  ASSERT_TRUE(Receive(*engine, {{}, /*run=*/7}).ok());
  ASSERT_TRUE(EnqueueDense(*engine, 0, {2}).ok());
  ASSERT_TRUE(Receive(*engine, {{}, 8}).ok());
  const std::vector<Matrix> gradients = {{1}};
  ExpectStatus(SendGradients(*engine, {{}, 8}, gradients, {}, executor_),
               StatusCode::kFailedPrecondition,
               "Core 0 received training batch 0 in an earlier run, which sent "
               "no gradients for it, and batch 1 in this one. Did the earlier "
               "run fail? Drop what it has left with "
               "tf_embed.discard_batches(), then enqueue again.");
  ASSERT_TRUE(EnqueueDense(*engine, 0, {0}).ok());
  EXPECT_EQ(*engine->DiscardBatches(executor_), 3);
  EXPECT_EQ(*engine->DiscardBatches(executor_), 0);
  EXPECT_EQ(engine->Stats().queue_depth[0], 0);
  EXPECT_EQ(engine->Stats().steps_completed, 0);
  EXPECT_FALSE(SendGradients(*engine, {}, gradients, {}, executor_).ok());

  ASSERT_TRUE(EnqueueDense(*engine, 0, {3}).ok());
  ASSERT_TRUE(Receive(*engine, {{}, 9}).ok());
  ASSERT_TRUE(SendGradients(*engine, {{}, 9}, gradients, {}, executor_).ok());
  EXPECT_EQ(engine->Stats().steps_completed, 1);
  EXPECT_EQ(RetrieveTable(*engine, 0)[0], (Matrix{0, 0, 0, -1}));
}

// Runs that receive and send apart from each other are in the order of queues.
TEST_F(EngineTest, RunsThatReceiveNothingSendForTheOldestBatch) {
  const auto engine = MakeEngine(OneTable(4, 1, 1));
  for (const int64_t run : {1, 2}) {
    ASSERT_TRUE(EnqueueDense(*engine, 0, {run}).ok());
    ASSERT_TRUE(Receive(*engine, {{}, run}).ok());
  }
  for (const int64_t run : {3, 4}) {
    const std::vector<Matrix> gradients = {{static_cast<float>(run)}};
    ASSERT_TRUE(
        SendGradients(*engine, {{}, run}, gradients, {}, executor_).ok());
  }
  EXPECT_EQ(RetrieveTable(*engine, 0)[0], (Matrix{0, -3, -4, 0}));
}

// Core 0 has sent, core 1 failed: nothing of the step is applied, and the cores
// go on together. With pipelining, the step before is held meanwhile.
TEST_F(EngineTest, DiscardedStepsAreAppliedOnNoCore) {
  for (const bool pipelined : {false, true}) {
    EngineConfig config = OneTable(4, 1, 1);
    config.num_tensor_cores = 2;
    config.pipeline_execution_with_tensor_core = pipelined;
    const auto engine = MakeEngine(config);
    const auto step = [&](const std::vector<int>& senders) {
      for (const int core : {0, 1}) {
        ASSERT_TRUE(EnqueueDense(*engine, core, {core}).ok());
        const auto batches = Receive(*engine, CoreRange{core});
        ASSERT_TRUE(batches.ok());
        LookUp(*engine, *batches, executor_);
      }
      for (const int core : senders) {
        ASSERT_TRUE(
            SendGradients(*engine, CoreRange{core}, {{1}}, {}, executor_).ok());
      }
    };
    step({0, 1});
    step({0});
    PendingReceive waiting = StartReceive(*engine, CoreRange{0});
    EXPECT_EQ(*engine->DiscardBatches(executor_), 2);
    EXPECT_EQ(engine->Stats().steps_completed, 1);
    ASSERT_TRUE(EnqueueDense(*engine, 0, {2}).ok());
    const auto batches = waiting.result.get();
    ASSERT_TRUE(batches.ok());
    EXPECT_EQ(LookUp(*engine, *batches, executor_)[0], Matrix{0});
    ASSERT_TRUE(
        SendGradients(*engine, CoreRange{0}, {{1}}, {}, executor_).ok());
    ASSERT_TRUE(EnqueueDense(*engine, 1, {3}).ok());
    ASSERT_TRUE(Receive(*engine, CoreRange{1}).ok());
    ASSERT_TRUE(
        SendGradients(*engine, CoreRange{1}, {{1}}, {}, executor_).ok());
    EXPECT_EQ(RetrieveTable(*engine, 0)[0], (Matrix{-1, -1, -1, -1}));
    EXPECT_EQ(engine->Stats().steps_completed, 2);
  }
}

TEST_F(EngineTest, ActiveEngineIsReplacedAndShutDown) {
  EXPECT_EQ(ActiveEngine(), nullptr);
  const auto first = MakeEngine(OneTable(4, 1, 1));
  const auto second = MakeEngine(OneTable(4, 1, 1));
  SetActiveEngine(first, "a mistake");
  SetActiveEngine(first, "a mistake");  // stays up
  EXPECT_EQ(ActiveEngine(), first);
  EXPECT_TRUE(EnqueueDense(*first, 0, {1}).ok());
  SetActiveEngine(second, "it was replaced");
  ExpectStatus(EnqueueDense(*first, 0, {1}), StatusCode::kFailedPrecondition,
               "The TPU embedding engine was shut down: it was replaced.");
  SetActiveEngine(nullptr, "nobody needs it");
  EXPECT_EQ(ActiveEngine(), nullptr);
  ExpectStatus(EnqueueDense(*second, 0, {1}), StatusCode::kFailedPrecondition,
               "The TPU embedding engine was shut down: nobody needs it.");
}

}  // namespace
}  // namespace tf_embed
