#include "virtual_tpu/shard_mapping.h"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/control_flow.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/graph_building.h"
#include "virtual_tpu/sharding.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::Edge;
using tensorflow::Graph;
using tensorflow::Node;
using tensorflow::NodeDef;

// In the order of the ids, so that every run builds the same graph.
struct ById {
  bool operator()(const Node* a, const Node* b) const {
    return a->id() < b->id();
  }
};
using NodeSet = std::set<Node*, ById>;

constexpr char kFullToShard[] = "XlaSpmdFullToShardShape";
constexpr char kShardToFull[] = "XlaSpmdShardToFullShape";

bool IsBoundary(const Node& node) {
  return node.type_string() == kFullToShard ||
         node.type_string() == kShardToFull;
}

std::vector<const Edge*> Edges(const tensorflow::EdgeSet& edges) {
  return {edges.begin(), edges.end()};
}

absl::Status BoundarySharding(const Node& node, int num_cores,
                              Sharding* sharding) {
  std::string serialized;
  int dim = -1;
  std::vector<int> unspecified;
  const auto attrs = node.attrs();
  TF_RETURN_IF_ERROR(
      tensorflow::GetNodeAttr(attrs, "manual_sharding", &serialized));
  tensorflow::TryGetNodeAttr(attrs, "dim", &dim);
  tensorflow::TryGetNodeAttr(attrs, "unspecified_dims", &unspecified);
  if (dim >= 0 || !unspecified.empty()) {
    return absl::UnimplementedError(absl::StrCat(
        node.name(), ": the virtual TPU does not run computations of which ",
        "only some dimensions are partitioned by hand"));
  }
  return ParseSharding(serialized, num_cores, sharding);
}

// One part that is computed shard by shard.
class Part {
 public:
  Part(std::string name, NodeSet nodes, std::string device, Cluster* cluster,
       Graph* graph)
      : name_(std::move(name)),
        device_(std::move(device)),
        num_shards_(static_cast<int>(cluster->cores[0].size())),
        nodes_(std::move(nodes)),
        copies_(num_shards_),
        cluster_(cluster),
        graph_(graph) {}
  virtual ~Part() = default;

  absl::Status Run() {
    const int first_new_id = graph_->num_node_ids();
    TF_RETURN_IF_ERROR(Check());
    TF_RETURN_IF_ERROR(CopyNodes());
    TF_RETURN_IF_ERROR(WireInputs());
    TF_RETURN_IF_ERROR(WireOutputs());
    for (int id = first_new_id; id < graph_->num_node_ids(); ++id) {
      if (Node* node = graph_->FindNodeId(id)) cluster_->nodes.push_back(node);
    }
    return absl::OkStatus();
  }

 protected:
  bool Has(Node* node) const { return nodes_.count(node) > 0; }
  const NodeSet& nodes() const { return nodes_; }
  int num_shards() const { return num_shards_; }
  Graph* graph() const { return graph_; }
  Cluster* cluster() const { return cluster_; }

  // The output that a shard has of a value inside or outside of the part.
  OutputOf OfShard(Node* node, int output, int shard) const {
    return {Has(node) ? copies_[shard].at(node) : node, output};
  }

  // How a value from outside reaches the part.
  virtual absl::Status ShardingOf(const Edge& edge, Sharding* sharding) = 0;
  virtual absl::Status Check() { return absl::OkStatus(); }
  virtual absl::Status WireOutputs() = 0;

  // The pieces of a value, one for each shard.
  absl::Status Split(OutputOf whole, const Sharding& sharding,
                     std::vector<OutputOf>* of_shard) {
    std::vector<OutputOf> pieces;
    TF_RETURN_IF_ERROR(AddSplitGrid(NewName(*whole.node), whole, sharding.grid,
                                    device_, graph_, &pieces));
    of_shard->clear();
    for (int shard = 0; shard < num_shards_; ++shard) {
      of_shard->push_back(pieces[sharding.piece_of[shard]]);
    }
    return absl::OkStatus();
  }

  // The inverse, for a value of the part.
  absl::Status Join(Node* node, int output, const Sharding& sharding,
                    OutputOf* whole) {
    int num_pieces = 1;
    for (int n : sharding.grid) num_pieces *= n;
    std::vector<OutputOf> pieces;
    for (int piece = 0; piece < num_pieces; ++piece) {
      pieces.push_back(OfShard(node, output, sharding.OwnerOf(piece)));
    }
    return AddConcatGrid(NewName(*node), std::move(pieces), sharding.grid,
                         device_, graph_, whole);
  }

