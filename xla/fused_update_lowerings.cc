// TfEmbed>FusedEmbeddingUpdate in compiled programs.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/config_from_proto.h"
#include "kernels/fused/features.h"
#include "kernels/status_bridge.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/types.h"
#include "tensorflow/core/protobuf/tpu/tpu_embedding_configuration.pb.h"
#include "tf_embed/optimizers/optimizer.h"
#include "xla/fused_contributions.h"
#include "xla/hlo/builder/lib/comparators.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/lib/slicing.h"
#include "xla/hlo_pieces.h"
#include "xla/lowering_registration.h"
#include "xla/lowering_target.h"
#include "xla/optimizer_lowering.h"
#include "xla/segment_sums.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;

// Below this many rows per id it is cheaper, in the TPU compiler's reckoning,
// to pass over the whole table than to gather and scatter the unique rows:
// docs/xla.md.
constexpr int64_t kRowsPerIdToPassOver = 10;

bool PassesOver(LoweringTarget target, int64_t num_rows, int64_t num_ids) {
  return target != LoweringTarget::kGpu &&
         num_rows <= kRowsPerIdToPassOver * num_ids;
}

// All that points into one table, in the order in which it is added up.
struct TableGradients {
  std::vector<xla::XlaOp> ids;           // S32 [N]; V where left out
  std::vector<xla::XlaOp> sources;       // S32 [N]: rows of `gradients`
  std::vector<xla::XlaOp> coefficients;  // F32 [N]
  std::vector<xla::XlaOp> gradients;     // F32 [P, D]
  int64_t num_ids = 0;
  int64_t num_positions = 0;

  void Add(const FusedContributions& feature, xla::XlaOp gradient,
           int64_t table_rows) {
    if (feature.num_ids == 0 || feature.num_positions == 0) return;
    ids.push_back(feature.IdsOr(table_rows));
    sources.push_back(
        xla::Add(feature.positions,
                 xla::ConstantR0<int32_t>(
                     gradient.builder(), static_cast<int32_t>(num_positions))));
    coefficients.push_back(feature.Coefficients());
    gradients.push_back(gradient);
    num_ids += feature.num_ids;
    num_positions += feature.num_positions;
  }
};

// The ids in ascending order, those that are equal in their first order, and
// what each adds to its row.
struct SortedGradients {
  xla::XlaOp ids;   // S32 [N]
  xla::XlaOp rows;  // F32 [N, D]
};

SortedGradients Sort(xla::XlaBuilder* builder, const TableGradients& table,
                     LoweringTarget target, int64_t dim) {
  if (table.num_ids == 0) {
    return {xla::Broadcast(xla::ConstantR0<int32_t>(builder, 0), {0}),
            Zeros(builder, {0, dim})};
  }
  const xla::XlaOp ids = xla::ConcatInDim(builder, table.ids, 0);
  const xla::XlaOp sources = xla::ConcatInDim(builder, table.sources, 0);
  const xla::XlaOp coefficients =
      xla::ConcatInDim(builder, table.coefficients, 0);
  const xla::XlaOp gradients = xla::ConcatInDim(builder, table.gradients, 0);
  if (target != LoweringTarget::kTpu) {
    const SortedKeys sorted = SortStably(ids, table.num_ids);
    return {sorted.keys,
            xla::Mul(Gather(gradients, Gather(sources, sorted.places)),
                     Gather(coefficients, sorted.places), {0})};
  }
  const xla::XlaOp sorted = xla::Sort(
      {ids, sources, coefficients},
      xla::CreateScalarLtComputation({xla::S32, xla::S32, xla::F32}, builder),
      /*dimension=*/0, /*is_stable=*/true);
  return {xla::GetTupleElement(sorted, 0),
          xla::Mul(Gather(gradients, xla::GetTupleElement(sorted, 1)),
                   xla::GetTupleElement(sorted, 2), {0})};
}

xla::XlaOp Transposed(xla::XlaOp matrix) {
  return xla::Transpose(matrix, {1, 0});
}

// A table that is stored by columns, as the matrix [D, V] of the same bytes.
xla::XlaOp ColumnsAsRows(xla::XlaOp table) {
  return StoredByRows(Transposed(table));
}

// And back.
xla::XlaOp RowsAsColumns(xla::XlaOp matrix) {
  return Transposed(StoredByRows(matrix));
}

