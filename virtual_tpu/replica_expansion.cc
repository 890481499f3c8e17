#include "virtual_tpu/replica_expansion.h"

#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/control_flow.h"
#include "tensorflow/core/graph/node_builder.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/conditional_depth.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/graph_building.h"
#include "virtual_tpu/private_variables.h"
#include "virtual_tpu/replica_nodes.h"
#include "virtual_tpu/replicated_variables.h"
#include "virtual_tpu/system_state.h"
#include "virtual_tpu/variable_uses.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::Edge;
using tensorflow::Graph;
using tensorflow::Node;
using tensorflow::NodeDef;

bool IsPartitionedInput(const Node& node) {
  return absl::StartsWith(node.type_string(), "TPUPartitionedInput");
}

bool IsPacked(const Node& node) {
  bool packed = false;
  return tensorflow::TryGetNodeAttr(node.attrs(), "is_packed", &packed) &&
         packed;
}

class Expansion {
 public:
  Expansion(const Cluster& cluster, const std::set<std::string>& kept_names,
            const CompositeDevices& composite_devices,
            const FunctionCopies& functions, Graph* graph)
      : cluster_(cluster),
        kept_names_(kept_names),
        composite_devices_(composite_devices),
        graph_(graph),
        inside_(cluster.nodes.begin(), cluster.nodes.end()),
        copies_(cluster.num_replicas),
        variables_(cluster.num_replicas),
        done_(cluster.num_replicas) {
    for (int r = 0; r < cluster.num_replicas; ++r) {
      nodes_.emplace_back(cluster, r, functions);
    }
  }

  absl::Status Run() {
    TF_RETURN_IF_ERROR(FindLoopBodies());
    TF_RETURN_IF_ERROR(FindSharedVariables());
    for (int r = 0; r < cluster_.num_replicas; ++r) {
      TF_RETURN_IF_ERROR(CopyNodes(r));
      TF_RETURN_IF_ERROR(WireInputs(r));
      OrderPrivateVariables(r);
      FollowVariables(r);
      OrderEmbeddingOps(r);
      TF_RETURN_IF_ERROR(AddDone(r));
    }
    TF_RETURN_IF_ERROR(AddAllDone());
    TF_RETURN_IF_ERROR(AddSystemCheck());
    TF_RETURN_IF_ERROR(WireOutputs());
    TF_RETURN_IF_ERROR(ReplaceCompilationResults());
    return RemoveOriginals();
  }

 private:
  using Output = std::pair<Node*, int>;

  std::string Prefix(int replica) const {
    return absl::StrCat(cluster_.name, "/replica_", replica, "/");
  }

  std::string Core(int replica, int logical) const {
    return nodes_[replica].Core(logical);
  }

  // Nodes inside of loops, which nothing outside may wait for.
  absl::Status FindLoopBodies() {
    std::vector<tensorflow::ControlFlowInfo> info;
    TF_RETURN_IF_ERROR(tensorflow::BuildControlFlowInfo(graph_, &info));
    frame_.resize(info.size());
    for (size_t i = 0; i < info.size(); ++i) frame_[i] = info[i].frame_name;
    // The metadata node has no inputs; a host loop's frame shows at the others.
    outermost_ = frame_[cluster_.metadata->id()];
    for (const Node* node : cluster_.nodes) {
      for (const Node* input : node->in_nodes()) {
        if (input->type_string() == "TPUReplicatedInput") {
          outermost_ = frame_[input->id()];
        }
      }
    }
    depth_ = ConditionalDepths(*graph_, cluster_.nodes);
    return absl::OkStatus();
  }

  // Whether the node runs in every step, once.
  bool RunsAlways(const Node* node) const {
    return !InLoop(node) && depth_.at(node) == 0;
  }

  bool InLoop(const Node* node) const {
    return frame_[node->id()] != outermost_;
  }

  // What outside_compilation has left on the host. (Inlining puts there what
  // passes on the handle of a variable of the host.)
  static bool OnHost(const Node& node) {
    return node.requested_device() == kHostDevice && !PassesHandlesOn(node);
  }

