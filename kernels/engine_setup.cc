#include "kernels/engine_setup.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/config_from_proto.h"
#include "kernels/process_options.h"
#include "tensorflow/core/protobuf/tpu/tpu_embedding_configuration.pb.h"
#include "tf_embed/optimizers/optimizer.h"

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

// What the tables of a config take up. A double: no product can overflow it.
double TableBytes(const EngineConfig& config) {
  double bytes = 0;
  for (const TableConfig& table : config.tables) {
    const auto optimizer = Optimizer::Create(table.optimizer);
    const size_t slots = optimizer.ok() ? (*optimizer)->slots().size() : 0;
    bytes += static_cast<double>(table.vocabulary_size) * table.dimension *
             (1 + slots) * sizeof(float);
  }
  return bytes;
}

// A new engine. The active one stays until the new one is there, so that a
// config that is refused changes nothing; unless there is room for one only
// and the new one needs no more than the old one frees.
StatusOr<std::shared_ptr<Engine>> CreateBesideOrInstead(
    const EngineConfig& config, const EngineOptions& options) {
  StatusOr<std::shared_ptr<Engine>> engine = Engine::Create(config, options);
  if (engine.status().code() != StatusCode::kResourceExhausted) return engine;
  std::shared_ptr<Engine> active = ActiveEngine();
  const bool fits =
      active != nullptr && TableBytes(config) <= TableBytes(active->config());
  if (!fits) return engine;
  active.reset();  // or its tables would stay
  SetActiveEngine(nullptr);
  return Engine::Create(config, options);
}

}  // namespace

Status ConfigureEngine(const std::string& serialized_config) {
  TF_EMBED_ASSIGN_OR_RETURN(const auto proto,
                            ParseConfigProto(serialized_config));
  TF_EMBED_ASSIGN_OR_RETURN(const EngineConfig config, ConfigFromProto(proto));
  EngineOptions options;
  options.batch.prune_negative_ids = PruneNegativeIds();
  Origin& origin = TheOrigin();
  std::lock_guard<std::mutex> lock(origin.mutex);
  // The old tables go before the new ones come: both need not fit.
  TF_EMBED_RETURN_IF_ERROR(Engine::Check(config, ActiveEngine().get()));
  SetActiveEngine(nullptr);
  TF_EMBED_ASSIGN_OR_RETURN(std::shared_ptr<Engine> engine,
                            CreateBesideOrInstead(config, options));
  origin.engine = engine;
  origin.canonical_config = proto.SerializeAsString();
  SetActiveEngine(std::move(engine));
  return OkStatus();
}

void TearDownEngine() {
  std::lock_guard<std::mutex> lock(TheOrigin().mutex);
  SetActiveEngine(nullptr);
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
