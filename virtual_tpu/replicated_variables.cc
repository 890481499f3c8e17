#include "virtual_tpu/replicated_variables.h"

#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/node_builder.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/variable_uses.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::DataType;
using tensorflow::Node;
using tensorflow::NodeBuilder;

struct Use {
  bool written = false;
  DataType dtype = tensorflow::DT_INVALID;
};

Use UseOf(const OutputOf& handle, const std::string& prefix) {
  // Other replicas' copies have handles of their own, or, packed, devices.
  const auto of_replica = [&prefix](const Node& node) {
    return node.name().rfind(prefix, 0) == 0;
  };
  Use use;
  for (const Node* user : UsersOf(handle, of_replica)) {
    DataType dtype;
    if (!tensorflow::TryGetNodeAttr(user->attrs(), "dtype", &dtype) &&
        !tensorflow::TryGetNodeAttr(user->attrs(), "T", &dtype)) {
      continue;
    }
    use.dtype = dtype;
    use.written |= !OnlyReads(*user);
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
