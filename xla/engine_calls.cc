#include "xla/engine_calls.h"

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/config_attr.h"
#include "kernels/process_options.h"
#include "kernels/tf_executor.h"
#include "tf_embed/base/status.h"
#include "tf_embed/engine/batch_tickets.h"
#include "tf_embed/engine/engine.h"
#include "tsl/profiler/lib/traceme.h"
#include "tsl/profiler/lib/traceme_encode.h"
#include "xla/ffi/api/ffi.h"

// The header that declares this includes MLIR, which the wheel lacks.
namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();
}  // namespace xla::ffi

namespace tf_embed {
namespace {

namespace ffi = ::xla::ffi;
using ::tsl::profiler::TraceMe;
using ::tsl::profiler::TraceMeEncode;

// The codes of both have the values of absl::StatusCode.
ffi::Error ToFfi(const Status& status) {
  if (status.ok()) return ffi::Error::Success();
  return ffi::Error(static_cast<ffi::ErrorCode>(status.code()),
                    status.message());
}

// Parsed once per process, not once per call.
StatusOr<ConfigAttr*> FindConfig(std::string_view serialized) {
  static auto* mutex = new std::mutex;
  static auto* configs =
      new std::unordered_map<std::string, std::unique_ptr<ConfigAttr>>;
  std::lock_guard<std::mutex> lock(*mutex);
  const std::string key(serialized);
  auto it = configs->find(key);
  if (it == configs->end()) {
    TF_EMBED_ASSIGN_OR_RETURN(std::unique_ptr<ConfigAttr> config,
                              ConfigAttr::Required(key));
    it = configs->emplace(key, std::move(config)).first;
  }
  return it->second.get();
}

// Waits in the calling thread: XLA:CPU waits for the whole program anyway, so
// nothing is won by returning before the batch is there.
StatusOr<ReceivedBatches> Receive(Engine& engine, CoreRange cores) {
  std::mutex mutex;
  std::condition_variable arrived;
  std::optional<StatusOr<ReceivedBatches>> result;
  engine.ReceiveAsync(cores, RecvTimeout(),
                      [&](StatusOr<ReceivedBatches> batches) {
                        // Notifies under the lock: the condition is gone once
                        // it is released.
                        std::lock_guard<std::mutex> lock(mutex);
                        result = std::move(batches);
                        arrived.notify_one();
                      });
  std::unique_lock<std::mutex> lock(mutex);
  arrived.wait(lock, [&] { return result.has_value(); });
  return *std::move(result);
}

TfExecutor MakeExecutor(ffi::ThreadPool pool) {
  return TfExecutor(static_cast<int>(pool.num_threads()),
                    [pool](std::function<void()> task) mutable {
                      pool.Schedule(std::move(task));
                    });
}

// What every call begins with.
struct Target {
  std::shared_ptr<Engine> engine;
  CoreRange cores;

  static StatusOr<Target> Find(std::string_view config, int64_t first_core,
                               int64_t num_cores) {
    TF_EMBED_ASSIGN_OR_RETURN(ConfigAttr * attr, FindConfig(config));
    Target target;
    TF_EMBED_ASSIGN_OR_RETURN(target.engine, attr->ActiveEngine());
    target.cores = {static_cast<int>(first_core), static_cast<int>(num_cores)};
    return target;
  }

