#include "virtual_tpu/conditional_depth.h"

#include <algorithm>

#include "tensorflow/core/graph/algorithm.h"

namespace tf_embed::virtual_tpu {

using tensorflow::Edge;
using tensorflow::Node;

std::unordered_map<const Node*, int> ConditionalDepths(
    const tensorflow::Graph& graph, const std::vector<Node*>& nodes) {
  std::unordered_map<const Node*, int> depths;
  for (const Node* node : nodes) depths.emplace(node, 0);
  std::vector<Node*> order;
  // Without the back edges of loops there is an order.
  tensorflow::GetReversePostOrder(
      graph, &order, tensorflow::NodeComparatorID(),
      [](const Edge& edge) { return !edge.src()->IsNextIteration(); });
  for (const Node* node : order) {
    const auto it = depths.find(node);
    if (it == depths.end()) continue;
    int depth = 0;
    bool loop = false;
    for (const Edge* edge : node->in_edges()) {
      const Node* source = edge->src();
      loop |= source->IsNextIteration();
      const auto from = depths.find(source);
      if (from == depths.end() || source->IsNextIteration()) continue;
      const bool switched = source->IsSwitch() && !edge->IsControlEdge();
      depth = std::max(depth, from->second + (switched ? 1 : 0));
    }
    // A Merge joins the branches of a Switch, unless it starts a loop; what an
    // Exit lets out was switched by the loop's condition.
    if ((node->IsMerge() && !loop) || node->IsExit()) --depth;
    it->second = std::max(depth, 0);
  }
  return depths;
}

}  // namespace tf_embed::virtual_tpu