  absl::Status FindSharedVariables() {
    if (cluster_.num_replicas == 1) return absl::OkStatus();
    std::set<Output> handles;
    for (const Node* node : cluster_.nodes) {
      for (const Edge* edge : node->in_edges()) {
        if (IsResource(*edge) && inside_.count(edge->src()) == 0) {
          handles.emplace(edge->src(), edge->src_output());
        }
      }
    }
    std::map<Output, std::set<int>> replicas;
    for (const auto& [node, index] : handles) {
      if (!IsWritten({node, index})) continue;
      for (int r = 0; r < cluster_.num_replicas; ++r) {
        OutputOf handle;
        TF_RETURN_IF_ERROR(HandleOf({node, index}, r, &handle));
        if (handle.node != nullptr) {
          replicas[{handle.node, handle.index}].insert(r);
        }
      }
    }
    for (const auto& [handle, sharing] : replicas) {
      if (sharing.size() > 1) {
        shared_[handle].resize(cluster_.num_replicas, nullptr);
      }
    }
    return absl::OkStatus();
  }

  // Whether a core may write what is behind the handle. The host works with
  // the variable itself, whoever asks it to.
  bool IsWritten(const OutputOf& handle) const {
    const auto is_inside = [this](const Node& node) {
      return inside_.count(const_cast<Node*>(&node)) > 0;
    };
    for (const Node* user : UsersOf(handle, is_inside)) {
      if (!OnHost(*user) && !OnlyReads(*user)) return true;
    }
    return false;
  }

  // The handle that the replica has of a resource from outside; none where it
  // depends on the core.
  static absl::Status HandleOf(OutputOf from, int r, OutputOf* handle) {
    if (IsPartitionedInput(*from.node) || IsPacked(*from.node)) {
      return absl::OkStatus();
    }
    if (from.node->type_string() != "TPUReplicatedInput") {
      *handle = from;
      return absl::OkStatus();
    }
    const Edge* edge = nullptr;
    TF_RETURN_IF_ERROR(from.node->input_edge(r, &edge));
    return HandleOf({edge->src(), edge->src_output()}, r, handle);
  }

  absl::Status CopyNodes(int r) {
    for (Node* node : cluster_.nodes) {
      NodeDef def = node->def();
      def.set_name(absl::StrCat(Prefix(r), node->name()));
      TF_RETURN_IF_ERROR(
          nodes_[r].Edit(absl::StrCat(cluster_.name, "/", node->name()), &def));
      if (node == cluster_.metadata) {
        def.set_op("NoOp");
        def.clear_attr();
      }
      // Loops of several replicas may meet on the host's device.
      if (node->IsEnter()) {
        auto& frame = (*def.mutable_attr())["frame_name"];
        frame.set_s(absl::StrCat(Prefix(r), frame.s()));
      }
      // Errors name the node that the program made.
      NameOriginal(node->name(), /*function=*/"", &def);
      absl::Status status;
      Node* copy = graph_->AddNode(std::move(def), &status);
      TF_RETURN_IF_ERROR(status);
      copy->SetStackTrace(node->GetStackTrace());
      copies_[r][node] = copy;
    }
    return absl::OkStatus();
  }

  // Whether the edge brings -1 to an op that takes its core as an input.
  bool AsksForCore(const Edge& edge) const {
    const auto& args = edge.dst()->op_def().input_arg();
    if (edge.dst_input() != edge.dst()->num_inputs() - 1 || args.empty() ||
        args[args.size() - 1].name() != "device_ordinal" ||
        !edge.src()->IsConstant() || inside_.count(edge.src()) == 0) {
      return false;
    }
    tensorflow::Tensor ordinal;
    return tensorflow::GetNodeAttr(edge.src()->attrs(), "value", &ordinal)
               .ok() &&
           ordinal.dtype() == tensorflow::DT_INT32 &&
           ordinal.NumElements() == 1 && ordinal.flat<int32_t>()(0) == -1;
  }

