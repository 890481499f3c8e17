#ifndef TF_EMBED_VIRTUAL_TPU_CLUSTER_LOWERING_H_
#define TF_EMBED_VIRTUAL_TPU_CLUSTER_LOWERING_H_

#include "absl/status/status.h"
#include "tensorflow/core/common_runtime/optimization_registry.h"
#include "virtual_tpu/cluster.h"

namespace tf_embed::virtual_tpu {

// Makes the cluster flat: inlines its function calls, also those marked
// noinline, and lowers its conditionals and loops, as XLA would. What is left
// as a call is a recursive function. Afterwards no node of the cluster carries
// an attribute of TPU replication, and those of outside_compilation are on the
// host's device.
absl::Status LowerCluster(
    const tensorflow::GraphOptimizationPassOptions& options, Cluster* cluster);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_CLUSTER_LOWERING_H_
