#include "kernels/config_attr.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "kernels/config_from_proto.h"
#include "kernels/engine_setup.h"

namespace tf_embed {

StatusOr<std::unique_ptr<ConfigAttr>> ConfigAttr::Required(
    const std::string& serialized) {
  TF_EMBED_ASSIGN_OR_RETURN(EngineConfig config,
                            ParsePopulatedConfig(serialized));
  std::unique_ptr<ConfigAttr> attr(new ConfigAttr);
  attr->config_ = std::make_unique<const EngineConfig>(std::move(config));
  return attr;
}

StatusOr<std::unique_ptr<ConfigAttr>> ConfigAttr::Optional(
    const std::string& serialized) {
  if (!serialized.empty()) return Required(serialized);
  return std::unique_ptr<ConfigAttr>(new ConfigAttr);
}

bool ConfigAttr::IsCompared(const std::shared_ptr<Engine>& engine) {
  std::lock_guard<std::mutex> lock(mutex_);
  // The control block, which the weak pointer keeps alive, identifies an
  // engine; its address could come again.
  return !compared_.owner_before(engine) && !engine.owner_before(compared_);
}

StatusOr<std::shared_ptr<Engine>> ConfigAttr::ActiveEngine() {
  TF_EMBED_ASSIGN_OR_RETURN(std::shared_ptr<Engine> engine, RequireEngine());
  if (config_ == nullptr || IsCompared(engine)) return engine;
  TF_EMBED_RETURN_IF_ERROR(SameConfig(engine->config(), *config_));
  std::lock_guard<std::mutex> lock(mutex_);
  compared_ = engine;
  return engine;
}

}  // namespace tf_embed
