#include "virtual_tpu/cluster.h"

#include <algorithm>
#include <map>
#include <numeric>
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
  return absl::InvalidArgumentError(
      absl::StrCat("the device assignment names the core at [",
                   absl::StrJoin(coordinates, ", "), "], outside of the mesh [",
                   absl::StrJoin(mesh.shape, ", "), "] of the virtual TPU"));
}

absl::Status ReadMetadata(Cluster* cluster) {
  const auto attrs = cluster->metadata->attrs();
  int cores_per_replica = 1;
  std::vector<int> assignment;
  TF_RETURN_IF_ERROR(
      tensorflow::GetNodeAttr(attrs, "num_replicas", &cluster->num_replicas));
  TF_RETURN_IF_ERROR(tensorflow::GetNodeAttr(attrs, "num_cores_per_replica",
                                             &cores_per_replica));
  TF_RETURN_IF_ERROR(
      tensorflow::GetNodeAttr(attrs, "device_assignment", &assignment));
  int first_core = 0;
  tensorflow::TryGetNodeAttr(attrs, kFirstCoreAttr, &first_core);
  const int cores = cluster->num_replicas * cores_per_replica;
  if (cores > NumCores()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a TPU computation asks for ", cluster->num_replicas, " replicas of ",
        cores_per_replica, " cores, but the virtual TPU has ", NumCores(),
        " cores: set ", kCoresVariable, " to ", cores, " or more"));
  }
  if (assignment.empty() && first_core + cores > NumCores()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a TPU computation asks for ", cores, " cores from core ",
                     first_core, " on, but the virtual TPU has ", NumCores()));
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
    int core = first_core + i;
    if (!assignment.empty()) {
      const auto first = assignment.begin() + size_t(i) * rank;
      TF_RETURN_IF_ERROR(CoreAt(std::vector<int>(first, first + rank), &core));
    }
    cluster->cores[i / cores_per_replica].push_back(core);
  }
  return absl::OkStatus();
}

// Sets of nodes that edges join, with TPUReplicatedInputs and pivots, which are
// outside of a cluster but belong to one.
class Components {
 public:
  explicit Components(const tensorflow::Graph& graph)
      : parent_(graph.num_node_ids()) {
    std::iota(parent_.begin(), parent_.end(), 0);
    for (const tensorflow::Edge* edge : graph.edges()) {
      if (Belongs(*edge->src()) && Belongs(*edge->dst())) {
        parent_[Find(edge->src()->id())] = Find(edge->dst()->id());
      }
    }
  }

  int Find(int id) {
    while (parent_[id] != id) id = parent_[id] = parent_[parent_[id]];
    return id;
  }

 private:
  static bool Belongs(const Node& node) {
    const auto attrs = node.attrs();
    return attrs.Find(kReplicateAttr) != nullptr ||
           attrs.Find("_pivot_for_cluster") != nullptr ||
           node.type_string() == "TPUReplicatedInput";
  }

  std::vector<int> parent_;
};

// Splits a cluster that is there more than once: around each of its metadata
// nodes. Nodes that no edge joins to one go with the first.
void Split(Cluster cluster, Components& components,
           std::vector<Cluster>* clusters) {
  std::map<int, size_t> part_of;  // by component
  std::vector<Cluster> parts;
  for (Node* node : cluster.nodes) {
    if (node->type_string() != "TPUReplicateMetadata") continue;
    part_of.emplace(components.Find(node->id()), parts.size());
    const std::string name =
        parts.empty() ? cluster.attr
                      : absl::StrCat(cluster.attr, "_", parts.size());
    parts.emplace_back();
    parts.back().attr = cluster.attr;
    parts.back().name = name;
    parts.back().metadata = node;
  }
  for (Node* node : cluster.nodes) {
    const auto it = part_of.find(components.Find(node->id()));
    parts[it == part_of.end() ? 0 : it->second].nodes.push_back(node);
  }
  for (Cluster& part : parts) clusters->push_back(std::move(part));
}

}  // namespace

absl::Status FindClusters(const tensorflow::Graph& graph,
                          std::vector<Cluster>* clusters) {
  std::map<std::string, Cluster> by_attr;
  for (Node* node : graph.op_nodes()) {
    std::string attr;
    if (!tensorflow::TryGetNodeAttr(node->attrs(), kReplicateAttr, &attr)) {
      continue;
    }
    Cluster& cluster = by_attr[attr];
    cluster.attr = attr;
    cluster.nodes.push_back(node);
    if (node->type_string() == "TPUReplicateMetadata") cluster.metadata = node;
  }
  if (by_attr.empty()) return absl::OkStatus();
  Components components(graph);
  for (auto& [attr, cluster] : by_attr) {
    if (cluster.metadata == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "TPU computation ", attr, " has no TPUReplicateMetadata node"));
    }
    Split(std::move(cluster), components, clusters);
  }
  for (Cluster& cluster : *clusters) {
    TF_RETURN_IF_ERROR(ReadMetadata(&cluster));
  }
  return absl::OkStatus();
}

}  // namespace tf_embed::virtual_tpu
