#ifndef TF_EMBED_XLA_LOWERING_TARGET_H_
#define TF_EMBED_XLA_LOWERING_TARGET_H_

#include "absl/status/statusor.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"

namespace tf_embed {

// Where the embedding engine is that a compiled program speaks with.
enum class LoweringTarget {
  kCpu,  // in this process
  kTpu,  // in the TPU's memory, behind libtpu
};

// Unimplemented for other devices; the message names the op.
absl::StatusOr<LoweringTarget> FindLoweringTarget(
    const tensorflow::XlaOpKernelContext* ctx);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_LOWERING_TARGET_H_
