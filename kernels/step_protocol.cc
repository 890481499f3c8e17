#include "kernels/step_protocol.h"

#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/output_memory.h"
#include "kernels/process_options.h"
#include "kernels/status_bridge.h"
#include "kernels/tf_executor.h"
#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/platform/threadpool.h"
#include "tsl/profiler/lib/traceme.h"
#include "tsl/profiler/lib/traceme_encode.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;
using ::tsl::profiler::TraceMe;
using ::tsl::profiler::TraceMeEncode;

// A Recv that waits, shared by the engine's callback and the step's
// cancellation, either of which may come first and while the other runs.
struct Waiting {
  std::shared_ptr<Engine> engine;
  std::thread::id caller = std::this_thread::get_id();
  bool in_call = true;  // read and written by the caller's thread only

  std::mutex mutex;
  bool has_ticket = false;
  int64_t ticket = 0;
  bool cancelled = false;

  void SetTicket(int64_t value) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      ticket = value;
      has_ticket = true;
      if (!cancelled) return;
    }
    engine->CancelReceive(value);
  }

  void Cancel() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      cancelled = true;
      if (!has_ticket) return;  // SetTicket will see it
    }
    engine->CancelReceive(ticket);
  }
};

std::string Describe(const EngineConfig& config, int f) {
  const FeatureConfig& feature = config.features[f];
  return StrCat(config.feature_dialect ? "feature " : "table ", f, " '",
                feature.name, "' (table '",
                config.tables[feature.table_id].name, "')");
}

}  // namespace

void ReceiveBatches(OpKernelContext* ctx, const std::shared_ptr<Engine>& engine,
                    CoreRange cores,
                    std::function<void(StatusOr<ReceivedBatches>)> ready) {
  auto waiting = std::make_shared<Waiting>();
  waiting->engine = engine;
  tensorflow::CancellationManager* manager = ctx->cancellation_manager();
  tensorflow::CancellationToken token =
      tensorflow::CancellationManager::kInvalidToken;
  if (manager != nullptr) {
    token = manager->get_cancellation_token();
    if (!manager->RegisterCallback(token, [waiting] { waiting->Cancel(); })) {
      ready(Cancelled("The step was cancelled before cores [", cores.first,
                      ", ", cores.first + cores.count,
                      ") received their activations"));
      return;
    }
  }
  auto done = [ctx, manager, token, waiting,
               ready = std::move(ready)](StatusOr<ReceivedBatches> batches) {
    // Must not wait for a cancellation that runs: it may be what called us.
    if (manager != nullptr) manager->TryDeregisterCallback(token);
    if (waiting->caller == std::this_thread::get_id() && waiting->in_call) {
      ready(std::move(batches));
      return;
    }
    // This thread belongs to whoever brought the batch.
    auto shared =
        std::make_shared<StatusOr<ReceivedBatches>>(std::move(batches));
    ctx->device()->tensorflow_cpu_worker_threads()->workers->Schedule(
        [ready, shared] { ready(std::move(*shared)); });
  };
  const int64_t ticket = engine->ReceiveAsync({cores, ctx->step_id()},
                                              RecvTimeout(), std::move(done));
  // From here on the context may be gone.
  waiting->in_call = false;
  waiting->SetTicket(ticket);
}

Status CheckOutputCount(const EngineConfig& config, int num_outputs) {
  const int expected = static_cast<int>(config.features.size());
  if (num_outputs == expected) return OkStatus();
  return InvalidArgument("Kernel has ", num_outputs,
                         " outputs but configuration expects ", expected,
                         " outputs.");
}

Status ActivationShape(const EngineConfig& config, int f, int num_cores,
                       TensorShape* shape) {
  const FeatureConfig& feature = config.features[f];
  std::vector<int64_t> sizes = feature.input_shape;
  if (!sizes.empty()) sizes[0] *= num_cores;
  sizes.push_back(config.tables[feature.table_id].dimension);
  return FromAbsl(TensorShape::BuildTensorShape(sizes, shape));
}

