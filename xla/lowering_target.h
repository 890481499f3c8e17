#ifndef TF_EMBED_XLA_LOWERING_TARGET_H_
#define TF_EMBED_XLA_LOWERING_TARGET_H_

#include "absl/status/statusor.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"

namespace tf_embed {

// What a program runs on. The numbers are those of TfEmbed_LowerFor.
enum class LoweringTarget { kCpu = 0, kTpu = 1, kGpu = 2 };

// What an op that is plain HLO is to be lowered for: the program's device, or
// what TfEmbed_LowerFor has asked for.
LoweringTarget FindLoweringTarget(const tensorflow::XlaOpKernelContext* ctx);

// Where the embedding engine is that the program speaks with: on the CPU, in
// this process, or in the memory of the TPU, behind libtpu. Unimplemented for
// other devices; the message names the op.
absl::StatusOr<LoweringTarget> FindEngine(
    const tensorflow::XlaOpKernelContext* ctx);

}  // namespace tf_embed

// While it is on, programs for the CPU are built as for another target: to ask
// a TPU's compiler about them where TensorFlow has none, or to run what a GPU
// would on a CPU.
extern "C" __attribute__((visibility("default"))) void TfEmbed_LowerFor(
    int target, int on);

#endif  // TF_EMBED_XLA_LOWERING_TARGET_H_
