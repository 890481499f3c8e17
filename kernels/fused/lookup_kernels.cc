#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/fused/features.h"
#include "kernels/fused/locked_tables.h"
#include "kernels/fused/shared_scratch.h"
#include "kernels/fused/table_formats.h"
#include "kernels/kernel_registration.h"
#include "kernels/output_memory.h"
#include "kernels/status_bridge.h"
#include "kernels/tf_executor.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"
#include "tf_embed/base/span.h"
#include "tf_embed/lookup/pooled_lookup.h"
#include "tf_embed/lookup/row_format.h"
#include "tf_embed/lookup/sparse_update.h"
#include "tf_embed/serving/huge_page_mover.h"
#include "tf_embed/serving/row_gradients.h"
#include "tf_embed/serving/weight_gradients.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;

struct LookupScratch {
  std::vector<FeatureIds> ids;
  std::vector<HugePageMover::Region> regions;
  std::vector<int64_t> table_rows;
  std::vector<LookupTask> tasks;
};

// The rows of each table; InvalidArgument where its rows are not as long as
// the op was told. No formats: float32.
absl::Status CheckTables(const FusedFeatures& features,
                         const LockedTables& tables,
                         Span<const RowFormat> formats,
                         std::vector<int64_t>& table_rows) {
  table_rows.clear();
  for (int i = 0; i < features.num_tables(); ++i) {
    const Tensor& table = *tables.tensors()[i];
    const RowFormat format = formats.empty() ? RowFormat::kFloat32 : formats[i];
    TF_RETURN_IF_ERROR(CheckRows(table, i, format, features.table_dim(i)));
    table_rows.push_back(table.dim_size(0));
  }
  return absl::OkStatus();
}

class FusedEmbeddingLookupOp : public OpKernel {
 public:
  explicit FusedEmbeddingLookupOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("Ttables", &table_types_));
    OP_REQUIRES_OK(ctx, features_.Init(ctx, num_tables()));
    OP_REQUIRES(ctx, features_.num_tables() == num_tables(),
                ToAbsl(InvalidArgument("table_shapes must have ", num_tables(),
                                       " elements, one a table")));
    OP_REQUIRES_OK(ctx, GetTableFormats(ctx, num_tables(), &formats_));
    for (RowFormat format : formats_) {
      element_types_.push_back(ElementType(format));
    }
  }

  void Compute(OpKernelContext* ctx) override {
    const auto scratch = TakeSharedScratch<LookupScratch>();
    TfExecutor executor(ctx);
    LockedTables tables(LockedTables::Mode::kRead);
    OP_REQUIRES_OK(ctx, tables.Lock(ctx, 0, num_tables(), element_types_));
    OP_REQUIRES_OK(
        ctx, CheckTables(features_, tables, formats_, scratch->table_rows));
    OP_REQUIRES_OK(
        ctx, features_.Group(ctx, scratch->table_rows, executor, scratch->ids));
    scratch->tasks.clear();
    for (int i = 0; i < features_.num_features(); ++i) {
      const FeatureIds& ids = scratch->ids[i];
      TensorShape shape;
      OP_REQUIRES_OK(ctx, features_.OutputShape(i, ids, &shape));
      Tensor* output = nullptr;
      OP_REQUIRES_OK(ctx, AllocateOutput(ctx, i, shape, &output));
      const int table = features_.table_of(i);
      LookupTask task;
      task.ids = ids.pooled();
      task.weights = tables.tensors()[table]->data();
      task.format = formats_[table];
      task.dim = features_.table_dim(table);
      task.output = static_cast<float*>(output->data());
      scratch->tasks.push_back(task);
    }
    PooledLookup(scratch->tasks, executor);
    MoveToHugePages(tables, *scratch);
    for (int i = 0; i < features_.num_features(); ++i) {
      const LookupTask& task = scratch->tasks[i];
      for (int64_t position : scratch->ids[i].zero_positions()) {
        std::fill_n(task.output + position * task.dim, task.dim, 0.0f);
      }
    }
  }

 private:
  int num_tables() const { return static_cast<int>(table_types_.size()); }

  void MoveToHugePages(const LockedTables& tables, LookupScratch& scratch) {
    scratch.regions.clear();
    for (int i = 0; i < num_tables(); ++i) {
      // A tensor may be another one at each call.
      if (table_types_[i] != tensorflow::DT_RESOURCE) continue;
      const Tensor& table = *tables.tensors()[i];
      scratch.regions.push_back(
          {table.data(), static_cast<int64_t>(table.TotalBytes())});
    }
    int64_t bytes_read = 0;
    for (const LookupTask& task : scratch.tasks) {
      bytes_read += task.ids.ids.size() * RowBytes(task.format, task.dim);
    }
    huge_pages_.Advance(scratch.regions, bytes_read);
  }

  tensorflow::DataTypeVector table_types_;  // of the inputs: may be a resource
  std::vector<RowFormat> formats_;
  std::vector<tensorflow::DataType> element_types_;
  FusedFeatures features_;
  HugePageMover huge_pages_;
};