  absl::Status WireInputs(int r) {
    for (Node* node : cluster_.nodes) {
      Node* copy = copies_[r][node];
      for (const Edge* edge : node->in_edges()) {
        Node* source = edge->src();
        if (AsksForCore(*edge)) {
          // As with the attribute: only we know which core that is.
          Node* core = nullptr;
          TF_RETURN_IF_ERROR(
              AddIntConst(graph_->NewName(absl::StrCat(copy->name(), "/core")),
                          cluster_.cores[r][0], copy->requested_device(),
                          copies_[r][source], graph_, &core));
          graph_->AddEdge(core, 0, copy, edge->dst_input());
        } else if (inside_.count(source) > 0) {
          graph_->AddEdge(copies_[r][source], edge->src_output(), copy,
                          edge->dst_input());
        } else if (edge->IsControlEdge()) {
          TF_RETURN_IF_ERROR(WaitFor(source, r, copy));
        } else {
          OutputOf input;
          TF_RETURN_IF_ERROR(
              Resolve({source, edge->src_output()}, r, copy, &input));
          if (!OnHost(*node)) TF_RETURN_IF_ERROR(MakePrivate(r, &input));
          graph_->AddEdge(input.node, input.index, copy, edge->dst_input());
        }
      }
    }
    return absl::OkStatus();
  }

  // Makes `copy` wait for a node outside of the cluster. One edge per replica
  // crosses the devices, not one per node.
  absl::Status WaitFor(Node* source, int r, Node* copy) {
    if (source->IsSource()) {
      graph_->AddControlEdge(source, copy);
      return absl::OkStatus();
    }
    if (inside_.count(source) > 0) {  // by way of a TPUReplicatedInput
      graph_->AddControlEdge(copies_[r][source], copy);
      return absl::OkStatus();
    }
    Node*& gate = gates_[{source, r}];
    if (gate == nullptr) {
      TF_RETURN_IF_ERROR(
          AddNoOp(absl::StrCat(Prefix(r), "after_", source->name()), Core(r, 0),
                  graph_, &gate));
      graph_->AddControlEdge(source, gate);
    }
    graph_->AddControlEdge(gate, copy);
    return absl::OkStatus();
  }

  // What the replica sees of a value from outside.
  absl::Status Resolve(OutputOf from, int r, Node* copy, OutputOf* input) {
    if (from.node->type_string() == "TPUReplicatedInput") {
      used_inputs_.insert(from.node);
      for (const Edge* edge : from.node->in_edges()) {
        if (edge->IsControlEdge() && !edge->src()->IsSource()) {
          TF_RETURN_IF_ERROR(WaitFor(edge->src(), r, copy));
        }
      }
      const Edge* edge = nullptr;
      TF_RETURN_IF_ERROR(
          from.node->input_edge(IsPacked(*from.node) ? 0 : r, &edge));
      return Resolve({edge->src(), edge->src_output()}, r, copy, input);
    }
    if (IsPartitionedInput(*from.node)) {
      used_inputs_.insert(from.node);
      return ResolvePartitioned(from.node, r, input);
    }
    *input = from;
    return absl::OkStatus();
  }

  // A shared variable is the first replica's own when the others have a copy.
  absl::Status MakePrivate(int r, OutputOf* handle) {
    const auto it = shared_.find({handle->node, handle->index});
    if (it == shared_.end()) return absl::OkStatus();
    Node* first = nullptr;
    for (Node* own : it->second) {
      if (first == nullptr) first = own;
    }
    Node*& own = it->second[r];
    if (own == nullptr) {
      // Where the shared one is, to which the placer ties its handle.
      TF_RETURN_IF_ERROR(tensorflow::NodeBuilder(
                             graph_->NewName(absl::StrCat(
                                 Prefix(r), handle->node->name(), "/own")),
                             first == nullptr ? "Identity" : kPrivateVariableOp)
                             .Input(handle->node, handle->index)
                             .Finalize(graph_, &own));
      if (first != nullptr) graph_->AddControlEdge(own, first);
    }
    *handle = {own, 0};
    return absl::OkStatus();
  }