OptimizerRows Each(xla::XlaOp (*change)(xla::XlaOp), OptimizerRows rows) {
  rows.weights = change(rows.weights);
  for (xla::XlaOp& slot : rows.slots) slot = change(slot);
  return rows;
}

// The gradients of each row, added up. Places behind the last row are for
// others: each points behind the table, to another place, so that the rows are
// sorted and unique to the last one.
struct UniqueGradients {
  xla::XlaOp rows;  // S32 [N]
  xla::XlaOp sums;  // F32 [N, D]
};

UniqueGradients SumsOfUniqueRows(const SortedGradients& gradients,
                                 LoweringTarget target, int64_t num_rows,
                                 int64_t dim, int64_t num_ids) {
  xla::XlaBuilder* builder = gradients.ids.builder();
  // Unique id u is that of all entries whose segment is u.
  const xla::XlaOp differs =
      xla::Ne(xla::SliceInDim(gradients.ids, 1, num_ids, 1, 0),
              xla::SliceInDim(gradients.ids, 0, num_ids - 1, 1, 0));
  const xla::XlaOp zero = xla::ConstantR0<int32_t>(builder, 0);
  const xla::XlaOp segments = PrefixSum(
      xla::PadInDim(xla::ConvertElementType(differs, xla::S32), zero, 0, 1, 0),
      num_ids);
  const ScatterHints sorted{/*sorted=*/true, /*unique=*/false};
  const xla::XlaOp places = Positions(builder, num_ids);
  const xla::XlaOp behind = xla::Add(
      places,
      xla::ConstantR0<int32_t>(builder, static_cast<int32_t>(num_rows)));
  UniqueGradients unique;
  unique.rows = ScatterSet(behind, segments, gradients.ids, sorted);
  if (target != LoweringTarget::kGpu) {
    unique.sums = ScatterAdd(Zeros(builder, {num_ids, dim}), segments,
                             gradients.rows, sorted);
    return unique;
  }
  // The first entry of each segment says where it begins.
  const xla::XlaOp end =
      xla::ConstantR0<int32_t>(builder, static_cast<int32_t>(num_ids));
  const xla::XlaOp ends = xla::Broadcast(end, {num_ids});
  const xla::XlaOp is_first =
      xla::PadInDim(differs, xla::ConstantR0<bool>(builder, true), 0, 1, 0);
  Segments of_rows;
  of_rows.count = num_ids;
  of_rows.begins =
      ScatterSet(ends, xla::Select(is_first, segments, ends), places);
  of_rows.ends = xla::PadInDim(
      xla::SliceInDim(of_rows.begins, 1, num_ids, 1, 0), end, 0, 0, 1);
  unique.sums = SumSegments(gradients.rows, num_ids, dim, of_rows);
  return unique;
}

constexpr ScatterHints kUniqueRows{/*sorted=*/true, /*unique=*/true};

// The sum of the gradients of each row of the table, [V, D].
xla::XlaOp SumsOfAllRows(const SortedGradients& gradients,
                         LoweringTarget target, int64_t num_rows, int64_t dim,
                         int64_t num_ids) {
  const xla::XlaOp zeros = Zeros(gradients.ids.builder(), {num_rows, dim});
  if (target != LoweringTarget::kGpu) {
    return ScatterAdd(zeros, gradients.ids, gradients.rows,
                      {/*sorted=*/true, /*unique=*/false});
  }
  if (num_ids == 0) return zeros;
  const UniqueGradients unique =
      SumsOfUniqueRows(gradients, target, num_rows, dim, num_ids);
  return ScatterSet(zeros, unique.rows, unique.sums, kUniqueRows);
}

