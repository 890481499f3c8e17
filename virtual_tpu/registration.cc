// Switches the virtual TPU on: when the library is loaded, if the environment
// asks for it, or by TfEmbedEnableVirtualTpu.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "virtual_tpu/devices.h"
#include "virtual_tpu/eager_functions.h"
#include "virtual_tpu/mlir_bridge.h"
#include "virtual_tpu/options.h"
#include "virtual_tpu/partitioned_call_kernels.h"
#include "virtual_tpu/preemption.h"
#include "virtual_tpu/replica_expansion_pass.h"

namespace tf_embed::virtual_tpu {
namespace {

Status Enable(int num_cores) {
  static std::mutex mu;
  static bool registered = false;
  std::lock_guard<std::mutex> lock(mu);
  TF_EMBED_RETURN_IF_ERROR(SetNumCores(num_cores));
  if (!registered) {
    registered = true;
    RegisterDevices();
    SwitchOffMlirBridge();
    RegisterPartitionedCallKernels();
    RegisterCheckPreemption();
    RunEagerFunctionsWithoutXla();
    RegisterReplicaExpansionPass();
  }
  return OkStatus();
}

const bool enabled_by_environment = [] {
  const StatusOr<int> num_cores = ParseNumCores(std::getenv(kCoresVariable));
  const Status status = !num_cores.ok()          ? num_cores.status()
                        : num_cores.value() == 0 ? OkStatus()
                                                 : Enable(num_cores.value());
  // Not a log line: TF_CPP_MIN_LOG_LEVEL must not hide why there is no TPU.
  if (!status.ok()) {
    std::fprintf(stderr, "tf_embed: %s: %s\n", kCoresVariable,
                 status.message().c_str());
  }
  return status.ok();
}();

}  // namespace
}  // namespace tf_embed::virtual_tpu

// For Python, through ctypes. These do not know whether TensorFlow's context
// has started: the caller must look.
extern "C" {

__attribute__((visibility("default"))) int TfEmbedVirtualTpuNumCores() {
  return tf_embed::virtual_tpu::NumCores();
}

// Returns the code of the status; writes its message, cut at `size`.
__attribute__((visibility("default"))) int TfEmbedEnableVirtualTpu(
    int num_cores, char* message, int size) {
  const tf_embed::Status status = tf_embed::virtual_tpu::Enable(num_cores);
  if (size > 0) {
    std::strncpy(message, status.message().c_str(), size - 1);
    message[size - 1] = '\0';
  }
  return static_cast<int>(status.code());
}

__attribute__((visibility("default"))) void TfEmbedSetVirtualTpuStrict(
    int strict) {
  tf_embed::virtual_tpu::SetStrictMode(strict != 0);
}

}  // extern "C"
