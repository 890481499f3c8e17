#ifndef TF_EMBED_VIRTUAL_TPU_LEGACY_CALLS_H_
#define TF_EMBED_VIRTUAL_TPU_LEGACY_CALLS_H_

#include "absl/status/status.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/graph/graph.h"

// TensorFlow 1 calls a function by a node whose op is its name.

namespace tf_embed::virtual_tpu {

// Makes such nodes of a function PartitionedCalls.
absl::Status ModernizeCalls(
    const tensorflow::FunctionLibraryDefinition& library,
    tensorflow::FunctionDef* function);

// The same for a node of a graph, if it is one.
absl::Status ModernizeCall(const tensorflow::FunctionLibraryDefinition& library,
                           tensorflow::Graph* graph, tensorflow::Node** node);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_LEGACY_CALLS_H_