// Every row of the table goes through the formula; those without an id keep
// what they had, unless the optimizer wants it otherwise.
//   by_columns: let the sums be brought into the order of a table that is
//               stored by columns; else the compiler does it with the table,
//               its slot variables and what becomes of them
OptimizerRows PassOverTable(const OptimizerConfig& optimizer, bool all_rows,
                            bool by_columns, xla::XlaOp learning_rate,
                            const SortedGradients& gradients,
                            OptimizerRows table, LoweringTarget target,
                            int64_t num_rows, int64_t dim, int64_t num_ids) {
  xla::XlaBuilder* builder = gradients.ids.builder();
  xla::XlaOp sums = SumsOfAllRows(gradients, target, num_rows, dim, num_ids);
  if (by_columns) {
    sums = ColumnsAsRows(sums);
    table = Each(ColumnsAsRows, table);
  }
  OptimizerRows updated = LowerOptimizer(optimizer, learning_rate, sums, table);
  if (!all_rows) {
    const xla::XlaOp counts = ScatterAdd(
        Zeros(builder, {num_rows}), gradients.ids,
        xla::Broadcast(xla::ConstantR0<float>(builder, 1.0f), {num_ids}),
        {/*sorted=*/true, /*unique=*/false});
    const xla::XlaOp touched = xla::Gt(counts, xla::ScalarLike(counts, 0.0f));
    const xla::XlaOp everywhere =
        by_columns ? xla::BroadcastInDim(touched, {dim, num_rows}, {1})
                   : xla::BroadcastInDim(touched, {num_rows, dim}, {0});
    updated.weights = xla::Select(everywhere, updated.weights, table.weights);
    for (size_t s = 0; s < updated.slots.size(); ++s) {
      updated.slots[s] =
          xla::Select(everywhere, updated.slots[s], table.slots[s]);
    }
  }
  return by_columns ? Each(RowsAsColumns, updated) : updated;
}

// The unique rows are gathered, go through the formula and are put back.
OptimizerRows UpdateUniqueRows(const OptimizerConfig& optimizer,
                               xla::XlaOp learning_rate,
                               const UniqueGradients& unique,
                               const OptimizerRows& table) {
  OptimizerRows touched;
  touched.weights = Gather(table.weights, unique.rows);
  for (const xla::XlaOp slot : table.slots) {
    touched.slots.push_back(Gather(slot, unique.rows));
  }
  touched = LowerOptimizer(optimizer, learning_rate, unique.sums, touched);
  OptimizerRows updated;
  updated.weights =
      ScatterSet(table.weights, unique.rows, touched.weights, kUniqueRows);
  for (size_t s = 0; s < table.slots.size(); ++s) {
    updated.slots.push_back(
        ScatterSet(table.slots[s], unique.rows, touched.slots[s], kUniqueRows));
  }
  return updated;
}

