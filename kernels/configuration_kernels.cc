// The configuration ops: ConfigureTPUEmbedding, the chain of ops that a TPU
// host expands it into, IsTPUEmbeddingInitialized, and what the TPU system's
// own life means for the engine.

#include <string>
#include <utility>

#include "kernels/config_from_proto.h"
#include "kernels/engine_setup.h"
#include "kernels/kernel_registration.h"
#include "kernels/op_attrs.h"
#include "kernels/status_bridge.h"
#include "kernels/system_config.h"
#include "kernels/tf_executor.h"
#include "tensorflow/core/common_runtime/device_mgr.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/protobuf/tpu/topology.pb.h"
#include "tensorflow/core/protobuf/tpu/tpu_embedding_configuration.pb.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;
using ::tensorflow::tstring;
using ::tensorflow::tpu::TPUEmbeddingConfiguration;

absl::Status SetStringOutput(OpKernelContext* ctx, int index,
                             const std::string& value) {
  Tensor* output = nullptr;
  absl::Status status = ctx->allocate_output(index, TensorShape({}), &output);
  if (status.ok()) output->scalar<tstring>()() = value;
  return status;
}

class ConfigureTPUEmbeddingOp : public OpKernel {
 public:
  explicit ConfigureTPUEmbeddingOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("config", &config_));
  }

  void Compute(OpKernelContext* ctx) override {
    TfExecutor executor(ctx);
    OP_REQUIRES_OK(ctx, ToAbsl(ConfigureEngine(config_, executor)));
  }

 private:
  std::string config_;
};

// The chain
//
//   partitioner -> memory (each host) -> collate -> host (each) -> connect
//               -> finalize
//
// moves two things between hosts. Here, with one host:
//   common_config: what SerializePopulated gives;
//   the other blobs: a prefix that says which op made them, and the
//     common_config they were made for, so that Finalize can refuse blobs of
//     another chain.
constexpr char kMemoryPrefix[] = "tf_embed.memory\n";
constexpr char kNetworkPrefix[] = "tf_embed.network\n";

// The common config in a blob that begins with `prefix`.
StatusOr<std::string> CommonConfigOf(const std::string& blob,
                                     const std::string& prefix,
                                     const char* name) {
  if (blob.compare(0, prefix.size(), prefix) != 0) {
    return InvalidArgument(name, " was not made by the op that precedes this ",
                           "one in the chain of configuration ops");
  }
  return blob.substr(prefix.size());
}

Status CheckMemoryConfig(const std::string& memory_config,
                         const std::string& common_config) {
  TF_EMBED_ASSIGN_OR_RETURN(
      const std::string origin,
      CommonConfigOf(memory_config, kMemoryPrefix, "memory_config"));
  if (origin != common_config) {
    return InvalidArgument(
        "memory_config was made for another common_config than the one given");
  }
  return OkStatus();
}

// Inputs [0, count), which must be equal scalars.
StatusOr<std::string> ReadEqualScalars(OpKernelContext* ctx, int count,
                                       const char* name) {
  std::string first;
  for (int i = 0; i < count; ++i) {
    std::string value;
    TF_EMBED_RETURN_IF_ERROR(FromAbsl(ReadScalar(ctx, i, name, &value)));
    if (i == 0) first = value;
    if (value != first) {
      return InvalidArgument(name, " 0 and ", i,
                             " were made for different configurations");
    }
  }
  return first;
}

class ExecuteTPUEmbeddingPartitionerOp : public OpKernel {
 public:
  explicit ExecuteTPUEmbeddingPartitionerOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("config", &config_));
  }

  void Compute(OpKernelContext* ctx) override {
    StatusOr<TPUEmbeddingConfiguration> proto = ParseConfigProto(config_);
    OP_REQUIRES_OK(ctx, ToAbsl(proto.status()));
    StatusOr<EngineConfig> config = ConfigFromProto(*proto);
    OP_REQUIRES_OK(ctx, ToAbsl(config.status()));
    OP_REQUIRES_OK(ctx, ToAbsl(Populate(*config)));
    OP_REQUIRES_OK(
        ctx, SetStringOutput(ctx, 0,
                             SerializePopulated(*config, *std::move(proto))));
  }

 private:
  std::string config_;
};

class ConfigureTPUEmbeddingMemoryOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    std::string common_config;
    OP_REQUIRES_OK(ctx, ReadScalar(ctx, 0, "common_config", &common_config));
    OP_REQUIRES_OK(ctx, ToAbsl(ParseConfigProto(common_config).status()));
    OP_REQUIRES_OK(ctx, SetStringOutput(ctx, 0, kMemoryPrefix + common_config));
  }
};

class CollateTPUEmbeddingMemoryOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    const StatusOr<std::string> memory_config =
        ReadEqualScalars(ctx, num_inputs(), "memory_config");
    OP_REQUIRES_OK(ctx, ToAbsl(memory_config.status()));
    OP_REQUIRES_OK(ctx, ToAbsl(CommonConfigOf(*memory_config, kMemoryPrefix,
                                              "memory_config")
                                   .status()));
    OP_REQUIRES_OK(ctx, SetStringOutput(ctx, 0, *memory_config));
  }
};

class ConfigureTPUEmbeddingHostOp : public OpKernel {
 public:
  explicit ConfigureTPUEmbeddingHostOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    std::string config;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("config", &config));
    StatusOr<std::string> tables = TablesOf(config);
    OP_REQUIRES_OK(ctx, ToAbsl(tables.status()));
    tables_ = *std::move(tables);
  }

  void Compute(OpKernelContext* ctx) override {
    std::string common_config;
    OP_REQUIRES_OK(ctx, ReadScalar(ctx, 0, "common_config", &common_config));
    std::string memory_config;
    OP_REQUIRES_OK(ctx, ReadScalar(ctx, 1, "memory_config", &memory_config));
    OP_REQUIRES_OK(ctx,
                   ToAbsl(CheckMemoryConfig(memory_config, common_config)));
    const StatusOr<std::string> tables = TablesOf(common_config);
    OP_REQUIRES_OK(ctx, ToAbsl(tables.status()));
    OP_REQUIRES(ctx, *tables == tables_,
                absl::InvalidArgumentError(
                    "common_config was made for other tables than those of "
                    "the config attribute"));
    OP_REQUIRES_OK(ctx,
                   SetStringOutput(ctx, 0, kNetworkPrefix + common_config));
  }

 private:
  // The tables of a config, serialized. The config may be populated or not, so
  // features and batch sizes say nothing.
  static StatusOr<std::string> TablesOf(const std::string& config) {
    TF_EMBED_ASSIGN_OR_RETURN(const TPUEmbeddingConfiguration proto,
                              ParseConfigProto(config));
    TPUEmbeddingConfiguration tables;
    *tables.mutable_table_descriptor() = proto.table_descriptor();
    for (auto& table : *tables.mutable_table_descriptor()) {
      table.clear_num_features();
    }
    return tables.SerializeAsString();
  }

  std::string tables_;
};

class ConnectTPUEmbeddingHostsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    const StatusOr<std::string> network_config =
        ReadEqualScalars(ctx, num_inputs(), "network_config");
    OP_REQUIRES_OK(ctx, ToAbsl(network_config.status()));
    OP_REQUIRES_OK(ctx, ToAbsl(CommonConfigOf(*network_config, kNetworkPrefix,
                                              "network_config")
                                   .status()));
  }
};

