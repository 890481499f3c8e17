// Configuring and shutting down the TPU system, and the lesser ops of it.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>

#include "kernels/engine_setup.h"
#include "kernels/system_config.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/protobuf/tpu/topology.pb.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/options.h"
#include "virtual_tpu/system_state.h"
#include "virtual_tpu/topology.h"
#include "virtual_tpu/transfers.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::TensorShape;

std::string SerializedTopology() {
  const int num_cores = NumCores();
  const Mesh mesh = MeshOf(num_cores);
  tensorflow::tpu::TopologyProto proto;
  for (int size : mesh.shape) proto.add_mesh_shape(size);
  proto.set_num_tasks(1);
  proto.set_num_tpu_devices_per_task(num_cores);
  for (const auto& coordinates : mesh.coordinates) {
    for (int c : coordinates) proto.add_device_coordinates(c);
  }
  // V1: TPUEmbeddingV0 and TPUEmbedding. V2 would promise SparseCores.
  auto* feature = proto.mutable_tpu_hardware_feature();
  feature->set_embedding_feature(tensorflow::tpu::TPUHardwareFeature::V1);
  feature->set_num_embedding_devices_per_chip(mesh.shape.back());
  return proto.SerializeAsString();
}

// As on a TPU, nothing of the system outlives its configuration.
class ConfigureDistributedTPUOp : public OpKernel {
 public:
  explicit ConfigureDistributedTPUOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, config_.Read(ctx));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, config_.Apply(ctx));
    ResetTransfers();
    SetSystemInitialized(true);
    tensorflow::Tensor* topology = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({}), &topology));
    topology->scalar<tensorflow::tstring>()() = SerializedTopology();
  }

 private:
  SystemConfig config_;
};
REGISTER_KERNEL_BUILDER(Name("ConfigureDistributedTPU").Device(kTpuSystemType),
                        ConfigureDistributedTPUOp);

class ShutdownDistributedTPUOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext*) override {
    SetSystemInitialized(false);
    TearDownEngine();
    ResetTransfers();
  }
};
REGISTER_KERNEL_BUILDER(Name("ShutdownDistributedTPU").Device(kTpuSystemType),
                        ShutdownDistributedTPUOp);

// Stateful, or it would be run once and folded.
REGISTER_OP(kSystemCheckOp).SetIsStateful();

class CheckTpuSystemOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckSystemInitialized());
  }
  bool IsExpensive() override { return false; }
};
REGISTER_KERNEL_BUILDER(Name(kSystemCheckOp).Device(tensorflow::DEVICE_CPU),
                        CheckTpuSystemOp);

// Picks the core that runs a TPUPartitionedCall: one after the other.
class TPUOrdinalSelectorOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    tensorflow::Tensor* ordinal = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({1}), &ordinal));
    ordinal->flat<int32_t>()(0) = next_++ % std::max(1, NumCores());
  }

 private:
  std::atomic<uint32_t> next_{0};
};
REGISTER_KERNEL_BUILDER(
    Name("TPUOrdinalSelector").Device(tensorflow::DEVICE_CPU),
    TPUOrdinalSelectorOp);

}  // namespace
}  // namespace tf_embed::virtual_tpu