  // What the ticket stands for, if it is of this engine. Its cores are those
  // that received it, wherever the caller is.
  StatusOr<BatchTickets::Entry> Resolve(int64_t ticket) const {
    BatchTickets::Entry entry;
    if (!BatchTickets::Global().Find(ticket, &entry)) {
      return FailedPrecondition(
          "The deduplication data name no received batch, or one whose "
          "gradients are applied, or that was received too many batches ago");
    }
    if (entry.engine.lock() != engine) {
      return FailedPrecondition(
          "The deduplication data belong to a TPU embedding engine that has "
          "been replaced");
    }
    return entry;
  }
};

// The number of elements of feature f's activations for all cores.
int64_t NumElements(const EngineConfig& config, int f, int num_cores) {
  const FeatureConfig& feature = config.features[f];
  return num_cores * feature.num_positions() *
         config.tables[feature.table_id].dimension;
}

Status LookUp(const Target& target, const ReceivedBatches& batches,
              const ffi::RemainingRets& results, size_t first_result,
              ffi::ThreadPool pool) {
  TraceMe trace([&] {
    return TraceMeEncode("TfEmbedLookup", {{"core", target.cores.first}});
  });
  const EngineConfig& config = target.engine->config();
  std::vector<float*> outputs(config.features.size());
  for (size_t f = 0; f < outputs.size(); ++f) {
    auto result = results.get<ffi::AnyBuffer>(first_result + f);
    if (!result.has_value() || (*result)->element_type() != ffi::F32 ||
        (*result)->element_count() !=
            NumElements(config, static_cast<int>(f), target.cores.count)) {
      return Internal("Result ", f, " of the lookup has the wrong shape");
    }
    outputs[f] = (*result)->typed_data<float>();
  }
  TfExecutor executor = MakeExecutor(pool);
  return target.engine->Lookup(batches, outputs, executor);
}

// Gradients in memory of their own, for an engine that keeps them for longer
// than the call, when XLA gives the buffers to somebody else.
struct OwnedGradients {
  std::vector<std::vector<float>> values;
};

Status Send(const Target& target, CoreRange cores,
            const ReceivedBatches* batches, const ffi::RemainingArgs& operands,
            ffi::ThreadPool pool) {
  TraceMe trace([&] {
    return TraceMeEncode("TfEmbedSendGradients", {{"core", cores.first}});
  });
  const EngineConfig& config = target.engine->config();
  const size_t num_features = config.features.size();
  const int num_rates = NumLearningRateTags(config);
  // One core in all, and no pipelining: the update runs within the call.
  const bool keeps = cores.count < config.num_tensor_cores ||
                     config.pipeline_execution_with_tensor_core;
  auto owned = std::make_shared<OwnedGradients>();
  std::vector<const float*> gradients(num_features);
  for (size_t f = 0; f < num_features; ++f) {
    const auto operand = operands.get<ffi::AnyBuffer>(f);
    if (!operand.has_value() || operand->element_type() != ffi::F32 ||
        operand->element_count() !=
            NumElements(config, static_cast<int>(f), cores.count)) {
      return Internal("Gradient ", f, " has the wrong shape");
    }
    gradients[f] = operand->typed_data<float>();
    if (keeps) {
      owned->values.emplace_back(gradients[f],
                                 gradients[f] + operand->element_count());
      gradients[f] = owned->values.back().data();
    }
  }
  std::vector<float> rates(num_rates);
  for (int k = 0; k < num_rates; ++k) {
    const auto operand = operands.get<ffi::AnyBuffer>(num_features + k);
    if (!operand.has_value() || operand->element_type() != ffi::F32 ||
        operand->element_count() != 1) {
      return Internal("Learning rate ", k, " has the wrong shape");
    }
    rates[k] = *operand->typed_data<float>();
  }
  TfExecutor executor = MakeExecutor(pool);
  return target.engine->Send(cores, gradients, std::move(owned), rates, batches,
                             executor);
}

void EndSequence(const ffi::RemainingRets& results) {
  auto last = results.get<ffi::AnyBuffer>(results.size() - 1);
  if (last.has_value()) *(*last)->typed_data<int32_t>() = 0;
}

StatusOr<int64_t> TicketOperand(const ffi::RemainingArgs& operands) {
  if (operands.size() >= 2) {
    const auto ticket = operands.get<ffi::AnyBuffer>(operands.size() - 2);
    if (ticket.has_value() && ticket->element_type() == ffi::S64) {
      return *ticket->typed_data<int64_t>();
    }
  }
  return Internal("The call has no ticket");
}

Status DoReceive(const Target& target, const ffi::RemainingArgs&,
                 const ffi::RemainingRets& results, ffi::ThreadPool) {
  TF_EMBED_ASSIGN_OR_RETURN(ReceivedBatches batches,
                            Receive(*target.engine, target.cores));
  auto ticket = results.get<ffi::AnyBuffer>(0);
  if (!ticket.has_value() || (*ticket)->element_type() != ffi::S64) {
    return Internal("The call has no ticket");
  }
  *(*ticket)->typed_data<int64_t>() = BatchTickets::Global().Add(
      {target.engine, target.cores, std::move(batches)});
  return OkStatus();
}

Status DoLookUp(const Target& target, const ffi::RemainingArgs& operands,
                const ffi::RemainingRets& results, ffi::ThreadPool pool) {
  TF_EMBED_ASSIGN_OR_RETURN(int64_t ticket, TicketOperand(operands));
  TF_EMBED_ASSIGN_OR_RETURN(BatchTickets::Entry entry, target.Resolve(ticket));
  return LookUp(target, entry.batches, results, 0, pool);
}

Status DoActivations(const Target& target, const ffi::RemainingArgs&,
                     const ffi::RemainingRets& results, ffi::ThreadPool pool) {
  TF_EMBED_ASSIGN_OR_RETURN(ReceivedBatches batches,
                            Receive(*target.engine, target.cores));
  return LookUp(target, batches, results, 0, pool);
}

Status DoSend(const Target& target, const ffi::RemainingArgs& operands,
              const ffi::RemainingRets&, ffi::ThreadPool pool) {
  return Send(target, target.cores, /*batches=*/nullptr, operands, pool);
}

Status DoSendBatch(const Target& target, const ffi::RemainingArgs& operands,
                   const ffi::RemainingRets&, ffi::ThreadPool pool) {
  TF_EMBED_ASSIGN_OR_RETURN(int64_t ticket, TicketOperand(operands));
  TF_EMBED_ASSIGN_OR_RETURN(BatchTickets::Entry entry, target.Resolve(ticket));
  return Send(target, entry.cores, &entry.batches, operands, pool);
}

template <Status (*kDo)(const Target&, const ffi::RemainingArgs&,
                        const ffi::RemainingRets&, ffi::ThreadPool)>
ffi::Error Handle(ffi::RemainingArgs operands, ffi::RemainingRets results,
                  ffi::ThreadPool pool, std::string_view config,
                  int64_t first_core, int64_t num_cores) {
  const StatusOr<Target> target = Target::Find(config, first_core, num_cores);
  if (!target.ok()) return ToFfi(target.status());
  EndSequence(results);
  return ToFfi(kDo(*target, operands, results, pool));
}

template <Status (*kDo)(const Target&, const ffi::RemainingArgs&,
                        const ffi::RemainingRets&, ffi::ThreadPool)>
XLA_FFI_Error* Handler(XLA_FFI_CallFrame* frame) {
  static const auto* handler = ffi::Ffi::Bind()
                                   .RemainingArgs()
                                   .RemainingRets()
                                   .Ctx<ffi::ThreadPool>()
                                   .Attr<std::string_view>(EngineCall::kConfig)
                                   .Attr<int64_t>(EngineCall::kFirstCore)
                                   .Attr<int64_t>(EngineCall::kNumCores)
                                   .To(Handle<kDo>)
                                   .release();
  return handler->Call(frame);
}

XLA_FFI_Error* WaitHandler(XLA_FFI_CallFrame* frame) {
  static const auto* handler =
      ffi::Ffi::Bind()
          .RemainingArgs()
          .RemainingRets()
          .To([](ffi::RemainingArgs, ffi::RemainingRets results) {
            EndSequence(results);
            return ffi::Error::Success();
          })
          .release();
  return handler->Call(frame);
}

const bool registered = [] {
  const XLA_FFI_Api* api = ffi::GetXlaFfiApi();
  const std::pair<const char*, XLA_FFI_Handler*> handlers[] = {
      {EngineCall::kReceive, Handler<DoReceive>},
      {EngineCall::kLookUp, Handler<DoLookUp>},
      {EngineCall::kActivations, Handler<DoActivations>},
      {EngineCall::kSend, Handler<DoSend>},
      {EngineCall::kSendBatch, Handler<DoSendBatch>},
      {EngineCall::kWait, WaitHandler},
  };
  bool ok = true;
  for (const auto& [name, handler] : handlers) {
    ok &=
        ffi::Ffi::RegisterStaticHandler(api, name, "Host", handler) == nullptr;
  }
  return ok;
}();

}  // namespace
}  // namespace tf_embed
