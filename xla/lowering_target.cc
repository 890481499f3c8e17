#include "xla/lowering_target.h"

#include <atomic>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/compiler/tf2xla/xla_compiler.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/tpu/tpu_defs.h"

namespace tf_embed {
namespace {

// How many ask for each target.
std::atomic<int> num_asking_for[3] = {};

bool IsAskedFor(LoweringTarget target) {
  return num_asking_for[static_cast<int>(target)].load(
             std::memory_order_relaxed) > 0;
}

std::string DeviceOf(const tensorflow::XlaOpKernelContext* ctx) {
  return ctx->compiler()->options().device_type.type();
}

}  // namespace

LoweringTarget FindLoweringTarget(const tensorflow::XlaOpKernelContext* ctx) {
  for (const LoweringTarget target :
       {LoweringTarget::kTpu, LoweringTarget::kGpu}) {
    if (IsAskedFor(target)) return target;
  }
  const std::string device = DeviceOf(ctx);
  if (device == tensorflow::DEVICE_TPU_XLA_JIT) return LoweringTarget::kTpu;
  if (device == tensorflow::DEVICE_GPU_XLA_JIT) return LoweringTarget::kGpu;
  return LoweringTarget::kCpu;
}

absl::StatusOr<LoweringTarget> FindEngine(
    const tensorflow::XlaOpKernelContext* ctx) {
  const std::string device = DeviceOf(ctx);
  if (device == tensorflow::DEVICE_CPU_XLA_JIT) return LoweringTarget::kCpu;
  if (device == tensorflow::DEVICE_TPU_XLA_JIT) return LoweringTarget::kTpu;
  return absl::UnimplementedError(absl::StrCat(
      ctx->op_kernel_context()->op_kernel().type_string(), " is compiled for ",
      device,
      ", but the embedding engine of tf_embed lives on the CPU. Place the "
      "compiled function on a CPU, or call the op outside of it"));
}

}  // namespace tf_embed

extern "C" void TfEmbed_LowerFor(int target, int on) {
  tf_embed::num_asking_for[target].fetch_add(on ? 1 : -1,
                                             std::memory_order_relaxed);
}
