#include "virtual_tpu/cluster_lowering.h"

#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/common_runtime/lower_functional_ops.h"
#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/function.pb.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/algorithm.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/call_graph.h"
#include "virtual_tpu/calls.h"
#include "virtual_tpu/collective_ops.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/function_copies.h"
#include "virtual_tpu/graph_building.h"
#include "virtual_tpu/legacy_calls.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::AttrSlice;
using tensorflow::AttrValue;
using tensorflow::FunctionDef;
using tensorflow::LowerFunctionalOpsPass;
using tensorflow::Node;
using tensorflow::NodeDef;

// Compilation is what the virtual TPU does without; colocation was meant for
// one copy of the node.
constexpr const char* kStrippedAttrs[] = {
    kReplicateAttr,
    kOutsideCompilationAttr,
    kMapOutsideCompilationAttr,
    "_XlaMustCompile",
    "_xla_compile_id",
    "_tpu_input_identity",
    "_tpu_output_identity",
    "_class",
    "_noinline",
    "_XlaHasReferenceVars",
};

// What becomes of a node, whether of the graph or of a function.
struct Edit {
  std::string device;
  bool is_recursive_call = false;
  bool passes_call = false;  // on to the functions that it calls
  bool meets_in_call = false;
  std::vector<std::string> erased;
  std::map<std::string, AttrValue> set;
};

AttrValue BoolAttr(bool value) {
  AttrValue attr;
  attr.set_b(value);
  return attr;
}

AttrValue IntAttr(int64_t value) {
  AttrValue attr;
  attr.set_i(value);
  return attr;
}

AttrValue StringAttr(const std::string& value) {
  AttrValue attr;
  attr.set_s(value);
  return attr;
}

// Devices inside a computation: those of logical cores stay; the rest is up to
// the replica.
std::string DeviceOf(const std::string& requested, bool outside) {
  if (outside || absl::StrContains(requested, "TPU_REPLICATED_HOST")) {
    return kHostDevice;
  }
  return absl::StrContains(requested, "TPU_REPLICATED_CORE") ? requested : "";
}

// Copies the functions that a cluster calls, edited. One per cluster.
class Functions {
 public:
  Functions(const Cluster& cluster, FunctionCopies copies)
      : prefix_(cluster.function_prefix),
        num_replicas_(cluster.num_replicas),
        copies_(copies),
        calls_(&copies.library()) {
    for (const Node* node : cluster.nodes) {
      for (const std::string& name : FunctionsOf(node->attrs())) {
        pass_calls_ |= calls_.MeetsInCycle(name);
      }
    }
  }

  // Edits a node. `function` is the name of the function it is in, or empty;
  // `mapped` the call of experimental_map_outside_compilation, or empty.
  absl::Status EditNode(const std::string& name, const std::string& op,
                        AttrSlice attrs, const std::string& requested,
                        const std::string& function, std::string mapped,
                        Edit* edit) {
    bool maps = false;
    tensorflow::TryGetNodeAttr(attrs, kMapOutsideCompilationAttr, &maps);
    if (maps) {
      tensorflow::TryGetNodeAttr(attrs, kOutsideCompilationAttr, &mapped);
    }
    edit->device =
        DeviceOf(requested, attrs.Find(kOutsideCompilationAttr) != nullptr ||
                                !mapped.empty());
    if (!mapped.empty()) {
      edit->set[kMappedAttr] = StringAttr(mapped);
    }
    for (const char* attr : kStrippedAttrs) {
      if (attrs.Find(attr) != nullptr) edit->erased.push_back(attr);
    }
    if (IsCollective(op)) {
      edit->set[kNumReplicasAttr] = IntAttr(num_replicas_);
      if (!function.empty()) {
        edit->meets_in_call = pass_calls_;
        edit->set[kChannelAttr] = StringAttr(Channel(function, name));
      }
    }
    if (op == "Enter" || IsLoop(op)) {
      edit->set["parallel_iterations"] = IntAttr(1);
    }
    if (IsControlFlow(op)) {
      edit->set[LowerFunctionalOpsPass::kLowerUsingSwitchMergeAttr] =
          BoolAttr(true);
    }
    for (const std::string& called : FunctionsOf(attrs)) {
      // Inlining a function that calls itself would never end.
      edit->is_recursive_call |= IsCall(op) && calls_.InCycle(called);
      if (IsControlFlow(op) && calls_.InCycleWithoutCalls(called)) {
        return absl::UnimplementedError(
            absl::StrCat(name, " (", op, "): ", called,
                         " holds itself as a branch or body; the virtual TPU "
                         "runs recursion through function calls only"));
      }
    }
    if (IsCall(op)) {
      edit->set[LowerFunctionalOpsPass::kLowerAsMultiDeviceFunctionAttr] =
          BoolAttr(!edit->is_recursive_call);
    }
    if (!IsCall(op) && !IsControlFlow(op)) return absl::OkStatus();
    Use use{mapped, false, false};
    for (const std::string& called : FunctionsOf(attrs)) {
      use.takes_call |= pass_calls_ && calls_.Meets(called);
    }
    edit->passes_call = use.takes_call;
    for (const auto& [attr_name, attr] : attrs) {
      if (!attr.has_func() && attr.list().func().empty()) continue;
      use.returns_call = use.takes_call && IsLoop(op) && attr_name == "body";
      AttrValue edited = attr;
      if (attr.has_func()) {
        TF_RETURN_IF_ERROR(Copy(use, edited.mutable_func()));
      } else {
        for (auto& func : *edited.mutable_list()->mutable_func()) {
          TF_RETURN_IF_ERROR(Copy(use, &func));
        }
      }
      edit->set[std::string(attr_name)] = std::move(edited);
    }
    return absl::OkStatus();
  }

