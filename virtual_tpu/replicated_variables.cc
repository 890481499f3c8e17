#include "virtual_tpu/replicated_variables.h"

#include <unordered_set>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/node_builder.h"
#include "virtual_tpu/device_names.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::DataType;
using tensorflow::Edge;
using tensorflow::Node;
using tensorflow::NodeBuilder;

bool OnlyReads(const std::string& op) {
  static const auto* const reads = new std::unordered_set<std::string>{
      "ReadVariableOp",   "VarIsInitializedOp", "VariableShape",
      "ResourceGather",   "ResourceGatherNd",   "_Retval",
      "_ReadVariablesOp",
  };
  return reads->count(op) > 0;
}

struct Use {
  bool written = false;
  DataType dtype = tensorflow::DT_INVALID;
};

// Who takes the handle inside the replica, also behind ops that pass it on.
Use UseOf(const OutputOf& handle, const std::string& prefix) {
  Use use;
  std::unordered_set<const Node*> seen;
  std::vector<const Edge*> edges;
  const auto follow = [&](const Node* node, int output) {
    for (const Edge* edge : node->out_edges()) {
      if (edge->IsControlEdge()) continue;
      if (output < 0 || edge->src_output() == output) edges.push_back(edge);
    }
  };
  follow(handle.node, handle.index);
  while (!edges.empty()) {
    const Node* node = edges.back()->dst();
    edges.pop_back();
    // Other replicas' copies have handles of their own, or, packed, devices.
    if (node->name().rfind(prefix, 0) != 0 || !seen.insert(node).second) {
      continue;
    }
    DataType dtype;
    if (tensorflow::TryGetNodeAttr(node->attrs(), "dtype", &dtype) ||
        (tensorflow::TryGetNodeAttr(node->attrs(), "T", &dtype) &&
         dtype != tensorflow::DT_RESOURCE)) {
      use.dtype = dtype;
      use.written |= !OnlyReads(node->type_string());
    } else {
      follow(node, -1);
    }
  }
  return use;
}

}  // namespace

absl::Status UpdateReplicatedVariables(
    const std::string& prefix, const std::vector<int>& cores,
    const std::vector<ReplicatedVariable>& variables, Node* done,
    Node* all_done, tensorflow::Graph* graph) {
  for (size_t v = 0; v < variables.size(); ++v) {
    const ReplicatedVariable& variable = variables[v];
    const Use use = UseOf(variable.used, prefix);
    if (!use.written || use.dtype == tensorflow::DT_INVALID) continue;
    Node* read = nullptr;
    TF_RETURN_IF_ERROR(
        NodeBuilder(absl::StrCat(prefix, "variable_", v), "ReadVariableOp")
            .Device(CoreDevice(cores[0]))
            .Input(variable.used.node, variable.used.index)
            .Attr("dtype", use.dtype)
            .ControlInput(done)
            .Finalize(graph, &read));
    for (size_t i = 1; i < cores.size(); ++i) {
      if (!variable.packed && i >= variable.handles.size()) break;
      const OutputOf& handle =
          variable.packed ? variable.used : variable.handles[i];
      Node* assign = nullptr;
      TF_RETURN_IF_ERROR(
          NodeBuilder(absl::StrCat(prefix, "variable_", v, "/core_", i),
                      "AssignVariableOp")
              .Device(CoreDevice(cores[i]))
              .Input(handle.node, handle.index)
              .Input(read)
              .Attr("dtype", use.dtype)
              .Finalize(graph, &assign));
      graph->AddControlEdge(assign, all_done);
    }
  }
  return absl::OkStatus();
}

}  // namespace tf_embed::virtual_tpu
