// TfEmbed>FusedEmbeddingLookup and its gradients in compiled programs.

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
#include "xla/hlo/builder/lib/arithmetic.h"
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

// Input `input` of an op: its table of that number.
absl::StatusOr<xla::XlaOp> ReadTable(XlaOpKernelContext* ctx, int input,
                                     RowFormat format, int64_t dim,
                                     TensorShape* shape) {
  xla::XlaOp table;
  if (ctx->input_type(input) != tensorflow::DT_RESOURCE) {
    absl::StatusOr<TensorShape> bounds = InputBounds(ctx, input);
    if (!bounds.ok()) return bounds.status();
    *shape = *std::move(bounds);
    table = ctx->Input(input);
  } else {
    const absl::Status status =
        ctx->ReadVariableInput(input, ElementType(format), shape, &table);
    if (!status.ok()) return status;
  }
  const absl::Status status = CheckTableShape(
      *shape, input,
      RowBytes(format, dim) / tensorflow::DataTypeSize(ElementType(format)));
  if (!status.ok()) return status;
  return table;
}

// A table, and how to read it.
struct Table {
  xla::XlaOp rows;
  TensorShape shape;  // of what is stored
  RowFormat format = RowFormat::kFloat32;
  int64_t dim = 0;
  LoweringTarget target = LoweringTarget::kCpu;

  int64_t num_rows() const { return shape.dim_size(0); }
  // Whether it is read as is best on a TPU; rows of fewer bits are read alike
  // everywhere.
  bool as_on_tpu() const {
    return target == LoweringTarget::kTpu && format == RowFormat::kFloat32;
  }
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
  if (table.target == LoweringTarget::kTpu &&
      table.num_rows() > kRowsPerIdToGatherRows * ids.num_ids) {
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
      table.target = FindLoweringTarget(ctx);
      OP_REQUIRES_VALUE(
          table.rows, ctx,
          ReadTable(ctx, t, table.format, table.dim, &table.shape));
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

// `rows` with one that is not negative in place of each that is, if there is
// one: it gets zeros on top of its gradient. Row 0, say, an optimizer that
// moves rows whose gradient is 0 would move.
xla::XlaOp InPlaceOfNegative(xla::XlaOp rows, int64_t num_rows) {
  const xla::XlaOp greatest = xla::Reduce(
      rows, xla::ConstantR0<int32_t>(rows.builder(), -1),
      xla::CreateScalarMaxComputation(xla::S32, rows.builder()), {0});
  return xla::Select(xla::Lt(rows, xla::ScalarLike(rows, 0)),
                     xla::Broadcast(greatest, {num_rows}), rows);
}

// Unlike the CPU kernel's, the rows may repeat, and are -1 if all ids of a
// table are left out: how many rows there are is not known when the program is
// compiled. IndexedSlices mean the same either way, where -1 is left out.
class FusedEmbeddingLookupGradLowering : public XlaOpKernel {
 public:
  explicit FusedEmbeddingLookupGradLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, features_.Init(ctx, 0));
    for (int t = 0; t < features_.num_tables(); ++t) {
      OP_REQUIRES(ctx, features_.table_rows(t) >= 0,
                  ToAbsl(InvalidArgument("table_shapes[", t,
                                         "] has an unknown number of rows")));
    }
  }

