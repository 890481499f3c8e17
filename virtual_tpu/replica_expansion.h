#ifndef TF_EMBED_VIRTUAL_TPU_REPLICA_EXPANSION_H_
#define TF_EMBED_VIRTUAL_TPU_REPLICA_EXPANSION_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/graph/graph.h"
#include "virtual_tpu/cluster.h"
#include "virtual_tpu/function_copies.h"

namespace tf_embed::virtual_tpu {

// Packed variables are on a composite device: name, and names of its parts.
using CompositeDevices = std::map<std::string, std::vector<std::string>>;

// Replaces a lowered cluster by one copy per replica, each on its core, wired
// to what surrounds the cluster.
//
// kept_names: nodes by which the rest of TensorFlow knows the computation's
// effects (control outputs of a function, targets of a session). Each name
// lives on as a NoOp that runs when all replicas are done.
//
// functions: where those that the cluster still calls have their copies.
absl::Status ExpandCluster(const Cluster& cluster,
                           const std::set<std::string>& kept_names,
                           const CompositeDevices& composite_devices,
                           const FunctionCopies& functions,
                           tensorflow::Graph* graph);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_REPLICA_EXPANSION_H_
