#include "virtual_tpu/replica_nodes.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/device_name_utils.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/calls.h"
#include "virtual_tpu/collective_ops.h"
#include "virtual_tpu/device_names.h"

namespace tf_embed::virtual_tpu {

using tensorflow::DeviceType;
using tensorflow::NodeDef;

std::string ReplicaNodes::Core(int logical) const {
  return CoreDevice(cluster_->cores[replica_][logical]);
}

absl::Status ReplicaNodes::Edit(const std::string& channel, NodeDef* node) {
  if (IsCollective(node->op()) || node->op() == kFirstCallOp ||
      node->op() == kNextCallOp) {
    (*node->mutable_attr())[kChannelAttr].set_s(channel);
  }
  return EditAnywhere(node);
}

// A replica computes the whole on one of its cores, so that there are no
// partitions to reduce over.
absl::Status ReplicaNodes::CheckMode(const NodeDef& node) const {
  std::string mode;
  if (cluster_->cores[replica_].size() > 1 &&
      tensorflow::TryGetNodeAttr(node, "mode", &mode) &&
      mode == "CrossReplicaAndPartition") {
    return absl::UnimplementedError(
        absl::StrCat(node.name(), " (", node.op(), "): mode ", mode, " with ",
                     cluster_->cores[replica_].size(),
                     " cores per replica; the virtual TPU reduces over "
                     "replicas only"));
  }
  return absl::OkStatus();
}

absl::Status ReplicaNodes::EditAnywhere(NodeDef* node) {
  if (IsCollective(node->op())) TF_RETURN_IF_ERROR(CheckMode(*node));
  node->set_device(DeviceOf(*node));
  auto& attrs = *node->mutable_attr();
  attrs.erase("_class");  // inlining colocates with what is not copied
  if (IsCollective(node->op()) || node->op() == "XlaReplicaId") {
    attrs[kReplicaAttr].set_i(replica_);
  }
  // Ops of the host that speak for a core: which one, only we know.
  if (auto it = attrs.find("device_ordinal");
      it != attrs.end() && it->second.i() < 0) {
    it->second.set_i(cluster_->cores[replica_][0]);
  }
  for (auto& [name, attr] : attrs) {
    if (attr.has_func()) {
      TF_RETURN_IF_ERROR(CopyFunction(attr.mutable_func()));
    }
    if (attr.list().func().empty()) continue;
    for (auto& function : *attr.mutable_list()->mutable_func()) {
      TF_RETURN_IF_ERROR(CopyFunction(&function));
    }
  }
  return absl::OkStatus();
}

std::string ReplicaNodes::DeviceOf(const NodeDef& node) const {
  if (node.device() == kHostDevice) return kHostDevice;
  // Ops that only the host has, among them most of XLA's own.
  if (!tensorflow::KernelDefAvailable(DeviceType(kTpuType), node) &&
      tensorflow::KernelDefAvailable(DeviceType(tensorflow::DEVICE_CPU),
                                     node)) {
    return kHostDevice;
  }
  tensorflow::DeviceNameUtils::ParsedName parsed;
  const int num_logical = static_cast<int>(cluster_->cores[replica_].size());
  if (tensorflow::DeviceNameUtils::ParseFullName(node.device(), &parsed) &&
      parsed.type == "TPU_REPLICATED_CORE" && parsed.id < num_logical) {
    return Core(parsed.id);
  }
  return Core(0);
}

absl::Status ReplicaNodes::CopyFunction(tensorflow::NameAttrList* function) {
  const std::string name = function->name();
  if (!absl::StartsWith(name, cluster_->function_prefix)) {
    return absl::OkStatus();  // runs on the host, such as a dataset's
  }
  function->set_name(absl::StrCat(name, "_replica_", replica_));
  if (!copied_.insert(name).second) return absl::OkStatus();
  const tensorflow::FunctionDef* original = nullptr;
  TF_RETURN_IF_ERROR(copies_.Find(name, &original));
  tensorflow::FunctionDef copy = *original;
  copy.mutable_signature()->set_name(function->name());
  for (NodeDef& node : *copy.mutable_node_def()) {
    TF_RETURN_IF_ERROR(EditAnywhere(&node));
  }
  return copies_.Add(copy, name);
}

}  // namespace tf_embed::virtual_tpu
