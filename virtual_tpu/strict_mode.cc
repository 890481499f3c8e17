#include "virtual_tpu/strict_mode.h"

#include <algorithm>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/tpu/tpu_defs.h"
#include "virtual_tpu/calls.h"
#include "virtual_tpu/collective_ops.h"
#include "virtual_tpu/compile_time_constants.h"
#include "virtual_tpu/device_names.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::DataType;
using tensorflow::Node;
using tensorflow::XlaOpRegistry;

// Ops of the TPU itself, and what is left of lowered control flow: XLA never
// meets them.
bool BelongsToTheTpu(const Node& node) {
  const std::string& op = node.type_string();
  return node.IsControlFlow() || node.IsLoopCond() || IsCollective(op) ||
         op == "NoOp" || op == kFirstCallOp || op == kNextCallOp ||
         absl::StrContains(op, "TPU") || absl::StrContains(op, "Infeed") ||
         absl::StrContains(op, "Outfeed") || absl::StartsWith(op, "Xla");
}

// What XLA compiles TPU computations with; a wheel without it has XLA's CPU.
const std::string& Compiler() {
  static const auto* const name = new std::string(
      XlaOpRegistry::IsCompilationDevice(tensorflow::DEVICE_TPU_XLA_JIT)
          ? tensorflow::DEVICE_TPU_XLA_JIT
          : tensorflow::DEVICE_CPU_XLA_JIT);
  return *name;
}

bool TpuHas(DataType type) {
  type = tensorflow::BaseType(type);
  return type == tensorflow::DT_RESOURCE || type == tensorflow::DT_VARIANT ||
         std::find(tensorflow::kTpuAllTypes.begin(),
                   tensorflow::kTpuAllTypes.end(),
                   type) != tensorflow::kTpuAllTypes.end();
}

// TensorFlow's TPU backend takes these with strings: an assertion compiles to
// nothing, with it the constants that it would print.
bool MayHaveStrings(const Node& node) {
  return node.IsConstant() || node.type_string() == "Assert";
}

struct Refusal {
  std::string reason;  // empty where a TPU would take the node
  // Whether TensorFlow would run the node on the host instead, if it may.
  bool host_would_do = false;
};

Refusal RefusalOf(const Node& node, CompileTimeConstants* constants) {
  if (node.type_string() == kRecursiveCallOp) {
    return {"a TPU has no functions that call themselves"};
  }
  for (const auto* types : {&node.input_types(), &node.output_types()}) {
    for (DataType type : *types) {
      const bool is_string =
          tensorflow::BaseType(type) == tensorflow::DT_STRING;
      if (TpuHas(type) || (is_string && MayHaveStrings(node))) continue;
      return {
          absl::StrCat("a TPU has no type ", tensorflow::DataTypeString(type)),
          is_string};
    }
  }
  const tensorflow::KernelDef* kernel = nullptr;
  const absl::Status status = tensorflow::FindKernelDef(
      tensorflow::DeviceType(Compiler()), node.def(), &kernel, nullptr);
  if (!status.ok()) {
    return {"XLA has no kernel for it, or not for its types", true};
  }
  return {constants->Complaint(node)};
}

// What becomes of the node on a TPU, and what to do.
std::string Consequence(const Cluster& cluster, const Refusal& refusal) {
  bool soft_placement = false;
  tensorflow::TryGetNodeAttr(cluster.metadata->attrs(), "allow_soft_placement",
                             &soft_placement);
  if (refusal.host_would_do && soft_placement) {
    return "Soft device placement is on, so TensorFlow would run it on the "
           "host, with transfers in each step";
  }
  return absl::StrCat(
      "A real TPU would refuse it. Put it into tf.tpu.outside_compilation, or "
      "outside of the TPU computation",
      refusal.host_would_do
          ? "; tf.config.set_soft_device_placement(True) does the former for "
            "all such ops"
          : "");
}

}  // namespace

void WarnOfRefusals(const Cluster& cluster) {
  static std::mutex mu;
  static auto* const warned = new std::set<std::pair<std::string, std::string>>;
  XlaOpRegistry::RegisterCompilationKernels();
  CompileTimeConstants constants(cluster.nodes);
  for (const Node* node : cluster.nodes) {
    if (node->requested_device() == kHostDevice || BelongsToTheTpu(*node)) {
      continue;
    }
    const Refusal refusal = RefusalOf(*node, &constants);
    if (refusal.reason.empty()) continue;
    std::lock_guard<std::mutex> lock(mu);
    if (!warned->emplace(node->type_string(), refusal.reason).second) continue;
    LOG(WARNING) << "virtual TPU, strict mode: op " << node->type_string()
                 << " (node " << node->name() << "): " << refusal.reason << ". "
                 << Consequence(cluster, refusal) << ".";
  }
}

}  // namespace tf_embed::virtual_tpu
