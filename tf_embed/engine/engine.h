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

// Who receives or sends.
struct Caller {
  Caller() = default;
  Caller(CoreRange cores, int64_t run = 0) : cores(cores), run(run) {}

  CoreRange cores;
  // What one run of a program receives and sends has the same number; 0: it is
  // not known.
  int64_t run = 0;
};

// Part `id` of `count` of a table, as Load and Retrieve ops name it.
struct Shard {
  int id = 0;
  int count = 1;
};

// The state variables of a table's shard, as many as the table has: variable 0
// is the parameters, 1 + s slot s, each [rows, dim] in local-row order.
struct LoadedTable {
  int table = 0;
  Span<const float* const> variables;
  int64_t rows = 0;  // which Load checks
  int64_t dim = 0;
};
struct RetrievedTable {
  int table = 0;
  Span<float* const> variables;
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

  // Takes the oldest batch of each core of the caller, in one go, once all of
  // them have one and every step that these cores have sent is complete.
  // Calls `done` exactly once: in the caller's thread, before this returns,
  // if the batches are there; else later, in a thread of whoever enqueued,
  // sent, cancelled or shut down (which must not be held up: hand heavy work
  // on), or of the timer with DeadlineExceeded once `timeout` has passed. The
  // engine's locks are not held.
  // Returns a ticket for CancelReceive.
  using ReceiveCallback = std::function<void(StatusOr<ReceivedBatches>)>;
  virtual int64_t ReceiveAsync(const Caller& caller,
                               std::optional<std::chrono::nanoseconds> timeout,
                               ReceiveCallback done) = 0;

  // Calls the ticket's callback with Cancelled if it has not been called.
  virtual void CancelReceive(int64_t ticket) = 0;

  // Looks up and combines. outputs: one per feature, [cores * P_f, D_f].
  virtual Status Lookup(const ReceivedBatches& batches,
                        Span<float* const> outputs, Executor& executor) = 0;

  // Hands in the gradients of the oldest received training batch of each core
  // of the caller (of `batches`, where given). The last core of a step runs the
  // update before it returns; the others return at once. FailedPrecondition if
  // the oldest is of another run, and this run has received a later one: the
  // other must have failed, and what this one sends belongs to the later.
  //   gradients: one per feature, [cores * P_f, D_f]; kept alive by
  //     `keep_alive` until the step is complete.
  //   learning_rates: one per tag. Those of the last Send of a step count.
  virtual Status Send(const Caller& caller, Span<const float* const> gradients,
                      std::shared_ptr<void> keep_alive,
                      Span<const float> learning_rates,
                      const ReceivedBatches* batches, Executor& executor) = 0;

  // Drops all batches that were enqueued or received and not sent, and what
  // some cores have sent of a step: a fresh start after a run that failed.
  // Tables stay as they are, receives go on waiting. Returns how many batches.
  virtual StatusOr<int64_t> DiscardBatches(Executor& executor) = 0;

  // Writes, or reads, the shard of some tables between two steps, after all
  // updates that are pending: all or none is applied.
  virtual Status LoadTables(Shard shard, Span<const LoadedTable> tables,
                            Executor& executor) = 0;
  virtual Status RetrieveTables(Shard shard, Span<const RetrievedTable> tables,
                                Executor& executor) = 0;
  // The same of one table.
  Status Load(int table, Shard shard, Span<const float* const> variables,
              int64_t rows, int64_t dim, Executor& executor) {
    const LoadedTable loaded{table, variables, rows, dim};
    return LoadTables(shard, {&loaded, 1}, executor);
  }
  Status Retrieve(int table, Shard shard, Span<float* const> variables,
                  Executor& executor) {
    const RetrievedTable retrieved{table, variables};
    return RetrieveTables(shard, {&retrieved, 1}, executor);
  }

  // Fails everything that waits with Aborted, and every later call with
  // FailedPrecondition. Gives the memory of the tables back before it returns,
  // whoever still holds the engine.
  virtual void Shutdown(const std::string& reason) = 0;

  virtual EngineStats Stats() const = 0;
  // That of all tables.
  virtual MappedMemory Mapped() const = 0;
};

// The engine of this process, as a TPU system has one. Setting another one, or
// none, shuts the old one down for the reason that is given.
std::shared_ptr<Engine> ActiveEngine();  // null where there is none
void SetActiveEngine(std::shared_ptr<Engine> engine, const std::string& reason);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_ENGINE_H_
