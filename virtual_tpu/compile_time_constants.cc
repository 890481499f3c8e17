#include "virtual_tpu/compile_time_constants.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "virtual_tpu/device_names.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::Edge;
using tensorflow::Node;
using tensorflow::XlaOpRegistry;

// Whether the slice has one shape wherever it begins: each dimension is taken
// whole or a single element of it.
bool SliceHasStaticShape(const Node& slice) {
  const Edge* strides = nullptr;
  const tensorflow::TensorProto* value = nullptr;
  if (!slice.input_edge(3, &strides).ok() ||
      !tensorflow::TryGetNodeAttr(strides->src()->attrs(), "value", &value)) {
    return false;
  }
  int64_t free = 0;
  for (const char* mask :
       {"shrink_axis_mask", "ellipsis_mask", "new_axis_mask"}) {
    int64_t bits = 0;
    tensorflow::TryGetNodeAttr(slice.attrs(), mask, &bits);
    free |= bits;
  }
  int64_t begin = 0;
  int64_t end = 0;
  tensorflow::TryGetNodeAttr(slice.attrs(), "begin_mask", &begin);
  tensorflow::TryGetNodeAttr(slice.attrs(), "end_mask", &end);
  free |= begin & end;
  const auto& dims = value->tensor_shape().dim();
  const int64_t all = (int64_t{1} << (dims.empty() ? 0 : dims[0].size())) - 1;
  return (free & all) == all;
}

// Inputs that XLA's registry lists, but whose kernel takes them unknown.
bool MayBeUnknown(const Node& node, int input) {
  if (node.type_string() == "StridedSlice") return SliceHasStaticShape(node);
  return node.type_string() == "Slice" && input == 1;  // where it begins
}

// Ops that hand values on, so that what a loop hands on stays constant.
bool HandsOn(const Node& node) {
  return node.IsIdentity() || node.IsEnter() || node.IsExit() ||
         node.IsMerge() || node.IsNextIteration() || node.IsSwitch();
}

bool IsLoopSwitch(const Node& node) {
  const Edge* predicate = nullptr;
  return node.input_edge(1, &predicate).ok() && predicate->src()->IsLoopCond();
}

}  // namespace

const Node* CompileTimeConstants::Data(const Node* node, int computed) {
  if (inside_.count(node) == 0) return node;
  const std::string& op = node->type_string();
  if (node->IsConstant() || XlaOpRegistry::IsMetadataOp(op) ||
      op == "XlaSetBound") {
    return nullptr;
  }
  if (node->op_def().is_stateful() || node->num_inputs() == 0 ||
      node->requested_device() == kHostDevice) {
    return node;
  }
  if (!HandsOn(*node)) ++computed;
  auto [it, fresh] = visits_.emplace(node, Visit{false, computed, nullptr});
  if (!fresh) {
    if (it->second.done) return it->second.data;
    // A loop's variable; constant if nothing was computed on the way round.
    return it->second.computed == computed ? nullptr : node;
  }
  const Node* data = nullptr;
  for (const Edge* edge : node->in_edges()) {
    if (edge->IsControlEdge() || data != nullptr) continue;
    // Which iteration it is does not make a loop's variable vary.
    if (node->IsSwitch() && edge->dst_input() == 1 && IsLoopSwitch(*node)) {
      continue;
    }
    data = Data(edge->src(), computed);
  }
  visits_[node] = Visit{true, computed, data};
  return data;
}

std::string CompileTimeConstants::Complaint(const Node& node) {
  std::vector<int> inputs;
  if (!XlaOpRegistry::CompileTimeConstantInputs(node.def(), node.op_def(),
                                                &inputs)
           .ok()) {
    return "";
  }
  for (int input : inputs) {
    const Edge* edge = nullptr;
    if (MayBeUnknown(node, input) || !node.input_edge(input, &edge).ok()) {
      continue;
    }
    const Node* data = Data(edge->src(), 0);
    if (data == nullptr) continue;
    return absl::StrCat("its input ", input,
                        " decides a shape, so it must be known when the "
                        "program is compiled, but it depends on ",
                        data->name(), " (", data->type_string(), ")");
  }
  return "";
}

}  // namespace tf_embed::virtual_tpu
