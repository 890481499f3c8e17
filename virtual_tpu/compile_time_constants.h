#ifndef TF_EMBED_VIRTUAL_TPU_COMPILE_TIME_CONSTANTS_H_
#define TF_EMBED_VIRTUAL_TPU_COMPILE_TIME_CONSTANTS_H_

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tensorflow/core/graph/graph.h"

namespace tf_embed::virtual_tpu {

// Tells which nodes of a TPU computation have a dynamic shape: XLA must know
// some inputs (of Reshape, Range, Fill, ...) when it compiles, and here they
// depend on data. (Shapes that depend on data within a bound, as that of Where,
// are no trouble for it.)
class CompileTimeConstants {
 public:
  // `nodes` are those of the computation, without functions and functional
  // control flow.
  explicit CompileTimeConstants(const std::vector<tensorflow::Node*>& nodes)
      : inside_(nodes.begin(), nodes.end()) {}

  // What a warning of the node says; empty where XLA knows what it must.
  std::string Complaint(const tensorflow::Node& node);

 private:
  struct Visit {
    bool done = false;
    int computed = 0;  // nodes that compute, between the root and this one
    const tensorflow::Node* data = nullptr;
  };

  // The node whose value, unknown to the compiler, `node`'s depends on.
  const tensorflow::Node* Data(const tensorflow::Node* node, int computed);

  std::unordered_set<const tensorflow::Node*> inside_;
  std::unordered_map<const tensorflow::Node*, Visit> visits_;
};

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_COMPILE_TIME_CONSTANTS_H_
