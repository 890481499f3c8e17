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

// Whether what is built should be what is best on a TPU: the program is for
// one, or TfEmbed_LowerForTpu has asked for it.
bool LowersForTpu(const tensorflow::XlaOpKernelContext* ctx);

}  // namespace tf_embed

// While it is on, programs for the CPU are built as for a TPU, whose compiler
// is asked about them on machines where TensorFlow has none.
extern "C" __attribute__((visibility("default"))) void TfEmbed_LowerForTpu(
    int on);

#endif  // TF_EMBED_XLA_LOWERING_TARGET_H_