struct GradScratch {
  std::vector<FeatureIds> ids;
  std::vector<GradientSource> sources;
  RowGradients row_gradients;
};

class FusedEmbeddingLookupGradOp : public OpKernel {
 public:
  explicit FusedEmbeddingLookupGradOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, features_.Init(ctx, 0));
    for (int i = 0; i < features_.num_tables(); ++i) {
      table_rows_.push_back(features_.table_rows(i));
      OP_REQUIRES(ctx, table_rows_.back() >= 0,
                  ToAbsl(InvalidArgument("table_shapes[", i,
                                         "] has an unknown number of rows")));
    }
  }

  void Compute(OpKernelContext* ctx) override {
    const auto scratch = TakeSharedScratch<GradScratch>();
    TfExecutor executor(ctx);
    OP_REQUIRES_OK(ctx,
                   features_.Group(ctx, table_rows_, executor, scratch->ids));
    for (int table = 0; table < features_.num_tables(); ++table) {
      scratch->sources.clear();
      for (int i = 0; i < features_.num_features(); ++i) {
        if (features_.table_of(i) != table) continue;
        GradientSource source;
        source.ids = scratch->ids[i].pooled();
        OP_REQUIRES_OK(ctx, features_.Gradient(ctx, i, scratch->ids[i],
                                               &source.gradients));
        scratch->sources.push_back(source);
      }
      RowGradients& gradients = scratch->row_gradients;
      gradients.FindRows(scratch->sources);
      const int64_t num_rows = gradients.rows().size();
      const int64_t dim = features_.table_dim(table);
      Tensor* rows = nullptr;
      OP_REQUIRES_OK(
          ctx, AllocateOutput(ctx, table, TensorShape({num_rows}), &rows));
      std::copy(gradients.rows().begin(), gradients.rows().end(),
                rows->flat<int64_t>().data());
      Tensor* values = nullptr;
      OP_REQUIRES_OK(ctx,
                     AllocateOutput(ctx, features_.num_tables() + table,
                                    TensorShape({num_rows, dim}), &values));
      gradients.Sum(dim, values->flat<float>().data(), executor);
    }
  }

 private:
  FusedFeatures features_;
  std::vector<int64_t> table_rows_;
};

class FusedEmbeddingLookupWeightsGradOp : public OpKernel {
 public:
  explicit FusedEmbeddingLookupWeightsGradOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("Ttables", &table_types_));
    OP_REQUIRES_OK(ctx,
                   features_.Init(ctx, static_cast<int>(table_types_.size())));
    OP_REQUIRES(
        ctx, features_.num_tables() == table_types_.size(),
        ToAbsl(InvalidArgument("table_shapes must have ", table_types_.size(),
                               " elements, one a table")));
  }

  void Compute(OpKernelContext* ctx) override {
    const auto scratch = TakeSharedScratch<LookupScratch>();
    TfExecutor executor(ctx);
    LockedTables tables(LockedTables::Mode::kRead);
    OP_REQUIRES_OK(ctx, tables.Lock(ctx, 0, features_.num_tables()));
    OP_REQUIRES_OK(ctx,
                   CheckTables(features_, tables, {}, scratch->table_rows));
    OP_REQUIRES_OK(
        ctx, features_.Group(ctx, scratch->table_rows, executor, scratch->ids));
    for (int i = 0; i < features_.num_features(); ++i) {
      const int output = features_.weights_of(i);
      if (output < 0) continue;
      const FeatureIds& ids = scratch->ids[i];
      const int table = features_.table_of(i);
      const float* gradient = nullptr;
      OP_REQUIRES_OK(ctx, features_.Gradient(ctx, i, ids, &gradient));
      Tensor* result = nullptr;
      OP_REQUIRES_OK(
          ctx, AllocateOutput(ctx, output,
                              ctx->input(features_.weights_input(i)).shape(),
                              &result));
      std::fill_n(result->flat<float>().data(), result->NumElements(), 0.0f);
      // Forms that do not combine have no use for weights.
      if (ids.pooled().weights.empty()) continue;
      WeightGradients(
          ids, features_.combiner(i),
          static_cast<const float*>(tables.tensors()[table]->data()),
          features_.table_dim(table), gradient, result->flat<float>().data(),
          executor);
    }
  }

 private:
  tensorflow::DataTypeVector table_types_;
  FusedFeatures features_;
};

const KernelTable kFusedLookupKernels({
    {"TfEmbed>FusedEmbeddingLookup", &Create<FusedEmbeddingLookupOp>},
    {"TfEmbed>FusedEmbeddingLookupGrad", &Create<FusedEmbeddingLookupGradOp>},
    {"TfEmbed>FusedEmbeddingLookupWeightsGrad",
     &Create<FusedEmbeddingLookupWeightsGradOp>},
});

}  // namespace
}  // namespace tf_embed