  // They begin with what is there when the computation does.
  void OrderPrivateVariables(int r) {
    for (const auto& [handle, owns] : shared_) {
      if (owns[r] == nullptr) continue;
      for (const auto& [key, gate] : gates_) {
        if (key.second == r) graph_->AddControlEdge(gate, owns[r]);
      }
    }
  }

  // Nothing is sharded: the replica gets the whole.
  absl::Status ResolvePartitioned(Node* node, int r, OutputOf* input) {
    OutputOf& whole = wholes_[{node, r}];
    if (whole.node == nullptr) {
      std::vector<OutputOf> pieces;
      for (int i = 0; i < node->num_inputs(); ++i) {
        const Edge* edge = nullptr;
        TF_RETURN_IF_ERROR(node->input_edge(i, &edge));
        pieces.push_back({edge->src(), edge->src_output()});
      }
      std::vector<int> grid;
      TF_RETURN_IF_ERROR(
          PartitionGrid(*node, static_cast<int>(pieces.size()), &grid));
      bool sharded = false;
      for (int n : grid) sharded |= n > 1;
      if (node->output_type(0) == tensorflow::DT_RESOURCE) {
        if (sharded) {
          return absl::UnimplementedError(absl::StrCat(
              node->name(),
              ": a variable that is sharded over the logical "
              "cores of a replica; the virtual TPU has replicated ones only"));
        }
        whole = pieces[0];
        variables_[r].push_back({pieces, whole, IsPacked(*node)});
      } else if (sharded) {
        TF_RETURN_IF_ERROR(AddConcatGrid(absl::StrCat(Prefix(r), node->name()),
                                         pieces, grid, Core(r, 0), graph_,
                                         &whole));
      } else {
        whole = pieces[0];
      }
    }
    *input = whole;
    return absl::OkStatus();
  }

  // Variables of a replica with several cores may live on any of them, and so
  // must the ops that use them.
  void FollowVariables(int r) {
    if (cluster_.cores[r].size() == 1) return;
    std::vector<Node*> moved;
    for (Node* node : cluster_.nodes) {
      Node* copy = copies_[r][node];
      for (const Edge* edge : copy->in_edges()) {
        if (IsResource(*edge) && edge->src()->IsArg()) {
          Follow(copy, CoreOf(edge->src()->assigned_device_name(), r), &moved);
        }
      }
    }
    while (!moved.empty()) {
      const Node* node = moved.back();
      moved.pop_back();
      for (const Edge* edge : node->out_edges()) {
        if (IsResource(*edge)) {
          Follow(edge->dst(), node->requested_device(), &moved);
        }
      }
    }
  }

  // The core of replica `r` that a device is, or has among its parts; empty if
  // none.
  std::string CoreOf(const std::string& device, int r) const {
    const auto composite = composite_devices_.find(device);
    for (size_t i = 0; i < cluster_.cores[r].size(); ++i) {
      const std::string core = Core(r, static_cast<int>(i));
      if (core == device) return core;
      if (composite == composite_devices_.end()) continue;
      for (const std::string& part : composite->second) {
        if (core == part) return core;
      }
    }
    return "";
  }

  static void Follow(Node* copy, const std::string& device,
                     std::vector<Node*>* moved) {
    if (device.empty() || copy->requested_device() == device ||
        copy->requested_device() == kHostDevice) {
      return;
    }
    copy->set_requested_device(device);
    moved->push_back(copy);
  }

  // The gradients of a step may not arrive before its activations have left,
  // even where they do not depend on them.
  void OrderEmbeddingOps(int r) {
    for (Node* receive : cluster_.nodes) {
      if (receive->type_string() != "RecvTPUEmbeddingActivations") continue;
      for (Node* send : cluster_.nodes) {
        if (send->type_string() == "SendTPUEmbeddingGradients" &&
            frame_[send->id()] == frame_[receive->id()]) {
          graph_->AddControlEdge(copies_[r][receive], copies_[r][send]);
        }
      }
    }
  }

