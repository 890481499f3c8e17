#ifndef TF_EMBED_TF_EMBED_ENGINE_ENGINE_TESTING_H_
#define TF_EMBED_TF_EMBED_ENGINE_ENGINE_TESTING_H_

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/executor.h"
#include "tf_embed/engine/engine.h"
#include "tf_embed/engine/enqueue_builder.h"

namespace tf_embed {

// What the tests of the engine share: an engine's calls with vectors for
// arrays, and waiting for what is asynchronous.

using Matrix = std::vector<float>;  // row-major

inline std::shared_ptr<Engine> MakeEngine(const EngineConfig& config,
                                          const EngineOptions& options = {}) {
  SerialExecutor serial;
  StatusOr<std::shared_ptr<Engine>> engine =
      Engine::Create(config, options, serial);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return engine.ok() ? *engine : nullptr;
}

// One table 't' of `rows` x `dim` with one feature of `positions`, SGD.
inline EngineConfig OneTable(int64_t rows, int64_t dim, int64_t positions,
                             int num_cores = 1) {
  EngineConfig config;
  config.mode = Mode::kTraining;
  config.num_tensor_cores = num_cores;
  TableConfig table;
  table.name = "t";
  table.vocabulary_size = rows;
  table.dimension = dim;
  table.optimizer.params = SgdParams{};
  table.optimizer.learning_rate.constant = 1.0f;
  config.tables = {table};
  config.features = {{"f", 0, {positions}}};
  return config;
}

inline Status EnqueueDense(Engine& engine, int core,
                           const std::vector<int64_t>& ids,
                           Mode mode = Mode::kUnspecified) {
  EnqueueBuilder builder;
  builder.Dense(ids);
  return engine.Enqueue(core, mode, builder.Build());
}

// A receive whose result can be waited for.
struct PendingReceive {
  int64_t ticket = 0;
  std::future<StatusOr<ReceivedBatches>> result;

  bool done() const {
    return result.wait_for(std::chrono::seconds(0)) ==
           std::future_status::ready;
  }
};

inline PendingReceive StartReceive(
    Engine& engine, const Caller& caller = {},
    std::optional<std::chrono::nanoseconds> timeout = std::nullopt) {
  auto promise = std::make_shared<std::promise<StatusOr<ReceivedBatches>>>();
  PendingReceive pending;
  pending.result = promise->get_future();
  pending.ticket = engine.ReceiveAsync(
      caller, timeout, [promise](StatusOr<ReceivedBatches> batches) {
        promise->set_value(std::move(batches));
      });
  return pending;
}

inline StatusOr<ReceivedBatches> Receive(Engine& engine,
                                         const Caller& caller = {}) {
  return StartReceive(engine, caller).result.get();
}

// The activations, one matrix per feature.
inline std::vector<Matrix> LookUp(Engine& engine,
                                  const ReceivedBatches& batches,
                                  Executor& executor) {
  const EngineConfig& config = engine.config();
  std::vector<Matrix> outputs;
  std::vector<float*> pointers;
  for (const FeatureConfig& feature : config.features) {
    outputs.emplace_back(batches.size() * feature.num_positions() *
                             config.tables[feature.table_id].dimension,
                         -12345.0f);
  }
  for (Matrix& output : outputs) pointers.push_back(output.data());
  const Status status = engine.Lookup(batches, pointers, executor);
  EXPECT_TRUE(status.ok()) << status.message();
  return outputs;
}

inline Status SendGradients(Engine& engine, const Caller& caller,
                            const std::vector<Matrix>& gradients,
                            const std::vector<float>& learning_rates,
                            Executor& executor,
                            const ReceivedBatches* batches = nullptr) {
  auto kept = std::make_shared<std::vector<Matrix>>(gradients);
  std::vector<const float*> pointers;
  for (const Matrix& gradient : *kept) pointers.push_back(gradient.data());
  return engine.Send(caller, pointers, kept, learning_rates, batches, executor);
}

// All variables of a shard of a table.
inline std::vector<Matrix> RetrieveShard(Engine& engine, int table, Shard shard,
                                         int64_t rows, int num_variables) {
  const int64_t dim = engine.config().tables[table].dimension;
  std::vector<Matrix> variables(num_variables, Matrix(rows * dim));
  std::vector<float*> pointers;
  for (Matrix& variable : variables) pointers.push_back(variable.data());
  SerialExecutor serial;
  const Status status = engine.Retrieve(table, shard, pointers, serial);
  EXPECT_TRUE(status.ok()) << status.message();
  return variables;
}

inline std::vector<Matrix> RetrieveTable(Engine& engine, int table) {
  const Optimizer* optimizer = engine.optimizer(table);
  return RetrieveShard(
      engine, table, {}, engine.config().tables[table].vocabulary_size,
      1 + (optimizer == nullptr ? 0 : optimizer->slots().size()));
}

inline Status LoadShard(Engine& engine, int table, Shard shard, int64_t rows,
                        const std::vector<Matrix>& variables) {
  std::vector<const float*> pointers;
  for (const Matrix& variable : variables) pointers.push_back(variable.data());
  SerialExecutor serial;
  return engine.Load(table, shard, pointers, rows,
                     engine.config().tables[table].dimension, serial);
}

inline void ExpectStatus(const Status& status, StatusCode code,
                         const std::string& message) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_EQ(status.message(), message);
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_ENGINE_TESTING_H_
