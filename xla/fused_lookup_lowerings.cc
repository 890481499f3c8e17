// TfEmbed>FusedEmbeddingLookup and its gradient in compiled programs.

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/fused/features.h"
#include "kernels/status_bridge.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/types.h"
#include "xla/fused_contributions.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo_pieces.h"
#include "xla/input_bounds.h"
#include "xla/lowering_registration.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;

// The TPU compiler fuses the gather of rows into the scatter that sums them,
// and then reckons with reading the whole table once. That is what we want
// unless the table has many more rows than are looked up: docs/xla.md.
constexpr int64_t kRowsPerIdToGatherFirst = 10;

// v5e and v6e copy a table whose rows fill their lanes into the vector memory
// before such a fusion, if it fits there, which makes five passes of the one.
constexpr int64_t kLanes = 128;
constexpr int64_t kVectorMemoryBytes = int64_t{96} << 20;

bool GatherFirst(int64_t num_rows, int64_t dim, int64_t num_ids) {
  if (num_rows > kRowsPerIdToGatherFirst * num_ids) return true;
  const int64_t bytes = num_rows * dim * sizeof(float);
  return dim % kLanes == 0 && bytes <= kVectorMemoryBytes &&
         2 * num_rows > 3 * num_ids;
}

absl::StatusOr<xla::XlaOp> ReadTable(XlaOpKernelContext* ctx, int input,
                                     TensorShape* shape) {
  if (ctx->input_type(input) != tensorflow::DT_RESOURCE) {
    absl::StatusOr<TensorShape> bounds = InputBounds(ctx, input);
    if (!bounds.ok()) return bounds.status();
    *shape = *std::move(bounds);
    return ctx->Input(input);
  }
  xla::XlaOp table;
  absl::Status status =
      ctx->ReadVariableInput(input, tensorflow::DT_FLOAT, shape, &table);
  if (!status.ok()) return status;
  return table;
}

// The sum of rows of each position, [P, D].
xla::XlaOp LookUp(xla::XlaOp table, const TensorShape& shape,
                  const FusedContributions& ids) {
  xla::XlaBuilder* builder = table.builder();
  const int64_t dim = shape.dim_size(1);
  xla::XlaOp rows = GatherRows(table, ids.ids, dim);
  if (ids.one_id_a_position) {
    return ids.ZeroWhereLeftOut(rows, dim);
  }
  if (GatherFirst(shape.dim_size(0), dim, ids.num_ids)) {
    rows = xla::OptimizationBarrier(rows);
  }
  xla::XlaOp sums = ScatterAdd(Zeros(builder, {ids.num_positions, dim}),
                               ids.positions, xla::Mul(rows, ids.weights, {0}));
  if (!ids.scales.valid()) return sums;
  // A position whose weights sum to 0 is 0, whatever its rows hold.
  const xla::XlaOp empty =
      xla::Eq(ids.scales, xla::ScalarLike(ids.scales, 0.0f));
  return xla::Select(xla::BroadcastInDim(empty, {ids.num_positions, dim}, {0}),
                     xla::ZerosLike(sums), xla::Mul(sums, ids.scales, {0}));
}

class FusedEmbeddingLookupLowering : public XlaOpKernel {
 public:
  explicit FusedEmbeddingLookupLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    tensorflow::DataTypeVector table_types;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("Ttables", &table_types));
    num_tables_ = static_cast<int>(table_types.size());
    OP_REQUIRES_OK(ctx, features_.Init(ctx, num_tables_));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    std::vector<xla::XlaOp> tables(num_tables_);
    std::vector<TensorShape> shapes(num_tables_);
    for (int t = 0; t < num_tables_; ++t) {
      OP_REQUIRES_VALUE(tables[t], ctx, ReadTable(ctx, t, &shapes[t]));
    }
    for (int f = 0; f < features_.num_features(); ++f) {
      const FusedFeatures::Feature& feature = features_.feature(f);
      const TensorShape& shape = shapes[feature.table];
      OP_REQUIRES_VALUE(FusedContributions ids, ctx,
                        LowerContributions(ctx, feature, shape.dim_size(0)));
      std::vector<int64_t> sizes = ids.position_shape;
      sizes.push_back(shape.dim_size(1));
      ctx->SetOutput(
          f, xla::Reshape(LookUp(tables[feature.table], shape, ids), sizes));
    }
  }

 private:
  int num_tables_ = 0;
  FusedFeatures features_;
};

// Unlike the CPU kernel's, the rows may repeat: how many differ is not known
// when the program is compiled. IndexedSlices mean the same either way.
class FusedEmbeddingLookupGradLowering : public XlaOpKernel {
 public:
  explicit FusedEmbeddingLookupGradLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, features_.Init(ctx, 0));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    const int num_tables = features_.num_tables();
    std::vector<std::vector<xla::XlaOp>> rows(num_tables);
    std::vector<std::vector<xla::XlaOp>> values(num_tables);
    for (int f = 0; f < features_.num_features(); ++f) {
      const FusedFeatures::Feature& feature = features_.feature(f);
      const int64_t dim = features_.table_dim(feature.table);
      OP_REQUIRES_VALUE(FusedContributions ids, ctx,
                        LowerContributions(
                            ctx, feature, features_.table_rows(feature.table)));
      const xla::XlaOp gradient = xla::Reshape(
          ctx->Input(features_.end_input() + f), {ids.num_positions, dim});
      rows[feature.table].push_back(xla::ConvertElementType(ids.ids, xla::S64));
      values[feature.table].push_back(xla::Mul(
          ids.ZeroWhereLeftOut(GatherRows(gradient, ids.positions, dim), dim),
          ids.Coefficients(), {0}));
    }
    for (int t = 0; t < num_tables; ++t) {
      if (rows[t].empty()) {
        rows[t].push_back(
            xla::Broadcast(xla::ConstantR0<int64_t>(ctx->builder(), 0), {0}));
        values[t].push_back(Zeros(ctx->builder(), {0, features_.table_dim(t)}));
      }
      ctx->SetOutput(t, xla::ConcatInDim(ctx->builder(), rows[t], 0));
      ctx->SetOutput(num_tables + t,
                     xla::ConcatInDim(ctx->builder(), values[t], 0));
    }
  }

 private:
  FusedFeatures features_;
};

const LoweringTable lowerings({
    {"TfEmbed>FusedEmbeddingLookup",
     CreateLowering<FusedEmbeddingLookupLowering>,
     {"dense_shapes"}},
    {"TfEmbed>FusedEmbeddingLookupGrad",
     CreateLowering<FusedEmbeddingLookupGradLowering>,
     {"dense_shapes"}},
});

}  // namespace
}  // namespace tf_embed
