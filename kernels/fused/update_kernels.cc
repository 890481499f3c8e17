#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/config_from_proto.h"
#include "kernels/fused/features.h"
#include "kernels/fused/locked_tables.h"
#include "kernels/fused/shared_scratch.h"
#include "kernels/kernel_registration.h"
#include "kernels/status_bridge.h"
#include "kernels/tf_executor.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/protobuf/tpu/tpu_embedding_configuration.pb.h"
#include "tf_embed/lookup/sparse_update.h"
#include "tf_embed/optimizers/optimizer.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;

struct UpdateScratch {
  std::vector<FeatureIds> ids;
  std::vector<int64_t> table_rows;
  std::vector<std::vector<float*>> slots;
  std::vector<std::vector<GradientSource>> sources;
  std::vector<TableUpdate> updates;
  SparseUpdateScratch sparse_update;
};

class FusedEmbeddingUpdateOp : public OpKernel {
 public:
  explicit FusedEmbeddingUpdateOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    int num_tables = 0, num_slots = 0;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_tables", &num_tables));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_slots", &num_slots));
    num_variables_ = num_tables + num_slots;
    OP_REQUIRES_OK(ctx, features_.Init(ctx, num_variables_));
    std::string serialized;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("config", &serialized));
    const auto proto = ParseConfigProto(serialized);
    OP_REQUIRES_OK(ctx, ToAbsl(proto.status()));
    const StatusOr<EngineConfig> config = ConfigFromProto(*proto);
    OP_REQUIRES_OK(ctx, ToAbsl(config.status()));
    OP_REQUIRES(ctx,
                features_.num_tables() == num_tables &&
                    config->tables.size() == num_tables,
                ToAbsl(InvalidArgument("table_shapes and config must describe ",
                                       num_tables, " tables")));
    int slots = 0;
    for (const TableConfig& table : config->tables) {
      StatusOr<std::unique_ptr<const Optimizer>> optimizer =
          Optimizer::Create(table.optimizer);
      OP_REQUIRES_OK(ctx, ToAbsl(optimizer.status()));
      OP_REQUIRES_OK(ctx, ToAbsl((*optimizer)->CanUpdate()));
      slots += static_cast<int>((*optimizer)->slots().size());
      optimizers_.push_back(*std::move(optimizer));
      learning_rates_.push_back(table.optimizer.learning_rate);
    }
    OP_REQUIRES(
        ctx, slots == num_slots,
        ToAbsl(InvalidArgument("the optimizers of the tables need ", slots,
                               " slot variables, not ", num_slots)));
  }

  void Compute(OpKernelContext* ctx) override {
    const auto scratch = TakeSharedScratch<UpdateScratch>();
    TfExecutor executor(ctx);
    const int num_tables = features_.num_tables();
    LockedTables variables(LockedTables::Mode::kWrite);
    OP_REQUIRES_OK(ctx, variables.Lock(ctx, 0, num_variables_));
    scratch->table_rows.clear();
    scratch->slots.resize(num_tables);
    scratch->sources.resize(num_tables);
    scratch->updates.clear();
    int slot = num_tables;
    for (int i = 0; i < num_tables; ++i) {
      Tensor* table = variables.tensors()[i];
      OP_REQUIRES(ctx, table->dim_size(1) == features_.table_dim(i),
                  ToAbsl(InvalidArgument(
                      "table ", i, " has shape ", table->shape().DebugString(),
                      ", but the op was built for dimension ",
                      features_.table_dim(i))));
      scratch->table_rows.push_back(table->dim_size(0));
      scratch->sources[i].clear();
      scratch->slots[i].clear();
      for (const SlotSpec& spec : optimizers_[i]->slots()) {
        Tensor* variable = variables.tensors()[slot++];
        OP_REQUIRES(ctx, variable->shape() == table->shape(),
                    ToAbsl(InvalidArgument(
                        "slot variable ", spec.name, " of table ", i,
                        " has shape ", variable->shape().DebugString(),
                        ", but the table has ", table->shape().DebugString())));
        scratch->slots[i].push_back(variable->flat<float>().data());
      }
    }
    OP_REQUIRES_OK(
        ctx, features_.Group(ctx, scratch->table_rows, executor, scratch->ids));
    for (int i = 0; i < features_.num_features(); ++i) {
      GradientSource source;
      source.ids = scratch->ids[i].pooled();
      OP_REQUIRES_OK(
          ctx, features_.Gradient(ctx, i, scratch->ids[i], &source.gradients));
      scratch->sources[features_.table_of(i)].push_back(source);
    }
    for (int i = 0; i < num_tables; ++i) {
      TableUpdate update;
      update.table.rows = scratch->table_rows[i];
      update.table.dim = features_.table_dim(i);
      update.table.weights = variables.tensors()[i]->flat<float>().data();
      update.table.slots = scratch->slots[i];
      update.optimizer = optimizers_[i].get();
      OP_REQUIRES_OK(ctx, LearningRate(ctx, i, &update.scalars.learning_rate));
      update.sources = scratch->sources[i];
      scratch->updates.push_back(update);
    }
    SparseUpdate(scratch->updates, scratch->sparse_update, executor);
  }

 private:
  absl::Status LearningRate(OpKernelContext* ctx, int table,
                            float* value) const {
    if (!learning_rates_[table].dynamic) {
      *value = learning_rates_[table].constant;
      return absl::OkStatus();
    }
    const Tensor& input =
        ctx->input(features_.end_input() + features_.num_features() + table);
    if (input.NumElements() != 1) {
      return ToAbsl(InvalidArgument("learning_rates[", table,
                                    "] must be a scalar, not of shape ",
                                    input.shape().DebugString()));
    }
    *value = input.flat<float>()(0);
    return absl::OkStatus();
  }

  int num_variables_ = 0;  // tables, then slots
  FusedFeatures features_;
  std::vector<std::unique_ptr<const Optimizer>> optimizers_;  // of each table
  std::vector<struct LearningRate> learning_rates_;
};

const KernelTable kFusedUpdateKernels({
    {"TfEmbed>FusedEmbeddingUpdate", &Create<FusedEmbeddingUpdateOp>},
});

}  // namespace
}  // namespace tf_embed
