#ifndef TF_EMBED_VIRTUAL_TPU_GRAPH_BUILDING_H_
#define TF_EMBED_VIRTUAL_TPU_GRAPH_BUILDING_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/graph/graph.h"

namespace tf_embed::virtual_tpu {

struct OutputOf {
  tensorflow::Node* node = nullptr;
  int index = 0;
};

absl::Status AddNoOp(const std::string& name, const std::string& device,
                     tensorflow::Graph* graph, tensorflow::Node** node);

// Notes of which node a node is a copy, unless it says so itself, and of which
// function that is, if any. Errors speak of those, so that Python finds the
// program's line.
void NameOriginal(const std::string& node, const std::string& function,
                  tensorflow::NodeDef* copy);

// Puts a node of the given definition in the place of `node`, with the
// same edges. It may have more inputs and outputs.
absl::Status ReplaceNode(tensorflow::NodeDef def, tensorflow::Graph* graph,
                         tensorflow::Node** node);

// Makes everything that takes the node, whichever output, take `by`.
void ReplaceOutputs(tensorflow::Node* node, OutputOf by,
                    tensorflow::Graph* graph);

// A constant in the same loop, if any, as `beside`.
absl::Status AddIntConst(const std::string& name, int value,
                         const std::string& device, tensorflow::Node* beside,
                         tensorflow::Graph* graph, tensorflow::Node** node);

// Joins pieces in row-major order of a grid with the given number of pieces
// along each dimension, as sharding cuts them.
absl::Status AddConcatGrid(const std::string& name,
                           std::vector<OutputOf> pieces,
                           const std::vector<int>& grid,
                           const std::string& device, tensorflow::Graph* graph,
                           OutputOf* whole);

// The inverse.
absl::Status AddSplitGrid(const std::string& name, OutputOf whole,
                          const std::vector<int>& grid,
                          const std::string& device, tensorflow::Graph* graph,
                          std::vector<OutputOf>* pieces);

// Number of pieces along each dimension that a TPUPartitionedInput or
// TPUPartitionedOutput node (also V2) of `count` pieces speaks of. Empty: every
// piece is the whole.
absl::Status PartitionGrid(const tensorflow::Node& node, int count,
                           std::vector<int>* grid);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_GRAPH_BUILDING_H_