Status CheckSendShapes(const EngineConfig& config, int num_cores,
                       const std::vector<TensorShape>& gradients,
                       const std::vector<TensorShape>& learning_rates) {
  const int num_features = static_cast<int>(config.features.size());
  if (static_cast<int>(gradients.size()) != num_features) {
    return InvalidArgument("Got ", gradients.size(),
                           " gradients but configuration expects ",
                           num_features, ", one for each activation.");
  }
  const int num_tags = NumLearningRateTags(config);
  if (static_cast<int>(learning_rates.size()) != num_tags) {
    return InvalidArgument(
        "Got ", learning_rates.size(),
        " learning rates but configuration expects ", num_tags,
        ", one for each dynamic learning rate or step counter tag.");
  }
  for (int f = 0; f < num_features; ++f) {
    TensorShape expected;
    TF_EMBED_RETURN_IF_ERROR(ActivationShape(config, f, num_cores, &expected));
    if (gradients[f] != expected) {
      return InvalidArgument("The gradient of ", Describe(config, f),
                             " has shape ", gradients[f].DebugString(),
                             "; expected ", expected.DebugString());
    }
  }
  for (int k = 0; k < num_tags; ++k) {
    if (learning_rates[k].dims() != 0) {
      return InvalidArgument("Learning rate ", k, " must be a scalar; got ",
                             learning_rates[k].DebugString());
    }
  }
  return OkStatus();
}

Status LookupIntoOutputs(OpKernelContext* ctx, Engine& engine, CoreRange cores,
                         const ReceivedBatches& batches) {
  TraceMe trace(
      [&] { return TraceMeEncode("TfEmbedLookup", {{"core", cores.first}}); });
  const EngineConfig& config = engine.config();
  const int num_features = static_cast<int>(config.features.size());
  TF_EMBED_RETURN_IF_ERROR(CheckOutputCount(config, ctx->num_outputs()));
  std::vector<float*> outputs(num_features);
  for (int f = 0; f < num_features; ++f) {
    TensorShape shape;
    TF_EMBED_RETURN_IF_ERROR(ActivationShape(config, f, cores.count, &shape));
    Tensor* output = nullptr;
    TF_EMBED_RETURN_IF_ERROR(FromAbsl(AllocateOutput(ctx, f, shape, &output)));
    outputs[f] = output->flat<float>().data();
  }
  TfExecutor executor(ctx);
  return engine.Lookup(batches, outputs, executor);
}

Status SendGradients(OpKernelContext* ctx, Engine& engine, CoreRange cores,
                     int num_gradients, int num_learning_rates,
                     const ReceivedBatches* batches) {
  TraceMe trace([&] {
    return TraceMeEncode("TfEmbedSendGradients", {{"core", cores.first}});
  });
  const EngineConfig& config = engine.config();
  std::vector<TensorShape> shapes;
  shapes.reserve(num_gradients + num_learning_rates);
  for (int i = 0; i < num_gradients + num_learning_rates; ++i) {
    shapes.push_back(ctx->input(i).shape());
  }
  const auto rates = shapes.begin() + num_gradients;
  TF_EMBED_RETURN_IF_ERROR(CheckSendShapes(
      config, cores.count, {shapes.begin(), rates}, {rates, shapes.end()}));
  auto tensors = std::make_shared<std::vector<Tensor>>();
  tensors->reserve(num_gradients);
  std::vector<const float*> gradients(num_gradients);
  for (int f = 0; f < num_gradients; ++f) {
    gradients[f] = ctx->input(f).flat<float>().data();
    tensors->push_back(ctx->input(f));
  }
  std::vector<float> learning_rates(num_learning_rates);
  for (int k = 0; k < num_learning_rates; ++k) {
    learning_rates[k] = ctx->input(num_gradients + k).scalar<float>()();
  }
  TfExecutor executor(ctx);
  return engine.Send({cores, ctx->step_id()}, gradients, std::move(tensors),
                     learning_rates, batches, executor);
}

}  // namespace tf_embed
