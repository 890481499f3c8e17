#include "virtual_tpu/graph_building.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/node_builder.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::Edge;
using tensorflow::Graph;
using tensorflow::Node;
using tensorflow::NodeBuilder;

std::vector<NodeBuilder::NodeOut> NodeOuts(const std::vector<OutputOf>& outs) {
  std::vector<NodeBuilder::NodeOut> result;
  for (const OutputOf& out : outs) result.emplace_back(out.node, out.index);
  return result;
}

}  // namespace

absl::Status AddNoOp(const std::string& name, const std::string& device,
                     Graph* graph, Node** node) {
  return NodeBuilder(name, "NoOp").Device(device).Finalize(graph, node);
}

void NameOriginal(const std::string& node, const std::string& function,
                  tensorflow::NodeDef* copy) {
  auto& info = *copy->mutable_experimental_debug_info();
  if (!info.original_node_names().empty()) return;
  info.add_original_node_names(node);
  if (!function.empty()) info.add_original_func_names(function);
}

absl::Status ReplaceNode(tensorflow::NodeDef def, Graph* graph, Node** node) {
  absl::Status status;
  Node* replaced = graph->AddNode(std::move(def), &status);
  TF_RETURN_IF_ERROR(status);
  replaced->SetStackTrace((*node)->GetStackTrace());
  for (const Edge* edge : (*node)->in_edges()) {
    graph->AddEdge(edge->src(), edge->src_output(), replaced,
                   edge->dst_input());
  }
  const std::vector<const Edge*> edges((*node)->out_edges().begin(),
                                       (*node)->out_edges().end());
  for (const Edge* edge : edges) {
    Node* dst = edge->dst();
    const int output = edge->src_output();
    const int input = edge->dst_input();
    graph->RemoveEdge(edge);
    graph->AddEdge(replaced, output, dst, input);
  }
  graph->RemoveNode(*node);
  *node = replaced;
  return absl::OkStatus();
}

void ReplaceOutputs(Node* node, OutputOf by, Graph* graph) {
  const std::vector<const Edge*> edges(node->out_edges().begin(),
                                       node->out_edges().end());
  for (const Edge* edge : edges) {
    Node* dst = edge->dst();
    const int input = edge->dst_input();
    const bool control = edge->IsControlEdge();
    graph->RemoveEdge(edge);
    if (control) {
      graph->AddControlEdge(by.node, dst);
    } else {
      graph->AddEdge(by.node, by.index, dst, input);
    }
  }
}

absl::Status AddIntConst(const std::string& name, int value,
                         const std::string& device, Node* beside, Graph* graph,
                         Node** node) {
  tensorflow::Tensor tensor(tensorflow::DT_INT32, {});
  tensor.scalar<int32_t>()() = value;
  return NodeBuilder(name, "Const")
      .Device(device)
      .Attr("dtype", tensorflow::DT_INT32)
      .Attr("value", tensor)
      .ControlInput(beside)
      .Finalize(graph, node);
}

absl::Status AddConcatGrid(const std::string& name,
                           std::vector<OutputOf> pieces,
                           const std::vector<int>& grid,
                           const std::string& device, Graph* graph,
                           OutputOf* whole) {
  for (int dim = static_cast<int>(grid.size()) - 1; dim >= 0; --dim) {
    const int n = grid[dim];
    if (n == 1) continue;
    std::vector<OutputOf> joined;
    for (size_t first = 0; first < pieces.size(); first += n) {
      const std::string id = absl::StrCat(name, "/concat_", dim, "_", first);
      Node* axis = nullptr;
      TF_RETURN_IF_ERROR(AddIntConst(absl::StrCat(id, "/axis"), dim, device,
                                     pieces[first].node, graph, &axis));
      const std::vector<OutputOf> run(pieces.begin() + first,
                                      pieces.begin() + first + n);
      Node* concat = nullptr;
      TF_RETURN_IF_ERROR(NodeBuilder(id, "ConcatV2")
                             .Device(device)
                             .Input(NodeOuts(run))
                             .Input(axis)
                             .Finalize(graph, &concat));
      joined.push_back({concat, 0});
    }
    pieces = std::move(joined);
  }
  *whole = pieces[0];
  return absl::OkStatus();
}

absl::Status AddSplitGrid(const std::string& name, OutputOf whole,
                          const std::vector<int>& grid,
                          const std::string& device, Graph* graph,
                          std::vector<OutputOf>* pieces) {
  *pieces = {whole};
  for (size_t dim = 0; dim < grid.size(); ++dim) {
    const int n = grid[dim];
    if (n == 1) continue;
    std::vector<OutputOf> split;
    for (size_t i = 0; i < pieces->size(); ++i) {
      const std::string id = absl::StrCat(name, "/split_", dim, "_", i);
      Node* axis = nullptr;
      TF_RETURN_IF_ERROR(AddIntConst(absl::StrCat(id, "/axis"),
                                     static_cast<int>(dim), device,
                                     (*pieces)[i].node, graph, &axis));
      Node* node = nullptr;
      TF_RETURN_IF_ERROR(NodeBuilder(id, "Split")
                             .Device(device)
                             .Input(axis)
                             .Input((*pieces)[i].node, (*pieces)[i].index)
                             .Attr("num_split", n)
                             .Finalize(graph, &node));
      for (int j = 0; j < n; ++j) split.push_back({node, j});
    }
    *pieces = std::move(split);
  }
  return absl::OkStatus();
}

absl::Status PartitionGrid(const Node& node, int count,
                           std::vector<int>* grid) {
  grid->clear();
  if (absl::EndsWith(node.type_string(), "V2")) {
    return tensorflow::GetNodeAttr(node.attrs(), "partition_dims", grid);
  }
  int dim = 0;
  TF_RETURN_IF_ERROR(
      tensorflow::GetNodeAttr(node.attrs(), "partition_dim", &dim));
  if (dim >= 0) {
    grid->assign(dim + 1, 1);
    grid->back() = count;
  }
  return absl::OkStatus();
}

}  // namespace tf_embed::virtual_tpu
