#include "virtual_tpu/legacy_calls.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/framework/op.h"
#include "virtual_tpu/graph_building.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::FunctionDef;
using tensorflow::FunctionLibraryDefinition;
using tensorflow::Node;
using tensorflow::NodeDef;

absl::Status Modernize(const FunctionDef& callee, NodeDef* node) {
  tensorflow::DataTypeVector inputs, outputs;
  TF_RETURN_IF_ERROR(tensorflow::InOutTypesForNode(*node, callee.signature(),
                                                   &inputs, &outputs));
  tensorflow::AttrValue function;
  function.mutable_func()->set_name(node->op());
  auto& attrs = *node->mutable_attr();
  for (const auto& attr : callee.signature().attr()) {
    const auto it = attrs.find(attr.name());
    if (it == attrs.end()) continue;
    (*function.mutable_func()->mutable_attr())[attr.name()] = it->second;
    attrs.erase(it);
  }
  node->set_op(callee.signature().is_stateful() ? "StatefulPartitionedCall"
                                                : "PartitionedCall");
  attrs["f"] = std::move(function);
  tensorflow::AddNodeAttr("Tin", inputs, node);
  tensorflow::AddNodeAttr("Tout", outputs, node);
  const tensorflow::OpDef* op = nullptr;
  TF_RETURN_IF_ERROR(
      tensorflow::OpRegistry::Global()->LookUpOpDef(node->op(), &op));
  tensorflow::AddDefaultsToNodeDef(*op, node);
  return absl::OkStatus();
}

// What was an output by name is one by number.
void Rename(const std::map<std::string, tensorflow::NameRangeMap>& outputs,
            std::string* tensor) {
  const std::vector<std::string> parts = absl::StrSplit(*tensor, ':');
  if (parts.size() < 2) return;
  const auto node = outputs.find(parts[0]);
  if (node == outputs.end()) return;
  const auto range = node->second.find(parts[1]);
  if (range == node->second.end()) return;
  int index = 0;
  if (parts.size() > 2 && !absl::SimpleAtoi(parts[2], &index)) return;
  *tensor = absl::StrCat(parts[0], ":output:", range->second.first + index);
}

}  // namespace

absl::Status ModernizeCalls(const FunctionLibraryDefinition& library,
                            FunctionDef* function) {
  std::map<std::string, tensorflow::NameRangeMap> outputs;  // by node
  for (NodeDef& node : *function->mutable_node_def()) {
    const FunctionDef* callee = library.Find(node.op());
    if (callee == nullptr) continue;
    // The map has views of the names in the callee's signature.
    TF_RETURN_IF_ERROR(tensorflow::NameRangesForNode(
        node, callee->signature(), nullptr, &outputs[node.name()]));
    TF_RETURN_IF_ERROR(Modernize(*callee, &node));
  }
  if (outputs.empty()) return absl::OkStatus();
  for (NodeDef& node : *function->mutable_node_def()) {
    for (std::string& input : *node.mutable_input()) Rename(outputs, &input);
  }
  for (auto& [name, tensor] : *function->mutable_ret()) {
    Rename(outputs, &tensor);
  }
  return absl::OkStatus();
}

absl::Status ModernizeCall(const FunctionLibraryDefinition& library,
                           tensorflow::Graph* graph, Node** node) {
  const FunctionDef* callee = library.Find((*node)->type_string());
  if (callee == nullptr) return absl::OkStatus();
  NodeDef def = (*node)->def();
  TF_RETURN_IF_ERROR(Modernize(*callee, &def));
  return ReplaceNode(std::move(def), graph, node);
}

}  // namespace tf_embed::virtual_tpu
