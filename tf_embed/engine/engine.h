#ifndef TF_EMBED_TF_EMBED_ENGINE_ENGINE_H_
#define TF_EMBED_TF_EMBED_ENGINE_ENGINE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tf_embed/base/executor.h"
#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"
#include "tf_embed/engine/batch.h"
#include "tf_embed/engine/config.h"
#include "tf_embed/engine/engine_stats.h"
#include "tf_embed/engine/table_storage.h"
#include "tf_embed/optimizers/optimizer.h"

namespace tf_embed {

struct EngineOptions {
  BatchOptions batch;
};

// A config found good and populated, and its tables without their memory: all
// of an engine that can be made while another one still has the memory.
struct EnginePlan {
  EngineConfig config;
  std::vector<TableStorage> tables;
};

// Consecutive cores that one op speaks for: one, or all cores of a replica
// under SPMD. Arrays of the op hold the cores' blocks one after the other.
struct CoreRange {
  int first = 0;
  int count = 1;
};

// Part `id` of `count` of a table, as Load and Retrieve ops name it.
struct Shard {
  int id = 0;
  int count = 1;
};

// A batch that was taken out of its core's queue. Holds the ids until the
// batch's gradients have been applied.
class ReceivedBatch;
using ReceivedBatches = std::vector<std::shared_ptr<ReceivedBatch>>;

// A TPU system's embedding engine: tables, one queue of batches per core, and
// the steps that join the cores.
//
//   ids:         Enqueue -> queue -> ReceiveAsync -> Lookup -> activations
//   gradients:   Send -> step -> (all cores have sent) -> optimizer -> rows
//   parameters:  Load, Retrieve
//
// Thread-safe. Every call validates before it changes anything. `executor` is
// used during the call only. Lookup, Send, Load and Retrieve may wait for one
// another's table accesses, so they must not run in threads that another call's
// executor needs to make progress.
class Engine {
 public:
  // Populates and checks the config and plans its tables: refuses everything
  // that can be refused without allocating, so that an engine is given up only
  // for one that can take its place. ResourceExhausted where the tables cannot
  // fit into memory; that of `replaced`, if not null, counts as free.
  static StatusOr<EnginePlan> Plan(EngineConfig config, const Engine* replaced);
  // Allocates the tables: parameters 0, slot variables at their optimizer's
  // initial value.
  static StatusOr<std::shared_ptr<Engine>> Create(EnginePlan plan,
                                                  const EngineOptions& options,
                                                  Executor& executor);
  // Plan and Create, where nothing is replaced.
  static StatusOr<std::shared_ptr<Engine>> Create(EngineConfig config,
                                                  const EngineOptions& options,
                                                  Executor& executor);
  virtual ~Engine() = default;

  virtual const EngineConfig& config() const = 0;  // populated
  // Null where an inference config names no optimizer for the table.
  virtual const Optimizer* optimizer(int table) const = 0;

  // Copies the ids into the queue of `core` (-1: the only core there is).
  // mode: kUnspecified takes the config's.
  virtual Status Enqueue(int core, Mode mode,
                         const EnqueueRequest& request) = 0;

  // Takes the oldest batch of each core of `cores`, in one go, once all of
  // them have one and every step that these cores have sent is complete.
  // Calls `done` exactly once: in the caller's thread, before this returns,
  // if the batches are there; else later, in a thread of whoever enqueued,
  // sent, cancelled or shut down (which must not be held up: hand heavy work
  // on), or of the timer with DeadlineExceeded once `timeout` has passed. The
  // engine's locks are not held.
  // Returns a ticket for CancelReceive.
  using ReceiveCallback = std::function<void(StatusOr<ReceivedBatches>)>;
  virtual int64_t ReceiveAsync(CoreRange cores,
                               std::optional<std::chrono::nanoseconds> timeout,
                               ReceiveCallback done) = 0;

  // Calls the ticket's callback with Cancelled if it has not been called.
  virtual void CancelReceive(int64_t ticket) = 0;

  // Looks up and combines. outputs: one per feature, [cores * P_f, D_f].
  virtual Status Lookup(const ReceivedBatches& batches,
                        Span<float* const> outputs, Executor& executor) = 0;

  // Hands in the gradients of the oldest received training batch of each core
  // of `cores` (of `batches`, where given). The last core of a step runs the
  // update before it returns; the others return at once.
  //   gradients: one per feature, [cores * P_f, D_f]; kept alive by
  //     `keep_alive` until the step is complete.
  //   learning_rates: one per tag. Those of the last Send of a step count.
  virtual Status Send(CoreRange cores, Span<const float* const> gradients,
                      std::shared_ptr<void> keep_alive,
                      Span<const float> learning_rates,
                      const ReceivedBatches* batches, Executor& executor) = 0;

  // One state variable of a table: 0 is the parameters, 1 + s slot s.
  //   values: [rows of the shard, dimension], in local-row order.
  // Load takes all variables of the table at once: all or none is applied.
  virtual Status Load(int table, Shard shard,
                      Span<const float* const> variables, int64_t rows,
                      int64_t dim, Executor& executor) = 0;
  // Applies pending updates first. variables: as many as the table has.
  virtual Status Retrieve(int table, Shard shard, Span<float* const> variables,
                          Executor& executor) = 0;

  // Fails everything that waits with Aborted, and every later call with
  // FailedPrecondition.
  virtual void Shutdown(const std::string& reason) = 0;

  virtual EngineStats Stats() const = 0;
};

// The engine of this process, as a TPU system has one. Configuring again
// replaces it and shuts the old one down.
std::shared_ptr<Engine> ActiveEngine();  // null where there is none
void SetActiveEngine(std::shared_ptr<Engine> engine);  // null: tear down

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_ENGINE_H_
