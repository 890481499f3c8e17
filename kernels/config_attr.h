#ifndef TF_EMBED_KERNELS_CONFIG_ATTR_H_
#define TF_EMBED_KERNELS_CONFIG_ATTR_H_

#include <memory>
#include <mutex>
#include <string>

#include "tf_embed/base/status.h"
#include "tf_embed/engine/config.h"
#include "tf_embed/engine/engine.h"

namespace tf_embed {

// The `config` attribute of an op, and the question whether the active engine
// was configured like that. A kernel keeps one: the proto is parsed once, and
// compared once per engine.
class ConfigAttr {
 public:
  // For Recv and Send: the attribute must hold a valid config.
  static StatusOr<std::unique_ptr<ConfigAttr>> Required(
      const std::string& serialized);
  // For Load and Retrieve: an empty attribute goes with every engine.
  static StatusOr<std::unique_ptr<ConfigAttr>> Optional(
      const std::string& serialized);

  // Populated; null where the attribute is empty.
  const EngineConfig* config() const { return config_.get(); }

  // The active engine, if it was configured like this attribute says.
  // FailedPrecondition where there is none, InvalidArgument naming the first
  // differing field where it differs.
  StatusOr<std::shared_ptr<Engine>> ActiveEngine();

 private:
  ConfigAttr() = default;

  bool IsCompared(const std::shared_ptr<Engine>& engine);

  std::unique_ptr<const EngineConfig> config_;
  std::mutex mutex_;
  std::weak_ptr<Engine> compared_;  // the last engine found to be equal
};

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_CONFIG_ATTR_H_
