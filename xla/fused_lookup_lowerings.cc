// TfEmbed>FusedEmbeddingLookup and its gradient in compiled programs.

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/fused/features.h"
#include "kernels/fused/table_formats.h"
#include "kernels/status_bridge.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/types.h"
#include "tf_embed/lookup/row_format.h"
#include "xla/column_lookup.h"
#include "xla/fused_contributions.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo_pieces.h"
#include "xla/input_bounds.h"
#include "xla/lowering_registration.h"
#include "xla/lowering_target.h"
#include "xla/row_pairs.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;

// The TPU compiler fuses the gather of rows into the scatter that sums them,
// and then reckons with reading the whole table once. Above so many rows per id
// it costs less to gather first: pairs of rows, or else single ones. See
// docs/xla.md.
constexpr int64_t kRowsPerIdToGatherPairs = 6;
constexpr int64_t kRowsPerIdToGatherRows = 10;

absl::StatusOr<xla::XlaOp> ReadTable(XlaOpKernelContext* ctx, int input,
                                     RowFormat format, TensorShape* shape) {
  if (ctx->input_type(input) != tensorflow::DT_RESOURCE) {
    absl::StatusOr<TensorShape> bounds = InputBounds(ctx, input);
    if (!bounds.ok()) return bounds.status();
    *shape = *std::move(bounds);
    return ctx->Input(input);
  }
  xla::XlaOp table;
  absl::Status status =
      ctx->ReadVariableInput(input, ElementType(format), shape, &table);
  if (!status.ok()) return status;
  return table;
}

// A table, and how to read it.
struct Table {
  xla::XlaOp rows;
  TensorShape shape;  // of what is stored
  RowFormat format = RowFormat::kFloat32;
  int64_t dim = 0;
  bool on_tpu = false;

  int64_t num_rows() const { return shape.dim_size(0); }
  // Whether it is read as is best on a TPU; rows of fewer bits are read alike
  // everywhere.
  bool as_on_tpu() const { return on_tpu && format == RowFormat::kFloat32; }
};

// Columns [begin, end) of `rows` [N, ...].
xla::XlaOp Columns(xla::XlaOp rows, int64_t begin, int64_t end) {
  return xla::SliceInDim(rows, begin, end, 1, 1);
}

// Stored rows [N, ...] as numbers [N, D]; see row_format.h.
xla::XlaOp Dequantize(xla::XlaOp rows, int64_t num_rows, RowFormat format,
                      int64_t dim) {
  if (format != RowFormat::kInt8 && format != RowFormat::kInt4) {
    return xla::ConvertElementType(rows, xla::F32);
  }
  const int64_t row_bytes = RowBytes(format, dim);
  const int64_t code_bytes = row_bytes - kRowScaleBytes;
  xla::XlaOp codes = Columns(rows, 0, code_bytes);
  if (format == RowFormat::kInt4) {
    const std::vector<int64_t> single = {num_rows, code_bytes, 1};
    const xla::XlaOp pairs[] = {
        xla::Reshape(xla::And(codes, xla::ScalarLike(codes, 15)), single),
        xla::Reshape(xla::ShiftRightLogical(codes, xla::ScalarLike(codes, 4)),
                     single)};
    codes = Columns(xla::Reshape(xla::ConcatInDim(rows.builder(), pairs, 2),
                                 {num_rows, 2 * code_bytes}),
                    0, dim);
  }
  const xla::XlaOp scale_and_bias = xla::BitcastConvertType(
      xla::Reshape(Columns(rows, code_bytes, row_bytes), {num_rows, 2, 4}),
      xla::F32);
  const auto of_row = [&](int64_t column) {
    return xla::Reshape(Columns(scale_and_bias, column, column + 1),
                        {num_rows});
  };
  return xla::Add(
      xla::Mul(xla::ConvertElementType(codes, xla::F32), of_row(0), {0}),
      of_row(1), {0});
}

bool GathersPairs(const Table& table, const FusedContributions& ids) {
  return table.as_on_tpu() &&
         (ids.ids_a_position == 1 ||
          table.num_rows() > kRowsPerIdToGatherPairs * ids.num_ids) &&
         CanSumRowPairs(table.num_rows(), table.dim, ids);
}

// The sum of weight * row over the ids of each position, [P, D].
xla::XlaOp WeightedSums(const Table& table, FusedContributions ids) {
  if (table.as_on_tpu()) {
    if (StoredByColumns(table.dim)) {
      return SumColumns(table.rows, table.num_rows(), table.dim, ids);
    }
    ids.ids = WithUseOf(table.rows, ids.ids, ids.num_ids);
  }
  const KeepOnTensorCore scope(table.rows.builder());
  if (GathersPairs(table, ids)) {
    return SumRowPairs(table.rows, table.num_rows(), table.dim, ids);
  }
  xla::XlaOp rows = Dequantize(Gather(table.rows, ids.ids), ids.num_ids,
                               table.format, table.dim);
  if (ids.ids_a_position == 1) {
    return ids.ZeroWhereLeftOut(xla::Mul(rows, ids.weights, {0}), table.dim);
  }
  if (table.num_rows() > kRowsPerIdToGatherRows * ids.num_ids) {
    rows = xla::OptimizationBarrier(rows);
  }
  return ids.WeightedSums(rows, table.dim);
}

// What the op returns for a feature, [P, D].
xla::XlaOp LookUp(const Table& table, const FusedContributions& ids) {
  const xla::XlaOp sums = WeightedSums(table, ids);
  if (!ids.scales.valid()) return sums;
  // A position whose weights sum to 0 is 0, whatever its rows hold.
  const xla::XlaOp empty =
      xla::Eq(ids.scales, xla::ScalarLike(ids.scales, 0.0f));
  return xla::Select(
      xla::BroadcastInDim(empty, {ids.num_positions, table.dim}, {0}),
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
    OP_REQUIRES_OK(ctx, GetTableFormats(ctx, num_tables_, &formats_));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    std::vector<Table> tables(num_tables_);
    for (int t = 0; t < num_tables_; ++t) {
      Table& table = tables[t];
      table.format = formats_[t];
      table.dim = features_.table_dim(t);
      table.on_tpu = LowersForTpu(ctx);
      OP_REQUIRES_VALUE(table.rows, ctx,
                        ReadTable(ctx, t, table.format, &table.shape));
    }
    for (int f = 0; f < features_.num_features(); ++f) {
      const FusedFeatures::Feature& feature = features_.feature(f);
      const Table& table = tables[feature.table];
      OP_REQUIRES_VALUE(FusedContributions ids, ctx,
                        LowerContributions(ctx, feature, table.num_rows()));
      std::vector<int64_t> sizes = ids.position_shape;
      sizes.push_back(table.dim);
      ctx->SetOutput(f, xla::Reshape(LookUp(table, ids), sizes));
    }
  }

 private:
  int num_tables_ = 0;
  std::vector<RowFormat> formats_;
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
      values[feature.table].push_back(
          xla::Mul(ids.ZeroWhereLeftOut(Gather(gradient, ids.positions), dim),
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
