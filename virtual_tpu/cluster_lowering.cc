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
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/algorithm.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/collective_ops.h"
#include "virtual_tpu/device_names.h"

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

bool IsCall(const std::string& op) {
  return op == "PartitionedCall" || op == "StatefulPartitionedCall";
}

bool IsLoop(const std::string& op) {
  return op == "While" || op == "StatelessWhile";
}

bool IsControlFlow(const std::string& op) {
  return IsLoop(op) || op == "If" || op == "StatelessIf" || op == "Case" ||
         op == "StatelessCase";
}

// What becomes of a node, whether of the graph or of a function.
struct Edit {
  std::string device;
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
  Functions(const Cluster& cluster, tensorflow::Graph* graph,
            tensorflow::FunctionLibraryDefinition* library)
      : prefix_(absl::StrCat("tf_embed_",
                             library->UniqueFunctionName(cluster.name), "_")),
        num_replicas_(cluster.num_replicas),
        graph_(graph),
        library_(library) {}

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
      // The expansion overwrites these two where the function is inlined.
      if (!function.empty()) {
        edit->set[kSharesStepAttr] = BoolAttr(false);
        edit->set[kChannelAttr] =
            StringAttr(absl::StrCat(prefix_, function, "/", name));
      }
    }
    if (op == "Enter" || IsLoop(op)) {
      edit->set["parallel_iterations"] = IntAttr(1);
    }
    if (IsControlFlow(op)) {
      edit->set[LowerFunctionalOpsPass::kLowerUsingSwitchMergeAttr] =
          BoolAttr(true);
    }
    if (IsCall(op)) {
      edit->set[LowerFunctionalOpsPass::kLowerAsMultiDeviceFunctionAttr] =
          BoolAttr(true);
    }
    if (!IsCall(op) && !IsControlFlow(op)) return absl::OkStatus();
    for (const auto& [attr_name, attr] : attrs) {
      if (!attr.has_func() && attr.list().func().empty()) continue;
      AttrValue edited = attr;
      if (attr.has_func()) {
        TF_RETURN_IF_ERROR(Copy(mapped, edited.mutable_func()));
      } else {
        for (auto& func : *edited.mutable_list()->mutable_func()) {
          TF_RETURN_IF_ERROR(Copy(mapped, &func));
        }
      }
      edit->set[std::string(attr_name)] = std::move(edited);
    }
    return absl::OkStatus();
  }

 private:
  // Copies the function and points `func` at the copy. Calls that map over
  // shards have copies of their own.
  absl::Status Copy(const std::string& mapped, tensorflow::NameAttrList* func) {
    const std::string name = func->name();
    func->set_name(mapped.empty()
                       ? absl::StrCat(prefix_, name)
                       : absl::StrCat(prefix_, "map_", mapped, "_", name));
    if (!copied_.insert(func->name()).second) return absl::OkStatus();
    const FunctionDef* original = library_->Find(name);
    if (original == nullptr) {
      return absl::NotFoundError(
          absl::StrCat("function ", name, " is not in the library"));
    }
    FunctionDef copy = *original;
    copy.mutable_signature()->set_name(func->name());
    for (const char* attr : kStrippedAttrs) copy.mutable_attr()->erase(attr);
    // Inlining a function that calls itself would never end.
    if (InCycle(name)) (*copy.mutable_attr())["_noinline"] = BoolAttr(true);
    for (NodeDef& node : *copy.mutable_node_def()) {
      Edit edit;
      TF_RETURN_IF_ERROR(EditNode(node.name(), node.op(), AttrSlice(node),
                                  node.device(), func->name(), mapped, &edit));
      node.set_device(edit.device);
      for (const auto& attr : edit.erased) node.mutable_attr()->erase(attr);
      for (auto& [attr, value] : edit.set) {
        (*node.mutable_attr())[attr] = std::move(value);
      }
    }
    const tensorflow::StackTracesMap* found = library_->GetStackTraces(name);
    const tensorflow::StackTracesMap traces =
        found != nullptr ? *found : tensorflow::StackTracesMap();
    TF_RETURN_IF_ERROR(library_->AddFunctionDef(copy, traces));
    // A session's graph has a library of its own, on top of another.
    const tensorflow::OpRegistrationData* known = nullptr;
    if (graph_->op_registry()->LookUp(func->name(), &known).ok()) {
      return absl::OkStatus();
    }
    return graph_->mutable_flib_def()->AddFunctionDef(copy, traces);
  }

  // Names of the functions that `name` calls itself.
  std::vector<std::string> Callees(const std::string& name) const {
    std::vector<std::string> callees;
    const FunctionDef* function = library_->Find(name);
    if (function == nullptr) return callees;
    for (const NodeDef& node : function->node_def()) {
      for (const auto& [attr_name, attr] : node.attr()) {
        if (attr.has_func()) callees.push_back(attr.func().name());
        for (const auto& func : attr.list().func()) {
          callees.push_back(func.name());
        }
      }
    }
    return callees;
  }

  // Whether the function can reach itself.
  bool InCycle(const std::string& name) {
    auto [it, fresh] = in_cycle_.emplace(name, false);
    if (!fresh) return it->second;
    std::unordered_set<std::string> seen;
    std::vector<std::string> stack = Callees(name);
    bool found = false;
    while (!stack.empty() && !found) {
      const std::string next = std::move(stack.back());
      stack.pop_back();
      found = next == name;
      if (!seen.insert(next).second) continue;
      for (std::string& callee : Callees(next)) {
        stack.push_back(std::move(callee));
      }
    }
    in_cycle_[name] = found;
    return found;
  }

  const std::string prefix_;
  const int num_replicas_;
  tensorflow::Graph* const graph_;
  tensorflow::FunctionLibraryDefinition* const library_;
  std::unordered_set<std::string> copied_;
  std::map<std::string, bool> in_cycle_;
};

}  // namespace

absl::Status LowerCluster(
    const tensorflow::GraphOptimizationPassOptions& options, Cluster* cluster) {
  tensorflow::Graph* graph = options.graph->get();
  Functions functions(*cluster, graph, options.flib_def);
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
