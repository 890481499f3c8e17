#ifndef TF_EMBED_VIRTUAL_TPU_REPLICA_NODES_H_
#define TF_EMBED_VIRTUAL_TPU_REPLICA_NODES_H_

#include <string>
#include <unordered_set>

#include "absl/status/status.h"
#include "tensorflow/core/framework/node_def.pb.h"
#include "virtual_tpu/cluster.h"
#include "virtual_tpu/function_copies.h"

namespace tf_embed::virtual_tpu {

// What becomes of the nodes of a cluster in one replica: its number, its cores
// and, of functions that are called and not inlined, copies of its own.
class ReplicaNodes {
 public:
  // `cluster` must outlive this.
  ReplicaNodes(const Cluster& cluster, int replica, FunctionCopies copies)
      : cluster_(&cluster), replica_(replica), copies_(copies) {}

  // A node of the cluster, except for its name and loop. `channel` is what its
  // copies in all replicas have in common.
  absl::Status Edit(const std::string& channel, tensorflow::NodeDef* node);

  std::string Core(int logical) const;

 private:
  absl::Status EditAnywhere(tensorflow::NodeDef* node);
  absl::Status CheckMode(const tensorflow::NodeDef& node) const;
  std::string DeviceOf(const tensorflow::NodeDef& node) const;
  absl::Status CopyFunction(tensorflow::NameAttrList* function);

  const Cluster* const cluster_;
  const int replica_;
  FunctionCopies copies_;
  std::unordered_set<std::string> copied_;
};

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_REPLICA_NODES_H_