  // A node that runs when everything with an effect in the replica has.
  absl::Status AddDone(int r) {
    TF_RETURN_IF_ERROR(AddNoOp(absl::StrCat(Prefix(r), "done"), Core(r, 0),
                               graph_, &done_[r]));
    for (Node* node : cluster_.nodes) {
      const bool named = kept_names_.count(node->name()) > 0;
      bool controls_outside = false;
      for (const Edge* edge : node->out_edges()) {
        controls_outside |= edge->IsControlEdge() &&
                            inside_.count(edge->dst()) == 0 &&
                            !edge->dst()->IsSink();
      }
      if (RunsAlways(node) &&
          (named || controls_outside || node->op_def().is_stateful())) {
        graph_->AddControlEdge(copies_[r][node], done_[r]);
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddAllDone() {
    TF_RETURN_IF_ERROR(AddNoOp(absl::StrCat(cluster_.name, "/done"),
                               kHostDevice, graph_, &all_done_));
    for (int r = 0; r < cluster_.num_replicas; ++r) {
      graph_->AddControlEdge(done_[r], all_done_);
      TF_RETURN_IF_ERROR(UpdateReplicatedVariables(Prefix(r), cluster_.cores[r],
                                                   variables_[r], done_[r],
                                                   all_done_, graph_));
    }
    return absl::OkStatus();
  }

  // Makes the computation begin with a look at the TPU system.
  absl::Status AddSystemCheck() {
    Node* check = nullptr;
    TF_RETURN_IF_ERROR(
        tensorflow::NodeBuilder(absl::StrCat(cluster_.name, "/system"),
                                kSystemCheckOp)
            .Device(kHostDevice)
            .Finalize(graph_, &check));
    if (!outermost_.empty()) {
      // In a host loop, into which nothing leads but an Enter.
      for (Node* node : graph_->op_nodes()) {
        if (EntersFromRoot(*node)) graph_->AddControlEdge(check, node);
      }
      return absl::OkStatus();
    }
    for (const auto& copies : copies_) {
      for (const auto& [node, copy] : copies) {
        if (BeginsComputation(*node)) graph_->AddControlEdge(check, copy);
      }
    }
    return absl::OkStatus();
  }

  bool EntersFromRoot(const Node& node) const {
    const Edge* input = nullptr;
    return node.IsEnter() && node.input_edge(0, &input).ok() &&
           input->src()->id() < static_cast<int>(frame_.size()) &&
           frame_[input->src()->id()].empty();
  }

  // Whether nothing of the computation comes before the node.
  bool BeginsComputation(const Node& node) const {
    for (const Edge* edge : node.in_edges()) {
      if (inside_.count(edge->src()) > 0) return false;
    }
    return true;
  }

  absl::Status WireOutputs() {
    std::vector<const Edge*> removed;
    std::vector<std::tuple<Node*, int, Node*, int>> added;
    std::unordered_set<Node*> outputs, waiting;
    for (Node* node : cluster_.nodes) {
      for (const Edge* edge : node->out_edges()) {
        Node* dst = edge->dst();
        if (inside_.count(dst) > 0 || dst->IsSink()) continue;
        if (edge->IsControlEdge()) {
          waiting.insert(dst);
        } else if (dst->type_string() == "TPUReplicatedOutput") {
          outputs.insert(dst);
          for (const Edge* out : dst->out_edges()) {
            if (out->dst()->IsSink()) continue;
            if (out->IsControlEdge()) {
              waiting.insert(out->dst());
              continue;
            }
            removed.push_back(out);
            added.emplace_back(copies_[out->src_output()][node],
                               edge->src_output(), out->dst(),
                               out->dst_input());
            KeepOnCore(out->src_output(), out->dst());
          }
        } else if (cluster_.num_replicas == 1) {
          removed.push_back(edge);
          added.emplace_back(copies_[0][node], edge->src_output(), dst,
                             edge->dst_input());
        } else {
          return absl::InvalidArgumentError(
              absl::StrCat("TPU computation ", cluster_.name, ": ", dst->name(),
                           " outside of it takes ", node->name(),
                           " from inside, without a TPUReplicatedOutput"));
        }
      }
    }
    for (const Edge* edge : removed) graph_->RemoveEdge(edge);
    for (auto& [src, output, dst, input] : added) {
      graph_->AddEdge(src, output, dst, input);
    }
    for (Node* dst : waiting) {
      if (dst->type_string() != "TPUReplicatedInput") {
        graph_->AddControlEdge(all_done_, dst);
      }
    }
    for (Node* node : outputs) graph_->RemoveNode(node);
    for (Node* node : used_inputs_) graph_->RemoveNode(node);
    return absl::OkStatus();
  }

  // A result stays on its replica's core, where programs look for it.
  void KeepOnCore(int r, Node* consumer) const {
    if (consumer->IsRetval()) consumer->set_assigned_device_name(Core(r, 0));
    if (!consumer->IsIdentity() || !consumer->requested_device().empty()) {
      return;
    }
    consumer->set_requested_device(Core(r, 0));
    for (const Edge* edge : consumer->out_edges()) {
      if (!edge->IsControlEdge()) KeepOnCore(r, edge->dst());
    }
  }

  // There is no compilation that could fail.
  absl::Status ReplaceCompilationResults() {
    std::vector<Node*> results;
    for (Node* node : graph_->op_nodes()) {
      std::string name;
      if (node->type_string() == "TPUCompilationResult" &&
          tensorflow::TryGetNodeAttr(node->attrs(), kCompilationStatusAttr,
                                     &name) &&
          name == cluster_.attr) {
        results.push_back(node);
      }
    }
    for (Node* node : results) {
      // An empty CompilationResultProto: no error.
      tensorflow::Tensor success(tensorflow::DT_STRING, {});
      NodeDef def;
      def.set_name(node->name());
      def.set_op("Const");
      def.set_device(kHostDevice);
      tensorflow::AddNodeAttr("dtype", tensorflow::DT_STRING, &def);
      tensorflow::AddNodeAttr("value", success, &def);
      absl::Status status;
      Node* constant = graph_->AddNode(std::move(def), &status);
      TF_RETURN_IF_ERROR(status);
      ReplaceOutputs(node, {constant, 0}, graph_);
      graph_->RemoveNode(node);
    }
    return absl::OkStatus();
  }

  absl::Status RemoveOriginals() {
    for (Node* node : cluster_.nodes) {
      const std::string name = node->name();
      const bool keep = RunsAlways(node) && kept_names_.count(name) > 0;
      graph_->RemoveNode(node);
      if (!keep) continue;
      Node* kept = nullptr;
      TF_RETURN_IF_ERROR(AddNoOp(name, kHostDevice, graph_, &kept));
      graph_->AddControlEdge(all_done_, kept);
    }
    return absl::OkStatus();
  }

  const Cluster& cluster_;
  const std::set<std::string>& kept_names_;
  const CompositeDevices& composite_devices_;
  Graph* const graph_;
  const std::unordered_set<Node*> inside_;
  std::vector<std::string> frame_;  // by node id
  std::string outermost_;           // frame that the cluster itself is in
  std::unordered_map<const Node*, int> depth_;
  std::vector<ReplicaNodes> nodes_;                       // by replica
  std::vector<std::unordered_map<Node*, Node*>> copies_;  // by replica
  // What each replica takes for a shared variable that is written, by handle.
  std::map<Output, std::vector<Node*>> shared_;
  std::map<std::pair<Node*, int>, Node*> gates_;
  std::map<std::pair<Node*, int>, OutputOf> wholes_;
  std::vector<std::vector<ReplicatedVariable>> variables_;  // by replica
  std::unordered_set<Node*> used_inputs_;
  std::vector<Node*> done_;  // by replica
  Node* all_done_ = nullptr;
};

}  // namespace

absl::Status ExpandCluster(const Cluster& cluster,
                           const std::set<std::string>& kept_names,
                           const CompositeDevices& composite_devices,
                           const FunctionCopies& functions, Graph* graph) {
  return Expansion(cluster, kept_names, composite_devices, functions, graph)
      .Run();
}

}  // namespace tf_embed::virtual_tpu