  void Compile(XlaOpKernelContext* ctx) override {
    const int num_tables = features_.num_tables();
    std::vector<std::vector<xla::XlaOp>> rows(num_tables);
    std::vector<std::vector<xla::XlaOp>> values(num_tables);
    std::vector<int64_t> num_rows(num_tables, 0);
    for (int f = 0; f < features_.num_features(); ++f) {
      const FusedFeatures::Feature& feature = features_.feature(f);
      const int64_t dim = features_.table_dim(feature.table);
      OP_REQUIRES_VALUE(FusedContributions ids, ctx,
                        LowerContributions(
                            ctx, feature, features_.table_rows(feature.table)));
      OP_REQUIRES_VALUE(const xla::XlaOp gradient, ctx,
                        LowerGradient(ctx, features_, f, ids));
      if (ids.num_ids == 0 || ids.num_positions == 0) continue;
      num_rows[feature.table] += ids.num_ids;
      rows[feature.table].push_back(ids.IdsOr(-1));
      values[feature.table].push_back(
          xla::Mul(ids.ZeroWhereLeftOut(Gather(gradient, ids.positions), dim),
                   ids.Coefficients(), {0}));
    }
    xla::XlaBuilder* builder = ctx->builder();
    for (int t = 0; t < num_tables; ++t) {
      if (rows[t].empty()) {
        ctx->SetOutput(
            t, xla::Broadcast(xla::ConstantR0<int64_t>(builder, 0), {0}));
        ctx->SetOutput(num_tables + t,
                       Zeros(builder, {0, features_.table_dim(t)}));
        continue;
      }
      ctx->SetOutput(
          t, xla::ConvertElementType(
                 InPlaceOfNegative(xla::ConcatInDim(builder, rows[t], 0),
                                   num_rows[t]),
                 xla::S64));
      ctx->SetOutput(num_tables + t, xla::ConcatInDim(builder, values[t], 0));
    }
  }

 private:
  FusedFeatures features_;
};

// What each weight gets, [N]; the formulas of weight_gradients.h.
//   rows: of each id, [N, D]; gradient: [P, D]
xla::XlaOp WeightGradients(const FusedContributions& ids, Combiner combiner,
                           xla::XlaOp rows, xla::XlaOp gradient) {
  xla::XlaBuilder* builder = rows.builder();
  const xla::XlaOp products =
      SumOver(xla::Mul(rows, Gather(gradient, ids.positions)), 1);
  const xla::XlaOp zeros = Zeros(builder, {ids.num_ids});
  const xla::XlaOp dots = xla::Select(ids.kept, products, zeros);
  if (!ids.scales.valid()) return dots;
  const xla::XlaOp means =
      xla::Mul(ids.scales, ids.Sums(xla::Mul(ids.weights, dots)));
  const xla::XlaOp scales = Gather(ids.scales, ids.positions);
  xla::XlaOp shares = Gather(means, ids.positions);
  if (combiner == Combiner::kSqrtn) {
    shares = xla::Mul(shares, xla::Mul(scales, ids.weights));
  }
  return xla::Select(ids.kept, xla::Mul(scales, xla::Sub(dots, shares)), zeros);
}

class FusedEmbeddingLookupWeightsGradLowering : public XlaOpKernel {
 public:
  explicit FusedEmbeddingLookupWeightsGradLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    tensorflow::DataTypeVector table_types;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("Ttables", &table_types));
    OP_REQUIRES_OK(ctx,
                   features_.Init(ctx, static_cast<int>(table_types.size())));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    for (int f = 0; f < features_.num_features(); ++f) {
      const FusedFeatures::Feature& feature = features_.feature(f);
      if (feature.weighted < 0) continue;
      const int64_t dim = features_.table_dim(feature.table);
      TensorShape shape;
      OP_REQUIRES_VALUE(
          const xla::XlaOp table, ctx,
          ReadTable(ctx, feature.table, RowFormat::kFloat32, dim, &shape));
      OP_REQUIRES_VALUE(const FusedContributions ids, ctx,
                        LowerContributions(ctx, feature, shape.dim_size(0)));
      OP_REQUIRES_VALUE(const xla::XlaOp gradient, ctx,
                        LowerGradient(ctx, features_, f, ids));
      OP_REQUIRES_VALUE(const TensorShape weights_shape, ctx,
                        InputBounds(ctx, feature.weights));
      const KeepOnTensorCore scope(ctx->builder());
      // Forms that do not combine have no use for weights.
      const xla::XlaOp gradients =
          Combines(feature.spec.form) && ids.num_positions > 0
              ? WeightGradients(ids, feature.spec.combiner,
                                Gather(table, ids.ids), gradient)
              : Zeros(ctx->builder(), {ids.num_ids});
      ctx->SetOutput(feature.weighted,
                     xla::Reshape(gradients, weights_shape.dim_sizes()));
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
    {"TfEmbed>FusedEmbeddingLookupWeightsGrad",
     CreateLowering<FusedEmbeddingLookupWeightsGradLowering>,
     {"dense_shapes"}},
});

}  // namespace
}  // namespace tf_embed
