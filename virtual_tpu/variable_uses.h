#ifndef TF_EMBED_VIRTUAL_TPU_VARIABLE_USES_H_
#define TF_EMBED_VIRTUAL_TPU_VARIABLE_USES_H_

#include <functional>
#include <vector>

#include "tensorflow/core/graph/graph.h"
#include "virtual_tpu/graph_building.h"

namespace tf_embed::virtual_tpu {

// Whether a handle goes along the edge.
bool IsResource(const tensorflow::Edge& edge);

// Whether the outputs of the node are its inputs.
bool PassesHandlesOn(const tensorflow::Node& node);

// The nodes that use a handle, also behind nodes that pass it on: those of
// which `counts` says that they count.
std::vector<const tensorflow::Node*> UsersOf(
    const OutputOf& handle,
    const std::function<bool(const tensorflow::Node&)>& counts);

// Whether a user of a variable leaves it as it is.
bool OnlyReads(const tensorflow::Node& user);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_VARIABLE_USES_H_
