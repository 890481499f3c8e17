#include "kernels/kernel_registration.h"

#include <string>
#include <vector>

#include "tensorflow/core/framework/kernel_def.pb.h"
#include "tensorflow/core/framework/kernel_def_builder.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed {
namespace {

bool HasKernel(const std::string& op, const std::string& device_type) {
  const tensorflow::KernelList registered =
      tensorflow::GetRegisteredKernelsForOp(op);
  for (const tensorflow::KernelDef& kernel : registered.kernel()) {
    if (kernel.device_type() == device_type) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> RegisterMissingKernels(
    const std::string& device_type, const std::vector<KernelEntry>& entries) {
  std::vector<std::string> registered;
  for (const KernelEntry& entry : entries) {
    if (HasKernel(entry.op, device_type)) continue;
    // The registrar's constructor does all the work and owns the definition.
    tensorflow::kernel_factory::OpKernelRegistrar(
        tensorflow::KernelDefBuilder(entry.op.c_str())
            .Device(device_type.c_str())
            .Build(),
        "tf_embed::" + entry.op, entry.create);
    registered.push_back(entry.op);
  }
  return registered;
}

KernelTable::KernelTable(const std::vector<KernelEntry>& entries) {
  RegisterMissingKernels(tensorflow::DEVICE_CPU, entries);
}

}  // namespace tf_embed
