#include "virtual_tpu/cpu_kernel_delegation.h"

#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/kernel_def.pb.h"
#include "tensorflow/core/framework/memory_types.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "virtual_tpu/device_names.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::DataTypeVector;
using tensorflow::DeviceType;
using tensorflow::KernelDef;
using tensorflow::MemoryTypeVector;
using tensorflow::OpDef;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpRegistrationData;
using tensorflow::OpRegistry;

// The factory of every delegated kernel: creates the CPU's kernel on a TPU
// device.
OpKernel* CreateCpuKernel(OpKernelConstruction* ctx) {
  const OpRegistrationData* op = OpRegistry::Global()->LookUp(ctx->def().op());
  if (op == nullptr) {
    ctx->CtxFailure(absl::NotFoundError(
        absl::StrCat("op ", ctx->def().op(), " is not registered")));
    return nullptr;
  }
  auto properties = std::make_shared<const tensorflow::NodeProperties>(
      &op->op_def, ctx->def(),
      DataTypeVector(ctx->input_types().begin(), ctx->input_types().end()),
      DataTypeVector(ctx->output_types().begin(), ctx->output_types().end()));
  OpKernel* kernel = nullptr;
  const absl::Status status = tensorflow::CreateOpKernel(
      DeviceType(tensorflow::DEVICE_CPU), ctx->device(),
      ctx->device()->GetAllocator(tensorflow::AllocatorAttributes()),
      ctx->function_library(), ctx->resource_manager(), properties,
      ctx->graph_def_version(), &kernel);
  if (!status.ok()) {
    ctx->CtxFailure(status);
    return nullptr;
  }
  // A CPU kernel takes all memory for the device's. The executor and the
  // kernel must agree with the KernelDef below, which says host memory.
  MemoryTypeVector inputs, outputs;
  if (tensorflow::MemoryTypesForNode(OpRegistry::Global(),
                                     DeviceType(ctx->device_type()), ctx->def(),
                                     &inputs, &outputs)
          .ok()) {
    const_cast<MemoryTypeVector&>(kernel->input_memory_types()) = inputs;
    const_cast<MemoryTypeVector&>(kernel->output_memory_types()) = outputs;
  }
  return kernel;
}

void Register(const KernelDef& cpu_kernel, const OpDef& op,
              const char* device) {
  auto kernel = std::make_unique<KernelDef>(cpu_kernel);
  kernel->set_device_type(device);
  // Variants, resources and strings have no copy on a device; and then it is
  // simplest that nothing has.
  kernel->clear_host_memory_arg();
  for (const auto& arg : op.input_arg()) {
    kernel->add_host_memory_arg(arg.name());
  }
  for (const auto& arg : op.output_arg()) {
    kernel->add_host_memory_arg(arg.name());
  }
  tensorflow::kernel_factory::OpKernelRegistrar registrar(
      kernel.release(), "TfEmbedVirtualTpuKernel", &CreateCpuKernel);
}

}  // namespace

void DelegateToCpuKernels() {
  static std::mutex mu;
  static auto* delegated = new std::unordered_set<std::string>;
  std::lock_guard<std::mutex> lock(mu);
  const tensorflow::KernelList kernels = tensorflow::GetAllRegisteredKernels();
  // Ops with a kernel of their own for (op, device), ours or another's.
  std::set<std::pair<std::string, std::string>> taken;
  for (const KernelDef& kernel : kernels.kernel()) {
    taken.emplace(kernel.op(), kernel.device_type());
  }
  std::unordered_set<std::string> now;
  for (const KernelDef& kernel : kernels.kernel()) {
    const std::string& op = kernel.op();
    if (kernel.device_type() != tensorflow::DEVICE_CPU) continue;
    if (delegated->count(op) > 0) continue;
    // TensorFlow compiles XLA's own ops one by one on the CPU; that kernel asks
    // its device for an XLA platform, which a virtual core has not.
    if (absl::StartsWith(op, "Xla")) continue;
    const OpRegistrationData* data = OpRegistry::Global()->LookUp(op);
    if (data == nullptr) continue;
    now.insert(op);
    if (taken.count({op, kTpuType}) == 0) {
      Register(kernel, data->op_def, kTpuType);
    }
    if (absl::StrContains(op, "TPU") &&
        taken.count({op, kTpuSystemType}) == 0) {
      Register(kernel, data->op_def, kTpuSystemType);
    }
  }
  delegated->insert(now.begin(), now.end());
}

}  // namespace tf_embed::virtual_tpu
