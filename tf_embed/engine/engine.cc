#include "tf_embed/engine/engine.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>

#include "tf_embed/base/object_pool.h"
#include "tf_embed/base/work_clock.h"
#include "tf_embed/engine/fair_shared_mutex.h"
#include "tf_embed/engine/received_batch.h"
#include "tf_embed/engine/shard_layout.h"
#include "tf_embed/engine/step_protocol.h"
#include "tf_embed/engine/timer.h"
#include "tf_embed/lookup/pooled_lookup.h"
#include "tf_embed/lookup/sparse_update.h"

namespace tf_embed {
namespace {

using Clock = std::chrono::steady_clock;

// Enough for a core whose next batch is enqueued while the last is in use.
constexpr size_t kFreeBatchesPerCore = 2;

// Longer waits are as good as endless, and would overflow the clock.
constexpr std::chrono::hours kLongestTimeout{24 * 365 * 100};

class Counter {
 public:
  void Add(int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  operator int64_t() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

struct TableCounters {
  Counter ids_enqueued;
  Counter negative_ids_pruned;
  Counter ids_looked_up;
  Counter ids_updated;
  Counter unique_ids;
  Counter rows_updated;
  TimeCounter lookup_ns{0};
  TimeCounter update_ns{0};
  TimeCounter load_ns{0};
  TimeCounter retrieve_ns{0};
};

void Call(std::vector<Delivery> deliveries) {
  for (Delivery& delivery : deliveries) {
    delivery.done(std::move(delivery.result));
  }
}

class EngineImpl final : public Engine {
 public:
  EngineImpl(EngineConfig config, const EngineOptions& options,
             std::vector<TableStorage> tables)
      : config_(std::move(config)),
        options_(options),
        num_learning_rates_(NumLearningRateTags(config_)),
        tables_(std::move(tables)),
        counters_(tables_.size()),
        table_enqueue_ns_(tables_.size()),
        batches_(kFreeBatchesPerCore * config_.num_tensor_cores),
        protocol_(config_.num_tensor_cores,
                  config_.pipeline_execution_with_tensor_core) {}

  ~EngineImpl() override { Shutdown("it was destroyed"); }

  const EngineConfig& config() const override { return config_; }
  const Optimizer* optimizer(int table) const override {
    return tables_[table].optimizer();
  }

  Status Enqueue(int core, Mode mode, const EnqueueRequest& request) override;
  int64_t ReceiveAsync(const Caller& caller,
                       std::optional<std::chrono::nanoseconds> timeout,
                       ReceiveCallback done) override;
  void CancelReceive(int64_t ticket) override;
  Status Lookup(const ReceivedBatches& batches, Span<float* const> outputs,
                Executor& executor) override;
  Status Send(const Caller& caller, Span<const float* const> gradients,
              std::shared_ptr<void> keep_alive,
              Span<const float> learning_rates, const ReceivedBatches* batches,
              Executor& executor) override;
  StatusOr<int64_t> DiscardBatches(Executor& executor) override;
  Status LoadTables(Shard shard, Span<const LoadedTable> tables,
                    Executor& executor) override;
  Status RetrieveTables(Shard shard, Span<const RetrievedTable> tables,
                        Executor& executor) override;
  void Shutdown(const std::string& reason) override;
  EngineStats Stats() const override;
  MappedMemory Mapped() const override;

 private:
  using Lock = std::unique_lock<std::mutex>;

  // OK until Shutdown.
  Status CheckRunning(const Lock& lock) const;
  Status CheckRunning() const { return CheckRunning(Lock(mutex_)); }
  Status CheckCores(CoreRange cores) const;
  template <typename Pointer>
  StatusOr<ShardRows> CheckShard(int table, Shard shard,
                                 Span<Pointer> variables) const;
  Status CheckGradients(Span<const float* const> gradients,
                        Span<const float> learning_rates) const;
  float LearningRateOf(size_t table, Span<const float> learning_rates) const {
    const LearningRate& rate = config_.tables[table].optimizer.learning_rate;
    return rate.dynamic ? learning_rates[rate.tag] : rate.constant;
  }

  // Ends a wait with `status`, if it has not ended yet.
  void EndReceive(int64_t ticket, StatusCode code);
  // Takes what can be delivered; the caller releases the lock and Calls it.
  std::vector<Delivery> TakeDeliveries(const Lock& lock);
  // Runs updates until none can run (with `flush`, none is held) and none is
  // running; delivers what they unblock. Releases the lock on its way.
  void RunUpdates(Lock& lock, bool flush, Executor& executor);
  void RunUpdate(const Step& step, Executor& executor);
  // Applies a held update, as what follows must see all of them.
  Status Flush(Executor& executor);

  const EngineConfig config_;
  const EngineOptions options_;
  const int num_learning_rates_;

  // Of the floats that tables_ points to: whoever has it must see that the
  // engine is running, since Shutdown releases them.
  mutable FairSharedMutex tables_mutex_;
  std::vector<TableStorage> tables_;

  std::vector<TableCounters> counters_;        // per table
  std::vector<TimeCounter> table_enqueue_ns_;  // per table
  TimeCounter enqueue_ns_{0};
  TimeCounter lookup_ns_{0};
  TimeCounter update_ns_{0};

  ObjectPool<Batch> batches_;

  mutable std::mutex mutex_;  // of all that follows; never held for long
  StepProtocol protocol_;
  bool shut_down_ = false;
  std::string shutdown_reason_;
  bool updating_ = false;  // whoever set it may use scratch and sources
  std::condition_variable update_finished_;
  SparseUpdateScratch scratch_;
  std::vector<std::vector<GradientSource>> sources_;  // per table
  std::vector<TableUpdate> updates_;

  Timer timer_;  // last: its thread ends before what its calls use
};

Status EngineImpl::CheckRunning(const Lock&) const {
  if (!shut_down_) return OkStatus();
  return FailedPrecondition(
      "The TPU embedding engine was shut down: ", shutdown_reason_, ".");
}

Status EngineImpl::CheckCores(CoreRange cores) const {
  const int num_cores = config_.num_tensor_cores;
  if (cores.count >= 1 && cores.first >= 0 &&
      cores.count <= num_cores - cores.first) {
    return OkStatus();
  }
  if (cores.count == 1) {
    return InvalidArgument("Core ", cores.first, " is outside [0, ", num_cores,
                           ").");
  }
  return InvalidArgument(cores.count, " cores from core ", cores.first,
                         " on are not in [0, ", num_cores, ").");
}

Status EngineImpl::Enqueue(int core, Mode mode, const EnqueueRequest& request) {
  if (core == -1 && config_.num_tensor_cores == 1) core = 0;
  TF_EMBED_RETURN_IF_ERROR(CheckRunning());
  TF_EMBED_RETURN_IF_ERROR(CheckCores({core, 1}));
  ObjectPool<Batch>::Lease batch = batches_.Take();
  {
    const WorkClock clock(&enqueue_ns_);
    TF_EMBED_RETURN_IF_ERROR(BuildBatch(config_, request, mode, options_.batch,
                                        *batch,
                                        Span<TimeCounter>(table_enqueue_ns_)));
  }
  for (size_t f = 0; f < config_.features.size(); ++f) {
    const FeatureBatch& feature = batch->features[f];
    TableCounters& counters = counters_[config_.features[f].table_id];
    counters.ids_enqueued.Add(feature.ids.size());
    counters.negative_ids_pruned.Add(feature.negative_ids_pruned);
  }
  Lock lock(mutex_);
  TF_EMBED_RETURN_IF_ERROR(CheckRunning(lock));
  protocol_.Enqueue(core, std::move(batch));
  std::vector<Delivery> deliveries = TakeDeliveries(lock);
  lock.unlock();
  Call(std::move(deliveries));
  return OkStatus();
}

std::vector<Delivery> EngineImpl::TakeDeliveries(const Lock&) {
  std::vector<Delivery> deliveries = protocol_.TakeDeliveries();
  for (const Delivery& delivery : deliveries) timer_.Cancel(delivery.ticket);
  return deliveries;
}

int64_t EngineImpl::ReceiveAsync(
    const Caller& caller, std::optional<std::chrono::nanoseconds> timeout,
    ReceiveCallback done) {
  Lock lock(mutex_);
  Status status = CheckRunning(lock);
  if (status.ok()) status = CheckCores(caller.cores);
  if (!status.ok()) {
    lock.unlock();
    done(std::move(status));
    return 0;  // no waiter has this ticket
  }
  const int64_t ticket = protocol_.AddWaiter(caller, std::move(done));
  std::vector<Delivery> deliveries = TakeDeliveries(lock);
  if (timeout.has_value() && *timeout < kLongestTimeout &&
      protocol_.IsWaiting(ticket)) {
    timer_.Schedule(ticket, Clock::now() + *timeout, [this, ticket] {
      EndReceive(ticket, StatusCode::kDeadlineExceeded);
    });
  }
  lock.unlock();
  Call(std::move(deliveries));
  return ticket;
}

void EngineImpl::EndReceive(int64_t ticket, StatusCode code) {
  Lock lock(mutex_);
  if (!protocol_.IsWaiting(ticket)) return;
  Status status(code, StrCat("Waiting for a batch of ids ",
                             code == StatusCode::kCancelled ? "was cancelled"
                                                            : "took too long",
                             ": ", protocol_.WhyWaiting(ticket), "."));
  ReceiveCallback done = protocol_.RemoveWaiter(ticket);
  timer_.Cancel(ticket);
  std::vector<Delivery> deliveries = TakeDeliveries(lock);  // those behind it
  lock.unlock();
  Call(std::move(deliveries));
  done(std::move(status));
}

void EngineImpl::CancelReceive(int64_t ticket) {
  EndReceive(ticket, StatusCode::kCancelled);
}

Status EngineImpl::Lookup(const ReceivedBatches& batches,
                          Span<float* const> outputs, Executor& executor) {
  TF_EMBED_RETURN_IF_ERROR(CheckRunning());
  const size_t num_features = config_.features.size();
  if (outputs.size() != num_features) {
    return InvalidArgument("Expected ", num_features,
                           " outputs, one per feature, but got ",
                           outputs.size(), ".");
  }
  bool flush = false;
  for (const auto& batch : batches) {
    if (batch == nullptr || batch->owner() != protocol_.id()) {
      return FailedPrecondition(
          "The batch was received from another TPU embedding engine than the "
          "active one.");
    }
    flush |= !batch->is_training();
  }
  for (size_t f = 0; f < num_features; ++f) {
    if (outputs[f] == nullptr) {
      return InvalidArgument("The output of feature ", f, " ('",
                             config_.features[f].name, "') is missing.");
    }
  }
  if (flush && config_.pipeline_execution_with_tensor_core) {
    TF_EMBED_RETURN_IF_ERROR(Flush(executor));
  }

  std::shared_lock<FairSharedMutex> tables_lock(tables_mutex_);
  TF_EMBED_RETURN_IF_ERROR(CheckRunning());
  std::vector<LookupTask> tasks;
  tasks.reserve(batches.size() * num_features);
  for (size_t core = 0; core < batches.size(); ++core) {
    for (size_t f = 0; f < num_features; ++f) {
      const int t = config_.features[f].table_id;
      const auto& quantization =
          config_.tables[t].optimizer.simulated_quantization;
      const TableView table = tables_[t].view();
      LookupTask task;
      task.ids = batches[core]->batch().features[f].view();
      task.weights = table.weights;
      task.dim = table.dim;
      task.quantization = quantization.has_value() ? &*quantization : nullptr;
      task.output = outputs[f] + core * task.ids.num_positions * table.dim;
      task.time_ns = &counters_[t].lookup_ns;
      tasks.push_back(task);
      counters_[t].ids_looked_up.Add(task.ids.ids.size());
    }
  }
  {
    const WorkClock clock(&lookup_ns_);
    PooledLookup(tasks, executor);
  }
  tables_lock.unlock();
  if (!config_.pipeline_execution_with_tensor_core) return OkStatus();
  Lock lock(mutex_);
  for (const auto& batch : batches) {
    if (batch->is_training()) protocol_.MarkLookedUp(*batch);
  }
  RunUpdates(lock, /*flush=*/false, executor);
  return OkStatus();
}

Status EngineImpl::CheckGradients(Span<const float* const> gradients,
                                  Span<const float> learning_rates) const {
  if (gradients.size() != config_.features.size()) {
    return InvalidArgument("Expected ", config_.features.size(),
                           " gradients, one per feature, but got ",
                           gradients.size(), ".");
  }
  for (size_t f = 0; f < gradients.size(); ++f) {
    if (gradients[f] == nullptr) {
      return InvalidArgument("The gradient of feature ", f, " ('",
                             config_.features[f].name, "') is missing.");
    }
  }
  if (learning_rates.size() != static_cast<size_t>(num_learning_rates_)) {
    return InvalidArgument("Expected ", num_learning_rates_,
                           " learning rates, one per dynamic tag of the TPU "
                           "embedding configuration, but got ",
                           learning_rates.size(), ".");
  }
  for (size_t t = 0; t < tables_.size(); ++t) {
    const Optimizer* optimizer = tables_[t].optimizer();
    if (optimizer == nullptr) {
      return FailedPrecondition("Table '", config_.tables[t].name,
                                "' takes no gradients: no optimization "
                                "algorithm is specified.");
    }
    Status status = optimizer->CanUpdate();
    if (status.ok()) {
      status = optimizer->CheckLearningRate(LearningRateOf(t, learning_rates));
    }
    if (!status.ok()) {
      return Status(status.code(), StrCat("Table '", config_.tables[t].name,
                                          "': ", status.message()));
    }
  }
  return OkStatus();
}

Status EngineImpl::Send(const Caller& caller,
                        Span<const float* const> gradients,
                        std::shared_ptr<void> keep_alive,
                        Span<const float> learning_rates,
                        const ReceivedBatches* batches, Executor& executor) {
  const CoreRange cores = caller.cores;
  TF_EMBED_RETURN_IF_ERROR(CheckRunning());
  TF_EMBED_RETURN_IF_ERROR(CheckCores(cores));
  TF_EMBED_RETURN_IF_ERROR(CheckGradients(gradients, learning_rates));
  std::vector<CoreGradients> blocks(cores.count);
  for (int i = 0; i < cores.count; ++i) {
    blocks[i].keep_alive = keep_alive;
    blocks[i].gradients.resize(gradients.size());
    for (size_t f = 0; f < gradients.size(); ++f) {
      const FeatureConfig& feature = config_.features[f];
      blocks[i].gradients[f] =
          gradients[f] + i * feature.num_positions() *
                             config_.tables[feature.table_id].dimension;
    }
  }
  keep_alive.reset();

  Lock lock(mutex_);
  TF_EMBED_RETURN_IF_ERROR(CheckRunning(lock));
  TF_EMBED_ASSIGN_OR_RETURN(const ReceivedBatches sent,
                            protocol_.FindUnsent(caller, batches));
  if (protocol_.Send(sent, std::move(blocks), learning_rates)) {
    RunUpdates(lock, /*flush=*/false, executor);
    if (shut_down_) {
      return Aborted("The TPU embedding engine was shut down during a step: ",
                     shutdown_reason_, ".");
    }
  }
  // A batch for backward_pass_only may have made room for the next one.
  std::vector<Delivery> deliveries = TakeDeliveries(lock);
  lock.unlock();
  Call(std::move(deliveries));
  return OkStatus();
}

void EngineImpl::RunUpdates(Lock& lock, bool flush, Executor& executor) {
  while (!shut_down_) {
    if (updating_) {
      update_finished_.wait(lock);
      continue;
    }
    std::unique_ptr<Step> step = protocol_.TakeUpdate(flush);
    if (step != nullptr) {
      updating_ = true;
      lock.unlock();
      RunUpdate(*step, executor);
      lock.lock();
      protocol_.FinishUpdate(*step);
      updating_ = false;
      update_finished_.notify_all();
    }
    // Without an update too: holding one back completes its step.
    std::vector<Delivery> deliveries = TakeDeliveries(lock);
    if (step == nullptr && deliveries.empty()) return;
    lock.unlock();
    step.reset();  // frees ids and gradients, which may call the caller's code
    Call(std::move(deliveries));
    lock.lock();
  }
}

void EngineImpl::RunUpdate(const Step& step, Executor& executor) {
  std::unique_lock<FairSharedMutex> tables_lock(tables_mutex_);
  if (!CheckRunning().ok()) return;
  sources_.resize(tables_.size());
  for (auto& sources : sources_) sources.clear();
  for (const CoreGradients& core : step.cores) {
    for (size_t f = 0; f < config_.features.size(); ++f) {
      const PooledIds ids = core.batch->batch().features[f].view();
      const int t = config_.features[f].table_id;
      sources_[t].push_back({ids, core.gradients[f]});
      counters_[t].ids_updated.Add(ids.ids.size());
    }
  }
  updates_.clear();
  for (size_t t = 0; t < tables_.size(); ++t) {
    const OptimizerConfig& optimizer = config_.tables[t].optimizer;
    TableUpdate update;
    update.table = tables_[t].view();
    update.optimizer = tables_[t].optimizer();
    update.scalars.learning_rate = LearningRateOf(t, step.learning_rates);
    if (const auto* params =
            std::get_if<FrequencyAwareAdagradParams>(&optimizer.params)) {
      update.scalars.step_counter =
          step.learning_rates[params->step_counter_tag];
    }
    update.sources = sources_[t];
    update.time_ns = &counters_[t].update_ns;
    updates_.push_back(update);
  }
  {
    const WorkClock clock(&update_ns_);
    SparseUpdate(updates_, scratch_, executor);
  }
  tables_lock.unlock();
  for (size_t t = 0; t < tables_.size(); ++t) {
    const TableUpdate& update = updates_[t];
    counters_[t].unique_ids.Add(update.rows_touched);
    counters_[t].rows_updated.Add(update.optimizer->UpdatesUntouchedRows()
                                      ? update.table.rows
                                      : update.rows_touched);
  }
}

Status EngineImpl::Flush(Executor& executor) {
  Lock lock(mutex_);
  RunUpdates(lock, /*flush=*/true, executor);
  return CheckRunning(lock);
}

StatusOr<int64_t> EngineImpl::DiscardBatches(Executor& executor) {
  Lock lock(mutex_);
  RunUpdates(lock, /*flush=*/true, executor);
  TF_EMBED_RETURN_IF_ERROR(CheckRunning(lock));
  const StepProtocol::Remains remains = protocol_.Clear();
  lock.unlock();  // before the remains go: that may call the caller's code
  return remains.num_batches();
}

template <typename Pointer>
StatusOr<ShardRows> EngineImpl::CheckShard(int table, Shard shard,
                                           Span<Pointer> variables) const {
  if (table < 0 || static_cast<size_t>(table) >= tables_.size()) {
    return InvalidArgument("table_id ", table, " is outside [0, ",
                           tables_.size(), ").");
  }
  if (shard.count < 1) {
    return InvalidArgument(
        "The value of num_shards must be >= 1. Currently "
        "set to: ",
        shard.count);
  }
  if (shard.id < 0 || shard.id >= shard.count) {
    return InvalidArgument("The value of shard_id must be >= 0 and < ",
                           shard.count, ". Currently set to: ", shard.id);
  }
  const TableStorage& storage = tables_[table];
  if (variables.size() != static_cast<size_t>(storage.num_variables())) {
    return InvalidArgument("Table '", config_.tables[table].name, "' has ",
                           storage.num_variables(),
                           " state variables, the parameters and ",
                           storage.num_variables() - 1,
                           " slot variables, but got ", variables.size(), ".");
  }
  const ShardRows place =
      RowsOfShard(config_.sharding_strategy,
                  config_.tables[table].vocabulary_size, shard.id, shard.count);
  for (size_t v = 0; v < variables.size(); ++v) {
    if (variables[v] == nullptr && place.count > 0) {
      return InvalidArgument("State variable ", v, " of table '",
                             config_.tables[table].name, "' is missing.");
    }
  }
  return place;
}

Status EngineImpl::LoadTables(Shard shard, Span<const LoadedTable> tables,
                              Executor& executor) {
  TF_EMBED_RETURN_IF_ERROR(CheckRunning());
  std::vector<ShardRows> places;
  for (const LoadedTable& loaded : tables) {
    TF_EMBED_ASSIGN_OR_RETURN(
        const ShardRows place,
        CheckShard(loaded.table, shard, loaded.variables));
    const TableConfig& table = config_.tables[loaded.table];
    if (loaded.rows != place.count || loaded.dim != table.dimension) {
      return InvalidArgument("Shard ", shard.id, " of ", shard.count,
                             " of table '", table.name, "' has shape [",
                             place.count, ",", table.dimension, "], but got [",
                             loaded.rows, ",", loaded.dim, "].");
    }
    places.push_back(place);
  }
  TF_EMBED_RETURN_IF_ERROR(Flush(executor));
  std::unique_lock<FairSharedMutex> tables_lock(tables_mutex_);
  TF_EMBED_RETURN_IF_ERROR(CheckRunning());
  for (size_t i = 0; i < tables.size(); ++i) {
    const int t = tables[i].table;
    const WorkClock clock(&counters_[t].load_ns);
    tables_[t].CopyFrom(places[i], tables[i].variables, executor);
  }
  return OkStatus();
}

Status EngineImpl::RetrieveTables(Shard shard,
                                  Span<const RetrievedTable> tables,
                                  Executor& executor) {
  TF_EMBED_RETURN_IF_ERROR(CheckRunning());
  std::vector<ShardRows> places;
  for (const RetrievedTable& retrieved : tables) {
    TF_EMBED_ASSIGN_OR_RETURN(
        const ShardRows place,
        CheckShard(retrieved.table, shard, retrieved.variables));
    places.push_back(place);
  }
  TF_EMBED_RETURN_IF_ERROR(Flush(executor));
  std::shared_lock<FairSharedMutex> tables_lock(tables_mutex_);
  TF_EMBED_RETURN_IF_ERROR(CheckRunning());
  for (size_t i = 0; i < tables.size(); ++i) {
    const int t = tables[i].table;
    const WorkClock clock(&counters_[t].retrieve_ns);
    tables_[t].CopyTo(places[i], tables[i].variables, executor);
  }
  return OkStatus();
}

void EngineImpl::Shutdown(const std::string& reason) {
  Lock lock(mutex_);
  if (shut_down_) return;
  shut_down_ = true;
  shutdown_reason_ = reason;
  std::vector<ReceiveCallback> waiting = protocol_.RemoveAllWaiters();
  // A held update is dropped: nobody can look at the tables any more.
  const StepProtocol::Remains remains = protocol_.Clear();
  update_finished_.notify_all();
  lock.unlock();
  for (ReceiveCallback& done : waiting) {
    done(
        Aborted("The TPU embedding engine was shut down while waiting for a "
                "batch of ids: ",
                reason, "."));
  }
  std::unique_lock<FairSharedMutex> tables_lock(tables_mutex_);
  for (TableStorage& table : tables_) table.Release();
}

EngineStats EngineImpl::Stats() const {
  EngineStats stats;
  for (size_t t = 0; t < tables_.size(); ++t) {
    TableStats table;
    table.name = config_.tables[t].name;
    table.table_bytes = tables_[t].bytes();
    table.ids_enqueued = counters_[t].ids_enqueued;
    table.negative_ids_pruned = counters_[t].negative_ids_pruned;
    table.ids_looked_up = counters_[t].ids_looked_up;
    table.ids_updated = counters_[t].ids_updated;
    table.unique_ids = counters_[t].unique_ids;
    table.rows_updated = counters_[t].rows_updated;
    const int64_t row_bytes = config_.tables[t].dimension * sizeof(float);
    table.bytes_looked_up = table.ids_looked_up * row_bytes;
    table.bytes_updated =
        table.rows_updated * row_bytes * tables_[t].num_variables();
    table.enqueue_ns = table_enqueue_ns_[t];
    table.lookup_ns = counters_[t].lookup_ns;
    table.update_ns = counters_[t].update_ns;
    table.load_ns = counters_[t].load_ns;
    table.retrieve_ns = counters_[t].retrieve_ns;
    stats.negative_ids_pruned += table.negative_ids_pruned;
    stats.tables.push_back(std::move(table));
  }
  stats.enqueue_ns = enqueue_ns_;
  stats.lookup_ns = lookup_ns_;
  stats.update_ns = update_ns_;
  Lock lock(mutex_);
  for (int c = 0; c < protocol_.num_cores(); ++c) {
    stats.queue_depth.push_back(protocol_.queue_depth(c));
  }
  stats.batches_enqueued = protocol_.batches_enqueued();
  stats.batches_received = protocol_.batches_received();
  stats.steps_completed = protocol_.steps_completed();
  return stats;
}

MappedMemory EngineImpl::Mapped() const {
  std::shared_lock<FairSharedMutex> tables_lock(tables_mutex_);
  MappedMemory memory;
  for (const TableStorage& table : tables_) memory += table.Mapped();
  return memory;
}

}  // namespace

StatusOr<EnginePlan> Engine::Plan(EngineConfig config, const Engine* replaced) {
  TF_EMBED_RETURN_IF_ERROR(Populate(config));
  const MappedMemory freed =
      replaced == nullptr ? MappedMemory() : replaced->Mapped();
  TF_EMBED_ASSIGN_OR_RETURN(
      std::vector<TableStorage> tables,
      PlanTables(config, AlignedBuffer::AvailableBytes(freed)));
  return EnginePlan{std::move(config), std::move(tables)};
}

StatusOr<std::shared_ptr<Engine>> Engine::Create(EnginePlan plan,
                                                 const EngineOptions& options,
                                                 Executor& executor) {
  TF_EMBED_RETURN_IF_ERROR(AllocateTables(plan.config, plan.tables, executor));
  return std::shared_ptr<Engine>(std::make_shared<EngineImpl>(
      std::move(plan.config), options, std::move(plan.tables)));
}

StatusOr<std::shared_ptr<Engine>> Engine::Create(EngineConfig config,
                                                 const EngineOptions& options,
                                                 Executor& executor) {
  TF_EMBED_ASSIGN_OR_RETURN(EnginePlan plan, Plan(std::move(config), nullptr));
  return Create(std::move(plan), options, executor);
}

}  // namespace tf_embed
