#ifndef TF_EMBED_VIRTUAL_TPU_CONDITIONAL_DEPTH_H_
#define TF_EMBED_VIRTUAL_TPU_CONDITIONAL_DEPTH_H_

#include <unordered_map>
#include <vector>

#include "tensorflow/core/graph/graph.h"

namespace tf_embed::virtual_tpu {

// How many conditionals each of `nodes` is inside of, counted from outside of
// the set. A node inside of one may be dead in a step, and makes dead whatever
// waits for it.
std::unordered_map<const tensorflow::Node*, int> ConditionalDepths(
    const tensorflow::Graph& graph,
    const std::vector<tensorflow::Node*>& nodes);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_CONDITIONAL_DEPTH_H_
