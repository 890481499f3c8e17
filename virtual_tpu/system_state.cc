#include "virtual_tpu/system_state.h"

#include <atomic>

namespace tf_embed::virtual_tpu {
namespace {

std::atomic<bool> system_initialized{false};

}  // namespace

void SetSystemInitialized(bool initialized) {
  system_initialized = initialized;
}

absl::Status CheckSystemInitialized() {
  if (system_initialized) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "The TPU system has not been initialized. Call "
      "tf.tpu.experimental.initialize_tpu_system first, or in a session "
      "tf.compat.v1.tpu.initialize_system.");
}

}  // namespace tf_embed::virtual_tpu
