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

std::atomic<int> num_asking_for_tpu{0};

}  // namespace

absl::StatusOr<LoweringTarget> FindLoweringTarget(
    const tensorflow::XlaOpKernelContext* ctx) {
  const std::string& device = ctx->compiler()->options().device_type.type();
  if (device == tensorflow::DEVICE_CPU_XLA_JIT) return LoweringTarget::kCpu;
  if (device == tensorflow::DEVICE_TPU_XLA_JIT) return LoweringTarget::kTpu;
  return absl::UnimplementedError(absl::StrCat(
      ctx->op_kernel_context()->op_kernel().type_string(), " is compiled for ",
      device,
      ", but the embedding engine of tf_embed lives on the CPU. Place the "
      "compiled function on a CPU, or call the op outside of it"));
}

bool LowersForTpu(const tensorflow::XlaOpKernelContext* ctx) {
  return ctx->compiler()->options().device_type.type() ==
             tensorflow::DEVICE_TPU_XLA_JIT ||
         num_asking_for_tpu.load(std::memory_order_relaxed) > 0;
}

}  // namespace tf_embed

extern "C" void TfEmbed_LowerForTpu(int on) {
  tf_embed::num_asking_for_tpu.fetch_add(on ? 1 : -1,
                                         std::memory_order_relaxed);
}