// Both forms: the second has outputs, for ops that a host does not need.
class FinalizeTPUEmbeddingOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    std::string common_config;
    OP_REQUIRES_OK(ctx, ReadScalar(ctx, 0, "common_config", &common_config));
    std::string memory_config;
    OP_REQUIRES_OK(ctx, ReadScalar(ctx, 1, "memory_config", &memory_config));
    OP_REQUIRES_OK(ctx,
                   ToAbsl(CheckMemoryConfig(memory_config, common_config)));
    StatusOr<TPUEmbeddingConfiguration> proto = ParseUnpopulated(common_config);
    OP_REQUIRES_OK(ctx, ToAbsl(proto.status()));
    TfExecutor executor(ctx);
    OP_REQUIRES_OK(
        ctx, ToAbsl(ConfigureEngine(proto->SerializeAsString(), executor)));
    if (num_outputs() == 0) return;
    OP_REQUIRES_OK(ctx, SetStringOutput(ctx, 0, common_config));
    OP_REQUIRES_OK(ctx, SetStringOutput(ctx, 1, memory_config));
  }
};

class IsTPUEmbeddingInitializedOp : public OpKernel {
 public:
  explicit IsTPUEmbeddingInitializedOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("config", &config_));
  }

  void Compute(OpKernelContext* ctx) override {
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({}), &output));
    output->scalar<bool>()() = IsConfigured(config_);
  }

  bool IsExpensive() override { return false; }

 private:
  std::string config_;
};

// The devices that stand for TPU cores: those of the kernel's own type.
int NumCoreDevices(OpKernelContext* ctx) {
  const auto* library = ctx->function_library();
  if (library == nullptr || library->device_mgr() == nullptr) return 1;
  const int count =
      library->device_mgr()->NumDeviceType(ctx->device()->parsed_name().type);
  return count > 0 ? count : 1;
}

// Cores in a row: one task, mesh [num_cores, 1, 1, 1].
std::string SerializedTopology(int num_cores) {
  tensorflow::tpu::TopologyProto topology;
  for (int size : {num_cores, 1, 1, 1}) topology.add_mesh_shape(size);
  topology.set_num_tasks(1);
  topology.set_num_tpu_devices_per_task(num_cores);
  for (int core = 0; core < num_cores; ++core) {
    for (int coordinate : {core, 0, 0, 0}) {
      topology.add_device_coordinates(coordinate);
    }
  }
  return topology.SerializeAsString();
}

class ConfigureDistributedTPUOp : public OpKernel {
 public:
  explicit ConfigureDistributedTPUOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, config_.Read(ctx));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, config_.Apply(ctx));
    OP_REQUIRES_OK(
        ctx, SetStringOutput(ctx, 0, SerializedTopology(NumCoreDevices(ctx))));
  }

 private:
  SystemConfig config_;
};

class ShutdownDistributedTPUOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext*) override { TearDownEngine(); }
};

const KernelTable kernels({
    {"ConfigureTPUEmbedding", Create<ConfigureTPUEmbeddingOp>},
    {"ExecuteTPUEmbeddingPartitioner",
     Create<ExecuteTPUEmbeddingPartitionerOp>},
    {"ConfigureTPUEmbeddingMemory", Create<ConfigureTPUEmbeddingMemoryOp>},
    {"CollateTPUEmbeddingMemory", Create<CollateTPUEmbeddingMemoryOp>},
    {"ConfigureTPUEmbeddingHost", Create<ConfigureTPUEmbeddingHostOp>},
    {"ConnectTPUEmbeddingHosts", Create<ConnectTPUEmbeddingHostsOp>},
    {"FinalizeTPUEmbedding", Create<FinalizeTPUEmbeddingOp>},
    {"FinalizeTPUEmbeddingV2", Create<FinalizeTPUEmbeddingOp>},
    {"IsTPUEmbeddingInitialized", Create<IsTPUEmbeddingInitializedOp>},
    {"ConfigureDistributedTPU", Create<ConfigureDistributedTPUOp>},
    {"ShutdownDistributedTPU", Create<ShutdownDistributedTPUOp>},
});

}  // namespace
}  // namespace tf_embed
