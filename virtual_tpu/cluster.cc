#include "virtual_tpu/cluster.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/protobuf/tpu/topology.pb.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/options.h"
#include "virtual_tpu/topology.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::Node;

absl::Status CoreAt(const std::vector<int>& coordinates, int* core) {
  const Mesh mesh = MeshOf(NumCores());
  for (size_t i = 0; i < mesh.coordinates.size(); ++i) {
    if (std::equal(coordinates.begin(), coordinates.end(),
                   mesh.coordinates[i].begin(), mesh.coordinates[i].end())) {
      *core = static_cast<int>(i);
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "the device assignment names the core at [",
      absl::StrJoin(coordinates, ", "), "], outside of the mesh [",
      absl::StrJoin(mesh.shape, ", "), "] of the virtual TPU"));
}

absl::Status ReadMetadata(Cluster* cluster) {
  const auto attrs = cluster->metadata->attrs();
  int cores_per_replica = 1;
  std::vector<int> assignment;
  TF_RETURN_IF_ERROR(tensorflow::GetNodeAttr(attrs, "num_replicas",
                                             &cluster->num_replicas));
  TF_RETURN_IF_ERROR(tensorflow::GetNodeAttr(attrs, "num_cores_per_replica",
                                             &cores_per_replica));
  TF_RETURN_IF_ERROR(
      tensorflow::GetNodeAttr(attrs, "device_assignment", &assignment));
  const int cores = cluster->num_replicas * cores_per_replica;
  if (cores > NumCores()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a TPU computation asks for ", cluster->num_replicas, " replicas of ",
        cores_per_replica, " cores, but the virtual TPU has ", NumCores(),
        " cores: set ", kCoresVariable, " to ", cores, " or more"));
  }
  const int rank = static_cast<int>(Mesh().shape.size());
  if (!assignment.empty() && assignment.size() != size_t(cores) * rank) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the device assignment has ", assignment.size(), " numbers, must be ",
        cores * rank, " for ", cluster->num_replicas, " replicas of ",
        cores_per_replica, " cores"));
  }
  cluster->cores.assign(cluster->num_replicas, {});
  for (int i = 0; i < cores; ++i) {
    int core = i;
    if (!assignment.empty()) {
      const auto first = assignment.begin() + size_t(i) * rank;
      TF_RETURN_IF_ERROR(
          CoreAt(std::vector<int>(first, first + rank), &core));
    }
    cluster->cores[i / cores_per_replica].push_back(core);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status FindClusters(const tensorflow::Graph& graph,
                          std::vector<Cluster>* clusters) {
  std::map<std::string, Cluster> by_name;
  for (Node* node : graph.op_nodes()) {
    std::string name;
    if (!tensorflow::TryGetNodeAttr(node->attrs(), kReplicateAttr, &name)) {
      continue;
    }
    Cluster& cluster = by_name[name];
    cluster.name = name;
    cluster.nodes.push_back(node);
    if (node->type_string() == "TPUReplicateMetadata") {
      cluster.metadata = node;
    }
  }
  for (auto& [name, cluster] : by_name) {
    if (cluster.metadata == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "TPU computation ", name, " has no TPUReplicateMetadata node"));
    }
    TF_RETURN_IF_ERROR(ReadMetadata(&cluster));
    clusters->push_back(std::move(cluster));
  }
  return absl::OkStatus();
}

}  // namespace tf_embed::virtual_tpu
