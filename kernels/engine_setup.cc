#include "kernels/engine_setup.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/config_from_proto.h"
#include "kernels/process_options.h"
#include "tensorflow/core/protobuf/tpu/tpu_embedding_configuration.pb.h"

namespace tf_embed {
namespace {

// What the active engine was configured with.
struct Origin {
  std::mutex mutex;  // also keeps two configurations from mixing
  std::weak_ptr<Engine> engine;
  // Serialized again after parsing: two equal protos give equal text, however
  // their fields were ordered.
  std::string canonical_config;
};

Origin& TheOrigin() {
  static auto* origin = new Origin;
  return *origin;
}

}  // namespace

Status ConfigureEngine(const std::string& serialized_config,
                       Executor& executor) {
  TF_EMBED_RETURN_IF_ERROR(CheckEnvironment());
  TF_EMBED_ASSIGN_OR_RETURN(const auto proto,
                            ParseConfigProto(serialized_config));
  TF_EMBED_ASSIGN_OR_RETURN(EngineConfig config, ConfigFromProto(proto));
  EngineOptions options;
  options.batch.prune_negative_ids = PruneNegativeIds();
  Origin& origin = TheOrigin();
  std::lock_guard<std::mutex> lock(origin.mutex);
  TF_EMBED_ASSIGN_OR_RETURN(
      EnginePlan plan, Engine::Plan(std::move(config), ActiveEngine().get()));
  // The old tables go before the new ones come: both need not fit.
  const char* const reason = "the TPU system was configured again";
  SetActiveEngine(nullptr, reason);
  TF_EMBED_ASSIGN_OR_RETURN(std::shared_ptr<Engine> engine,
                            Engine::Create(std::move(plan), options, executor));
  origin.engine = engine;
  origin.canonical_config = proto.SerializeAsString();
  SetActiveEngine(std::move(engine), reason);
  return OkStatus();
}

void TearDownEngine() {
  std::lock_guard<std::mutex> lock(TheOrigin().mutex);
  SetActiveEngine(nullptr, "the TPU system was shut down");
}

bool IsConfigured(const std::string& serialized_config) {
  const std::shared_ptr<Engine> engine = ActiveEngine();
  if (engine == nullptr) return false;
  if (serialized_config.empty()) return true;
  const auto proto = ParseConfigProto(serialized_config);
  if (!proto.ok()) return false;
  Origin& origin = TheOrigin();
  std::lock_guard<std::mutex> lock(origin.mutex);
  return origin.engine.lock() == engine &&
         origin.canonical_config == proto->SerializeAsString();
}

StatusOr<std::shared_ptr<Engine>> RequireEngine() {
  std::shared_ptr<Engine> engine = ActiveEngine();
  if (engine == nullptr) {
    return FailedPrecondition(
        "TPU embedding engine is not configured; run ConfigureTPUEmbedding "
        "first");
  }
  return engine;
}

}  // namespace tf_embed