 private:
  // How a function is used. Each use has a copy of its own.
  struct Use {
    std::string mapped;  // over shards: by which call; or empty
    bool takes_call = false;
    bool returns_call = false;
  };

  static std::string Channel(const std::string& function,
                             const std::string& node) {
    return absl::StrCat(function, "/", node);
  }

  std::string NameOfCopy(const Use& use, const std::string& name) const {
    return absl::StrCat(
        prefix_,
        use.mapped.empty() ? "" : absl::StrCat("map_", use.mapped, "_"),
        use.returns_call ? "loop_"
        : use.takes_call ? "call_"
                         : "",
        name);
  }

  // Copies the function and points `func` at the copy.
  absl::Status Copy(const Use& use, tensorflow::NameAttrList* func) {
    const std::string name = func->name();
    func->set_name(NameOfCopy(use, name));
    if (!copied_.insert(func->name()).second) return absl::OkStatus();
    const FunctionDef* original = nullptr;
    TF_RETURN_IF_ERROR(copies_.Find(name, &original));
    FunctionDef copy = *original;
    copy.mutable_signature()->set_name(func->name());
    for (const char* attr : kStrippedAttrs) copy.mutable_attr()->erase(attr);
    TF_RETURN_IF_ERROR(ModernizeCalls(copies_.library(), &copy));
    std::vector<NodeDef> next_calls;
    for (NodeDef& node : *copy.mutable_node_def()) {
      NameOriginal(node.name(), name, &node);
      Edit edit;
      TF_RETURN_IF_ERROR(EditNode(node.name(), node.op(), AttrSlice(node),
                                  node.device(), func->name(), use.mapped,
                                  &edit));
      if (edit.is_recursive_call) MakeRecursiveCall(&node);
      if (edit.meets_in_call) MeetInCall(&node);
      if (edit.passes_call) {
        PassNextCall(Channel(func->name(), node.name()), &node,
                     &next_calls.emplace_back());
      }
      node.set_device(edit.device);
      for (const auto& attr : edit.erased) node.mutable_attr()->erase(attr);
      for (auto& [attr, value] : edit.set) {
        (*node.mutable_attr())[attr] = std::move(value);
      }
    }
    for (NodeDef& node : next_calls) {
      *copy.add_node_def() = std::move(node);
    }
    if (use.takes_call) AddCallArgument(use.returns_call, &copy);
    return copies_.Add(copy, name);
  }

  const std::string prefix_;
  const int num_replicas_;
  FunctionCopies copies_;
  CallGraph calls_;
  // Whether a function that calls itself, or another that does, meets.
  bool pass_calls_ = false;
  std::unordered_set<std::string> copied_;
};

}  // namespace

absl::Status LowerCluster(
    const tensorflow::GraphOptimizationPassOptions& options, Cluster* cluster) {
  tensorflow::Graph* graph = options.graph->get();
  for (Node*& node : cluster->nodes) {
    TF_RETURN_IF_ERROR(ModernizeCall(*options.flib_def, graph, &node));
  }
  cluster->function_prefix = absl::StrCat(
      "tf_embed_", options.flib_def->UniqueFunctionName(cluster->name), "_");
  Functions functions(*cluster, FunctionCopies(graph, options.flib_def));
  std::vector<int> ids;
  for (Node* node : cluster->nodes) {
    Edit edit;
    TF_RETURN_IF_ERROR(
        functions.EditNode(node->name(), node->type_string(), node->attrs(),
                           node->requested_device(), /*function=*/"",
                           /*mapped=*/"", &edit));
    node->set_requested_device(edit.device);
    for (const auto& attr : edit.erased) node->ClearAttr(attr);
    for (const auto& [attr, value] : edit.set) {
      node->ClearAttr(attr);
      node->AddAttr(attr, value);
    }
    if (edit.is_recursive_call) {
      NodeDef def = node->def();
      MakeRecursiveCall(&def);
      TF_RETURN_IF_ERROR(ReplaceNode(std::move(def), graph, &node));
    }
    if (edit.passes_call) {
      Node* first_call = nullptr;
      TF_RETURN_IF_ERROR(PassFirstCall(graph, &node, &first_call));
      ids.push_back(first_call->id());
    }
    ids.push_back(node->id());
  }
  // Nothing but this cluster is left to lower: the pass has run on the graph
  // already, and the other clusters still carry their attribute.
  const int first_new_id = graph->num_node_ids();
  LowerFunctionalOpsPass lowering;
  TF_RETURN_IF_ERROR(lowering.Run(options));
  // What tells loops apart starts from the source.
  tensorflow::FixupSourceAndSinkEdges(graph);
  cluster->nodes.clear();
  for (int id : ids) {
    if (Node* node = graph->FindNodeId(id)) cluster->nodes.push_back(node);
  }
  for (int id = first_new_id; id < graph->num_node_ids(); ++id) {
    if (Node* node = graph->FindNodeId(id)) cluster->nodes.push_back(node);
  }
  return absl::OkStatus();
}

}  // namespace tf_embed::virtual_tpu
