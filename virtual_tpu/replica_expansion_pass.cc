#include "virtual_tpu/replica_expansion_pass.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "tensorflow/core/common_runtime/composite_device.h"
#include "tensorflow/core/framework/function.pb.h"
#include "tensorflow/core/graph/algorithm.h"
#include "virtual_tpu/calls.h"
#include "virtual_tpu/cluster.h"
#include "virtual_tpu/cluster_lowering.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/function_copies.h"
#include "virtual_tpu/graph_building.h"
#include "virtual_tpu/options.h"
#include "virtual_tpu/replica_expansion.h"
#include "virtual_tpu/shard_mapping.h"
#include "virtual_tpu/strict_mode.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::Edge;
using tensorflow::Graph;
using tensorflow::GraphOptimizationPassOptions;
using tensorflow::Node;

// Early enough that the placer still decides where the copies' variables live;
// LowerFunctionalOpsPass is at 10.
constexpr int kPhase = 20;

// Names that the rest of TensorFlow may ask for. A function says which; a
// session's targets may be any op with an effect.
std::set<std::string> KeptNames(const GraphOptimizationPassOptions& options,
                                const std::vector<Cluster>& clusters) {
  std::set<std::string> names;
  if (options.function_def != nullptr) {
    for (const auto& [output, node] : options.function_def->control_ret()) {
      names.insert(node);
    }
  }
  for (const Cluster& cluster : clusters) {
    for (const Node* node : cluster.nodes) {
      if (node->op_def().is_stateful() || node->type_string() == "NoOp") {
        names.insert(node->name());
      }
    }
  }
  return names;
}

// Iterations of a host loop must not overtake each other inside a collective.
void SerializeLoops(Graph* graph) {
  for (Node* node : graph->op_nodes()) {
    if (!node->IsEnter()) continue;
    node->ClearAttr("parallel_iterations");
    node->AddAttr("parallel_iterations", 1);
  }
}

// What splits the outputs of a replica over its logical cores.
absl::Status ReplacePartitionedOutputs(Graph* graph) {
  std::vector<Node*> partitioned;
  for (Node* node : graph->op_nodes()) {
    if (absl::StartsWith(node->type_string(), "TPUPartitionedOutput")) {
      partitioned.push_back(node);
    }
  }
  for (Node* node : partitioned) {
    const Edge* input = nullptr;
    TF_RETURN_IF_ERROR(node->input_edge(0, &input));
    std::vector<int> grid;
    TF_RETURN_IF_ERROR(PartitionGrid(*node, node->num_outputs(), &grid));
    std::vector<OutputOf> pieces;
    TF_RETURN_IF_ERROR(AddSplitGrid(node->name(),
                                    {input->src(), input->src_output()}, grid,
                                    kHostDevice, graph, &pieces));
    const std::vector<const Edge*> edges(node->out_edges().begin(),
                                         node->out_edges().end());
    for (const Edge* edge : edges) {
      Node* dst = edge->dst();
      const int dst_input = edge->dst_input();
      const int output = edge->src_output();
      graph->RemoveEdge(edge);
      if (output < 0) {
        graph->AddControlEdge(pieces[0].node, dst);
        continue;
      }
      const OutputOf& piece = pieces.size() == 1 ? pieces[0] : pieces[output];
      graph->AddEdge(piece.node, piece.index, dst, dst_input);
    }
    graph->RemoveNode(node);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReplicaExpansionPass::Run(
    const GraphOptimizationPassOptions& options) {
  if (options.graph == nullptr || *options.graph == nullptr) {
    return absl::OkStatus();
  }
  Graph* graph = options.graph->get();
  std::vector<Cluster> clusters;
  TF_RETURN_IF_ERROR(FindClusters(*graph, &clusters));
  if (clusters.empty()) return absl::OkStatus();
  const std::set<std::string> kept_names = KeptNames(options, clusters);
  CompositeDevices composite_devices;
  if (options.composite_devices != nullptr) {
    for (const tensorflow::CompositeDevice* device :
         *options.composite_devices) {
      composite_devices[device->name()] = *device->underlying_devices();
    }
  }
  SerializeLoops(graph);
  for (Cluster& cluster : clusters) {
    TF_RETURN_IF_ERROR(LowerCluster(options, &cluster));
    TF_RETURN_IF_ERROR(MapOverShards(&cluster, graph));
    if (StrictMode()) WarnOfRefusals(cluster);
    TF_RETURN_IF_ERROR(ExpandCluster(cluster, kept_names, composite_devices,
                                     FunctionCopies(graph, options.flib_def),
                                     graph));
  }
  TF_RETURN_IF_ERROR(ReplacePartitionedOutputs(graph));
  tensorflow::FixupSourceAndSinkEdges(graph);
  return absl::OkStatus();
}

void RegisterReplicaExpansionPass() {
  RegisterCallOps();
  tensorflow::OptimizationPassRegistry::Global()->Register(
      tensorflow::OptimizationPassRegistry::PRE_PLACEMENT, kPhase,
      std::make_unique<ReplicaExpansionPass>());
}

}  // namespace tf_embed::virtual_tpu