class FusedEmbeddingUpdateLowering : public XlaOpKernel {
 public:
  explicit FusedEmbeddingUpdateLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    int num_slots = 0;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_tables", &num_tables_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("num_slots", &num_slots));
    OP_REQUIRES_OK(ctx, features_.Init(ctx, num_tables_ + num_slots));
    std::string serialized;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("config", &serialized));
    const auto proto = ParseConfigProto(serialized);
    OP_REQUIRES_OK(ctx, ToAbsl(proto.status()));
    const StatusOr<EngineConfig> config = ConfigFromProto(*proto);
    OP_REQUIRES_OK(ctx, ToAbsl(config.status()));
    OP_REQUIRES(ctx,
                features_.num_tables() == num_tables_ &&
                    static_cast<int>(config->tables.size()) == num_tables_,
                ToAbsl(InvalidArgument("table_shapes and config must describe ",
                                       num_tables_, " tables")));
    int slots = 0;
    for (const TableConfig& table : config->tables) {
      OP_REQUIRES_OK(ctx, ToAbsl(CanLowerOptimizer(table.optimizer)));
      const StatusOr<std::unique_ptr<const Optimizer>> optimizer =
          Optimizer::Create(table.optimizer);
      OP_REQUIRES_OK(ctx, ToAbsl(optimizer.status()));
      Table lowered;
      lowered.optimizer = table.optimizer;
      lowered.num_slots = static_cast<int>((*optimizer)->slots().size());
      lowered.all_rows = (*optimizer)->UpdatesUntouchedRows();
      slots += lowered.num_slots;
      tables_.push_back(std::move(lowered));
    }
    OP_REQUIRES(
        ctx, slots == num_slots,
        ToAbsl(InvalidArgument("the optimizers of the tables need ", slots,
                               " slot variables, not ", num_slots)));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    std::vector<OptimizerRows> variables(num_tables_);
    std::vector<TableGradients> gradients(num_tables_);
    std::vector<int64_t> num_rows(num_tables_);
    int slot_input = num_tables_;
    for (int t = 0; t < num_tables_; ++t) {
      TensorShape shape;
      OP_REQUIRES_OK(ctx,
                     ctx->ReadVariableInput(t, tensorflow::DT_FLOAT, &shape,
                                            &variables[t].weights));
      OP_REQUIRES_OK(ctx, CheckTableShape(shape, t, features_.table_dim(t)));
      num_rows[t] = shape.dim_size(0);
      for (int s = 0; s < tables_[t].num_slots; ++s) {
        TensorShape slot_shape;
        xla::XlaOp slot;
        OP_REQUIRES_OK(
            ctx, ctx->ReadVariableInput(slot_input++, tensorflow::DT_FLOAT,
                                        &slot_shape, &slot));
        OP_REQUIRES(ctx, slot_shape == shape,
                    ToAbsl(InvalidArgument(
                        "slot variable ", s, " of table ", t, " has shape ",
                        slot_shape.DebugString(), ", but the table has ",
                        shape.DebugString())));
        variables[t].slots.push_back(slot);
      }
    }
    for (int f = 0; f < features_.num_features(); ++f) {
      const FusedFeatures::Feature& feature = features_.feature(f);
      OP_REQUIRES_VALUE(
          FusedContributions ids, ctx,
          LowerContributions(ctx, feature, num_rows[feature.table]));
      OP_REQUIRES_VALUE(const xla::XlaOp gradient, ctx,
                        LowerGradient(ctx, features_, f, ids));
      gradients[feature.table].Add(ids, gradient, num_rows[feature.table]);
    }
    slot_input = num_tables_;
    for (int t = 0; t < num_tables_; ++t) {
      const Table& table = tables_[t];
      const int first_slot = slot_input;
      slot_input += table.num_slots;
      if (gradients[t].num_ids == 0 && !table.all_rows) continue;
      const OptimizerRows updated =
          Update(ctx, t, gradients[t], variables[t], num_rows[t]);
      OP_REQUIRES_OK(
          ctx, ctx->AssignVariable(t, tensorflow::DT_FLOAT, updated.weights));
      for (int s = 0; s < table.num_slots; ++s) {
        OP_REQUIRES_OK(ctx,
                       ctx->AssignVariable(first_slot + s, tensorflow::DT_FLOAT,
                                           updated.slots[s]));
      }
    }
  }

 private:
  struct Table {
    OptimizerConfig optimizer;
    int num_slots = 0;
    bool all_rows = false;
  };

  OptimizerRows Update(XlaOpKernelContext* ctx, int t,
                       const TableGradients& gradients,
                       const OptimizerRows& variables, int64_t num_rows) {
    const Table& table = tables_[t];
    const int64_t dim = features_.table_dim(t);
    const LearningRate& rate = table.optimizer.learning_rate;
    const xla::XlaOp learning_rate =
        rate.dynamic ? xla::Reshape(ctx->Input(features_.end_input() +
                                               features_.num_features() + t),
                                    {})
                     : xla::ConstantR0<float>(ctx->builder(), rate.constant);
    const KeepOnTensorCore scope(ctx->builder());
    const LoweringTarget target = FindLoweringTarget(ctx);
    const SortedGradients sorted = Sort(ctx->builder(), gradients, target, dim);
    // To gather rows of a table that is stored by columns, and to put them
    // back, the compiler copies the table to and fro.
    const bool by_columns =
        target == LoweringTarget::kTpu && StoredByColumns(dim);
    if (table.all_rows || by_columns ||
        PassesOver(target, num_rows, gradients.num_ids)) {
      return PassOverTable(table.optimizer, table.all_rows, by_columns,
                           learning_rate, sorted, variables, target, num_rows,
                           dim, gradients.num_ids);
    }
    return UpdateUniqueRows(
        table.optimizer, learning_rate,
        SumsOfUniqueRows(sorted, target, num_rows, dim, gradients.num_ids),
        variables);
  }

  int num_tables_ = 0;
  FusedFeatures features_;
  std::vector<Table> tables_;
};

const LoweringTable lowerings({
    {"TfEmbed>FusedEmbeddingUpdate",
     CreateLowering<FusedEmbeddingUpdateLowering>,
     {"dense_shapes"}},
});

}  // namespace
}  // namespace tf_embed
