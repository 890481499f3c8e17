#include "kernels/system_config.h"

#include "kernels/engine_setup.h"
#include "kernels/status_bridge.h"
#include "kernels/tf_executor.h"

namespace tf_embed {

absl::Status SystemConfig::Read(tensorflow::OpKernelConstruction* ctx) {
  std::string reserved;
  absl::Status status = ctx->GetAttr("embedding_config", &reserved);
  if (!status.ok()) return status;
  if (!reserved.empty()) {
    return absl::InvalidArgumentError(
        "embedding_config is reserved and must be empty; use "
        "tpu_embedding_config");
  }
  return ctx->GetAttr("tpu_embedding_config", &embedding_config_);
}

absl::Status SystemConfig::Apply(tensorflow::OpKernelContext* ctx) const {
  if (embedding_config_.empty()) {
    TearDownEngine();
    return absl::OkStatus();
  }
  TfExecutor executor(ctx);
  return ToAbsl(ConfigureEngine(embedding_config_, executor));
}

}  // namespace tf_embed
