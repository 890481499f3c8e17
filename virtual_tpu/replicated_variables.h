#ifndef TF_EMBED_VIRTUAL_TPU_REPLICATED_VARIABLES_H_
#define TF_EMBED_VIRTUAL_TPU_REPLICATED_VARIABLES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/graph/graph.h"
#include "virtual_tpu/graph_building.h"

namespace tf_embed::virtual_tpu {

// A variable of which every logical core of a replica holds a copy.
struct ReplicatedVariable {
  std::vector<OutputOf> handles;  // one per logical core, or one if packed
  OutputOf used;                  // the handle that the replica works with
  bool packed = false;            // one handle, which depends on the device
};

// The replica works with the copy of its first core. Where it may have written
// that, the copies of its other cores follow, after `done` and before
// `all_done`.
absl::Status UpdateReplicatedVariables(
    const std::string& prefix, const std::vector<int>& cores,
    const std::vector<ReplicatedVariable>& variables, tensorflow::Node* done,
    tensorflow::Node* all_done, tensorflow::Graph* graph);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_REPLICATED_VARIABLES_H_