 private:
  std::string NewName(const Node& node) {
    return graph_->NewName(absl::StrCat(node.name(), "/", name_));
  }

  // The nodes themselves compute the first shard.
  absl::Status CopyNodes() {
    for (Node* node : nodes_) copies_[0][node] = node;
    for (int shard = 1; shard < num_shards_; ++shard) {
      const std::string suffix = absl::StrCat("/shard_", shard);
      for (Node* node : nodes_) {
        NodeDef def = node->def();
        def.set_name(graph_->NewName(absl::StrCat(node->name(), suffix)));
        if (node->requested_device().empty()) {
          def.set_device(absl::StrCat("/device:TPU_REPLICATED_CORE:", shard));
        }
        if (node->IsEnter()) {
          auto& frame = (*def.mutable_attr())["frame_name"];
          frame.set_s(absl::StrCat(frame.s(), suffix));
        }
        absl::Status status;
        copies_[shard][node] = graph_->AddNode(std::move(def), &status);
        TF_RETURN_IF_ERROR(status);
      }
    }
    return absl::OkStatus();
  }

  absl::Status WireInputs() {
    std::map<std::pair<Node*, int>, std::vector<OutputOf>> pieces;
    for (Node* node : nodes_) {
      for (const Edge* edge : Edges(node->in_edges())) {
        if (edge->IsControlEdge()) {
          for (int shard = 1; shard < num_shards_; ++shard) {
            graph_->AddControlEdge(
                OfShard(edge->src(), Graph::kControlSlot, shard).node,
                copies_[shard][node]);
          }
          continue;
        }
        std::vector<OutputOf> of_shard;
        if (Has(edge->src())) {
          for (int shard = 0; shard < num_shards_; ++shard) {
            of_shard.push_back(OfShard(edge->src(), edge->src_output(), shard));
          }
        } else {
          auto& found = pieces[{edge->src(), edge->src_output()}];
          if (found.empty()) {
            TF_RETURN_IF_ERROR(FromOutside(*edge, &found));
          }
          of_shard = found;
        }
        const int input = edge->dst_input();
        if (!Has(edge->src())) {
          graph_->RemoveEdge(edge);
          graph_->AddEdge(of_shard[0].node, of_shard[0].index, node, input);
        }
        for (int shard = 1; shard < num_shards_; ++shard) {
          graph_->AddEdge(of_shard[shard].node, of_shard[shard].index,
                          copies_[shard][node], input);
        }
      }
      for (const Edge* edge : Edges(node->out_edges())) {
        if (!edge->IsControlEdge() || Has(edge->dst())) continue;
        for (int shard = 1; shard < num_shards_; ++shard) {
          graph_->AddControlEdge(copies_[shard][node], edge->dst());
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status FromOutside(const Edge& edge, std::vector<OutputOf>* of_shard) {
    Sharding sharding;
    TF_RETURN_IF_ERROR(ShardingOf(edge, &sharding));
    Node* source = edge.src();
    int output = edge.src_output();
    if (source->type_string() == kFullToShard) {
      const Edge* input = nullptr;
      TF_RETURN_IF_ERROR(source->input_edge(0, &input));
      source = input->src();
      output = input->src_output();
    }
    return Split({source, output}, sharding, of_shard);
  }

  const std::string name_;
  const std::string device_;  // of what splits and joins
  const int num_shards_;
  const NodeSet nodes_;
  std::vector<std::map<Node*, Node*>> copies_;  // by shard
  Cluster* const cluster_;
  Graph* const graph_;
};

// What lies between the two changes of partitioning.
class ManualPart : public Part {
 public:
  ManualPart(NodeSet nodes, Cluster* cluster, Graph* graph)
      : Part("manual", std::move(nodes), /*device=*/"", cluster, graph) {}

 protected:
  absl::Status Check() override {
    const NodeSet inside(cluster()->nodes.begin(), cluster()->nodes.end());
    for (Node* node : nodes()) {
      const bool takes_resource =
          absl::c_linear_search(node->input_types(), tensorflow::DT_RESOURCE);
      if (takes_resource && !node->IsControlFlow() && !node->IsIdentity() &&
          node->type_string() != "ReadVariableOp" &&
          node->type_string() != "ResourceGather") {
        return absl::UnimplementedError(
            absl::StrCat(node->name(), " (", node->type_string(),
                         "): the virtual TPU does not run manually partitioned "
                         "computations that write a variable"));
      }
      for (const Edge* edge : node->out_edges()) {
        if (edge->IsControlEdge()) continue;
        if (inside.count(edge->dst()) == 0) {
          return absl::UnimplementedError(absl::StrCat(
              "a result of ", node->name(),
              " leaves the TPU computation partitioned: the virtual TPU wants "
              "manual_to_auto_spmd_partition before that"));
        }
        if (edge->dst()->type_string() == kFullToShard) {
          return absl::UnimplementedError(absl::StrCat(
              edge->dst()->name(),
              ": the virtual TPU does not run manually partitioned "
              "computations inside of each other"));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status ShardingOf(const Edge& edge, Sharding* sharding) override {
    if (edge.src()->type_string() == kFullToShard) {
      return BoundarySharding(*edge.src(), num_shards(), sharding);
    }
    *sharding = {{}, std::vector<int>(num_shards(), 0)};
    return absl::OkStatus();
  }

  absl::Status WireOutputs() override {
    for (Node* node : cluster()->nodes) {
      if (node->type_string() != kShardToFull) continue;
      Sharding sharding;
      TF_RETURN_IF_ERROR(BoundarySharding(*node, num_shards(), &sharding));
      const Edge* input = nullptr;
      TF_RETURN_IF_ERROR(node->input_edge(0, &input));
      OutputOf whole;
      if (input->src()->type_string() == kFullToShard) {  // there and back
        TF_RETURN_IF_ERROR(input->src()->input_edge(0, &input));
        whole = {input->src(), input->src_output()};
      } else {
        TF_RETURN_IF_ERROR(
            Join(input->src(), input->src_output(), sharding, &whole));
      }
      ReplaceOutputs(node, whole, graph());
    }
    std::vector<Node*> left;
    for (Node* node : cluster()->nodes) {
      if (!IsBoundary(*node)) {
        left.push_back(node);
      } else {
        graph()->RemoveNode(node);
      }
    }
    cluster()->nodes = std::move(left);
    return absl::OkStatus();
  }
};

// One call of experimental_map_outside_compilation.
class MappedPart : public Part {
 public:
  MappedPart(NodeSet nodes, Cluster* cluster, Graph* graph)
      : Part("map", std::move(nodes), kHostDevice, cluster, graph) {}

 protected:
  absl::Status Check() override {
    for (Node* node : nodes()) {
      for (const Edge* edge : node->in_edges()) {
        if (edge->IsControlEdge() || Has(edge->src())) continue;
        Sharding sharding;
        TF_RETURN_IF_ERROR(ShardingOf(*edge, &sharding));
        if (sharding.IsSplit()) of_results_ = sharding;
      }
    }
    if (of_results_.IsSplit() || num_shards() == 1) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("experimental_map_outside_compilation maps over shards, "
                     "but no input of ",
                     (*nodes().begin())->name(),
                     " was split by experimental_split_to_logical_devices"));
  }

  absl::Status ShardingOf(const Edge& edge, Sharding* sharding) override {
    const Node* node = edge.src();
    std::string serialized;
    while (
        !tensorflow::TryGetNodeAttr(node->attrs(), "sharding", &serialized)) {
      const Edge* input = nullptr;
      if (!node->IsIdentity() || !node->input_edge(0, &input).ok()) break;
      node = input->src();
    }
    if (serialized.empty()) {
      *sharding = {{}, std::vector<int>(num_shards(), 0)};
      return absl::OkStatus();
    }
    return ParseSharding(serialized, num_shards(), sharding);
  }

  absl::Status WireOutputs() override {
    if (num_shards() == 1) return absl::OkStatus();
    for (Node* node : nodes()) {
      std::map<int, OutputOf> wholes;  // by output
      for (const Edge* edge : Edges(node->out_edges())) {
        if (edge->IsControlEdge() || Has(edge->dst())) continue;
        OutputOf& whole = wholes[edge->src_output()];
        if (whole.node == nullptr) {
          TF_RETURN_IF_ERROR(
              Join(node, edge->src_output(), of_results_, &whole));
          if (whole.node == edge->dst()) continue;
        }
        Node* dst = edge->dst();
        const int input = edge->dst_input();
        graph()->RemoveEdge(edge);
        graph()->AddEdge(whole.node, whole.index, dst, input);
      }
    }
    return absl::OkStatus();
  }

 private:
  Sharding of_results_;
};

// Finds the parts of a cluster.
class Parts {
 public:
  Parts(const Cluster& cluster, const Graph& graph)
      : inside_(cluster.nodes.begin(), cluster.nodes.end()) {
    for (Node* node : cluster.nodes) {
      std::string name;
      if (tensorflow::TryGetNodeAttr(node->attrs(), kMappedAttr, &name)) {
        mapped_[name].insert(node);
      }
      if (node->type_string() == kFullToShard) starts_.insert(node);
      has_manual_ |= IsBoundary(*node);
    }
  }

  bool has_any() const { return has_manual_ || !mapped_.empty(); }
  bool has_manual() const { return has_manual_; }

  absl::Status FindFrames(Graph* graph) {
    std::vector<tensorflow::ControlFlowInfo> info;
    TF_RETURN_IF_ERROR(tensorflow::BuildControlFlowInfo(graph, &info));
    frame_.resize(info.size());
    for (size_t i = 0; i < info.size(); ++i) frame_[i] = info[i].frame_name;
    return absl::OkStatus();
  }

  NodeSet Manual() const {
    NodeSet nodes = Reached(starts_, /*forward=*/true,
                            [](const Edge&, const Node&) { return true; });
    WithLoops(&nodes);
    for (auto it = nodes.begin(); it != nodes.end();) {
      it = IsBoundary(**it) ? nodes.erase(it) : std::next(it);
    }
    return nodes;
  }

  // Lowering leaves nodes that have no attribute, and compute nothing, between
  // those that have it.
  std::vector<NodeSet> Mapped() const {
    std::vector<NodeSet> parts;
    for (const auto& [name, marked] : mapped_) {
      const auto in_between = [&marked](const Edge& edge, const Node& next) {
        return !edge.src()->IsNextIteration() &&
               (marked.count(const_cast<Node*>(&next)) > 0 ||
                next.IsIdentity() || next.IsControlFlow());
      };
      NodeSet nodes = marked;
      const NodeSet before = Reached(marked, /*forward=*/false, in_between);
      for (Node* node : Reached(marked, /*forward=*/true, in_between)) {
        if (before.count(node) > 0) nodes.insert(node);
      }
      WithLoops(&nodes);
      parts.push_back(std::move(nodes));
    }
    return parts;
  }

 private:
  using Follow = std::function<bool(const Edge& edge, const Node& next)>;

  // What data from `from` reaches, or is reached by, along the edges to follow.
  // Ends where partitioning by hand does.
  NodeSet Reached(const NodeSet& from, bool forward,
                  const Follow& follow) const {
    NodeSet reached = from;
    std::vector<Node*> stack(from.begin(), from.end());
    while (!stack.empty()) {
      Node* node = stack.back();
      stack.pop_back();
      if (node->type_string() == kShardToFull) continue;
      for (const Edge* edge : forward ? node->out_edges() : node->in_edges()) {
        if (edge->IsControlEdge()) continue;
        Node* next = forward ? edge->dst() : edge->src();
        if (inside_.count(next) > 0 && follow(*edge, *next) &&
            reached.insert(next).second) {
          stack.push_back(next);
        }
      }
    }
    return reached;
  }

  // A loop is copied as a whole.
  void WithLoops(NodeSet* nodes) const {
    std::set<std::string> frames;
    for (Node* node : *nodes) {
      if (node->IsEnter()) frames.insert(frame_[node->id()]);
    }
    if (frames.empty()) return;
    for (Node* node : inside_) {
      if (frames.count(frame_[node->id()]) > 0) nodes->insert(node);
    }
  }

  const NodeSet inside_;
  std::map<std::string, NodeSet> mapped_;  // by the name of the call
  NodeSet starts_;
  bool has_manual_ = false;
  std::vector<std::string> frame_;  // by node id
};

}  // namespace

absl::Status MapOverShards(Cluster* cluster, Graph* graph) {
  Parts parts(*cluster, *graph);
  if (!parts.has_any()) return absl::OkStatus();
  TF_RETURN_IF_ERROR(parts.FindFrames(graph));
  for (NodeSet& nodes : parts.Mapped()) {
    TF_RETURN_IF_ERROR(MappedPart(std::move(nodes), cluster, graph).Run());
  }
  for (Node* node : cluster->nodes) {
    node->ClearAttr(kMappedAttr);
  }
  if (!parts.has_manual()) return absl::OkStatus();
  Parts with_mapped(*cluster, *graph);
  TF_RETURN_IF_ERROR(with_mapped.FindFrames(graph));
  return ManualPart(with_mapped.Manual(), cluster, graph).Run();
}

}  // namespace tf_embed::virtual_tpu
