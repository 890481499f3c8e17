#ifndef TF_EMBED_VIRTUAL_TPU_CLUSTER_H_
#define TF_EMBED_VIRTUAL_TPU_CLUSTER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/graph/graph.h"

namespace tf_embed::virtual_tpu {

// The nodes of one tf.tpu.replicate call.
struct Cluster {
  std::string attr;  // what _tpu_replicate says
  // Unique in the graph, unlike `attr`: a function that holds a cluster may
  // have been inlined twice.
  std::string name;
  tensorflow::Node* metadata = nullptr;  // the TPUReplicateMetadata node
  std::vector<tensorflow::Node*> nodes;  // in the order of their ids
  int num_replicas = 1;
  // Of the copies of functions that the cluster has to itself.
  std::string function_prefix;
  // [replica][logical core]: index of the TPU device.
  std::vector<std::vector<int>> cores;
};

// The clusters of a graph, by name. InvalidArgument where one asks for more
// cores than there are or has no metadata.
absl::Status FindClusters(const tensorflow::Graph& graph,
                          std::vector<Cluster>* clusters);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_CLUSTER_H_
