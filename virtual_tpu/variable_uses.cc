#include "virtual_tpu/variable_uses.h"

#include <string>
#include <unordered_set>

namespace tf_embed::virtual_tpu {

using tensorflow::Edge;
using tensorflow::Node;

bool PassesHandlesOn(const Node& node) {
  return node.IsControlFlow() || node.IsIdentity();
}

std::vector<const Node*> UsersOf(
    const OutputOf& handle, const std::function<bool(const Node&)>& counts) {
  std::vector<const Node*> users, passing;
  std::unordered_set<const Node*> seen;
  const auto visit = [&](const Edge& edge) {
    const Node* node = edge.dst();
    if (!IsResource(edge) || !counts(*node) || !seen.insert(node).second) {
      return;
    }
    (PassesHandlesOn(*node) ? passing : users).push_back(node);
  };
  for (const Edge* edge : handle.node->out_edges()) {
    if (edge->src_output() == handle.index) visit(*edge);
  }
  while (!passing.empty()) {
    const Node* node = passing.back();
    passing.pop_back();
    for (const Edge* edge : node->out_edges()) visit(*edge);
  }
  return users;
}

bool IsResource(const Edge& edge) {
  return !edge.IsControlEdge() &&
         edge.src()->output_type(edge.src_output()) == tensorflow::DT_RESOURCE;
}

bool OnlyReads(const Node& user) {
  static const auto* const reads = new std::unordered_set<std::string>{
      "ReadVariableOp",
      "VarIsInitializedOp",
      "VariableShape",
      "ResourceGather",
      "ResourceGatherNd",
      "_Retval",
      "_ReadVariablesOp",
      "TfEmbed>FusedEmbeddingLookup",
      "TfEmbed>FusedEmbeddingLookupGrad",
      "TfEmbed>FusedEmbeddingLookupWeightsGrad",
  };
  return reads->count(user.type_string()) > 0;
}

}  // namespace tf_embed::virtual_tpu
