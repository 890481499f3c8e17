#ifndef TF_EMBED_VIRTUAL_TPU_REPLICA_EXPANSION_PASS_H_
#define TF_EMBED_VIRTUAL_TPU_REPLICA_EXPANSION_PASS_H_

#include "absl/status/status.h"
#include "tensorflow/core/common_runtime/optimization_registry.h"

namespace tf_embed::virtual_tpu {

// Turns the TPU computations of a graph into copies for the virtual cores.
// Leaves every other graph alone.
class ReplicaExpansionPass : public tensorflow::GraphOptimizationPass {
 public:
  absl::Status Run(
      const tensorflow::GraphOptimizationPassOptions& options) override;
};

// Registers the pass before placement, after TensorFlow's lowering of what is
// outside of the computations.
void RegisterReplicaExpansionPass();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_REPLICA_EXPANSION_PASS_H_
