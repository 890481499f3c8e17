#include "xla/fused_contributions.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tensorflow/core/util/overflow.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/lib/slicing.h"
#include "xla/hlo_pieces.h"
#include "xla/input_bounds.h"

namespace tf_embed {
namespace {

using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernelContext;

// Row numbers and positions behind the last must fit into S32, too.
constexpr int64_t kMaxRows = int64_t{1} << 30;

xla::XlaOp Constant(xla::XlaBuilder* builder, int64_t value) {
  return xla::ConstantR0<int32_t>(builder, static_cast<int32_t>(value));
}

xla::XlaOp ToS32(xla::XlaOp op) {
  return xla::ConvertElementType(op, xla::S32);
}

// Elements of [0, bound).
xla::XlaOp InRange(xla::XlaOp values, int64_t bound) {
  return xla::And(xla::Ge(values, xla::ScalarLike(values, 0)),
                  xla::Lt(values, xla::ScalarLike(values, bound)));
}

std::string Of(const FusedFeatures::Feature& feature) {
  return StrCat(" (feature '", feature.spec.name, "')");
}

// Which entries count, and where they go.
struct Placement {
  std::vector<int64_t> position_shape;
  int64_t ids_a_position = 0;  // as in FusedContributions
  xla::XlaOp positions;        // S32 [N]
  xla::XlaOp kept;             // PRED [N]
  // S32 [P + 1], where the entries of one position follow those of the other.
  xla::XlaOp splits;
};

// Column `axis` of indices [N, rank], as a vector.
xla::XlaOp Column(xla::XlaOp indices, int64_t num_ids, int64_t axis) {
  return xla::Reshape(xla::SliceInDim(indices, axis, axis + 1, 1, /*dimno=*/1),
                      {num_ids});
}

// The elements of an input that is a constant of the program; else nothing.
std::vector<int64_t> ConstantElements(XlaOpKernelContext* ctx, int input) {
  std::vector<int64_t> elements;
  if (!ctx->ConstantInputReshapedToIntVector(input, &elements).ok()) return {};
  return elements;
}

// Positions that have the same number of ids each, one after the other.
void PlaceRegularly(xla::XlaBuilder* builder, int64_t num_ids,
                    int64_t ids_a_position, Placement* placement) {
  placement->ids_a_position = ids_a_position;
  placement->positions =
      xla::Div(Positions(builder, num_ids), Constant(builder, ids_a_position));
  placement->kept =
      xla::Broadcast(xla::ConstantR0<bool>(builder, true), {num_ids});
}

// The number of ids of each position, if constant `indices` [N, rank] have the
// same of each, one position after the other; else 0.
int64_t RegularIds(const std::vector<int64_t>& indices, int64_t rank,
                   const std::vector<int64_t>& position_shape) {
  int64_t num_positions = 1;
  for (const int64_t size : position_shape) num_positions *= size;
  const int64_t num_ids = indices.size() / rank;
  if (num_ids == 0 || num_positions == 0 || num_ids % num_positions != 0) {
    return 0;
  }
  const int64_t ids_a_position = num_ids / num_positions;
  for (int64_t j = 0; j < num_ids; ++j) {
    int64_t position = 0;
    for (size_t axis = 0; axis < position_shape.size(); ++axis) {
      const int64_t coordinate = indices[j * rank + axis];
      if (coordinate < 0 || coordinate >= position_shape[axis]) return 0;
      position = position * position_shape[axis] + coordinate;
    }
    if (position != j / ids_a_position) return 0;
  }
  return ids_a_position;
}

// The same of constant row splits.
int64_t RegularIds(const std::vector<int64_t>& splits, int64_t num_ids) {
  const int64_t rows = static_cast<int64_t>(splits.size()) - 1;
  if (rows < 1 || rows * splits[1] != num_ids) return 0;
  for (int64_t row = 0; row <= rows; ++row) {
    if (splits[row] != row * splits[1]) return 0;
  }
  return splits[1];
}

absl::StatusOr<Placement> PlaceSparse(XlaOpKernelContext* ctx,
                                      const FusedFeatures::Feature& feature,
                                      int64_t num_ids) {
  xla::XlaBuilder* builder = ctx->builder();
  std::vector<int64_t> shape;
  absl::Status status =
      ctx->ConstantInputAsIntVector(feature.dense_shape, &shape);
  if (!status.ok()) {
    return ToAbsl(Unimplemented(
        "The dense_shape of the sparse feature '", feature.spec.name,
        "' must be a constant in a compiled function; make it one with "
        "tf.ensure_shape or tf.sparse.from_dense of a static shape (",
        std::string(status.message()), ")"));
  }
  const int64_t rank = static_cast<int64_t>(shape.size());
  const absl::StatusOr<TensorShape> indices_bounds =
      InputBounds(ctx, feature.indices);
  if (!indices_bounds.ok()) return indices_bounds.status();
  const TensorShape& indices_shape = *indices_bounds;
  if (rank < 1 || indices_shape.dims() != 2 ||
      indices_shape.dim_size(0) != num_ids ||
      indices_shape.dim_size(1) != rank) {
    return ToAbsl(InvalidArgument("a sparse tensor needs indices of shape [",
                                  num_ids, ", ", rank, "]", Of(feature)));
  }
  for (const int64_t size : shape) {
    if (size < 0) {
      return ToAbsl(InvalidArgument("dense_shape has the negative size ", size,
                                    Of(feature)));
    }
  }
  if (feature.spec.form == FeatureForm::kSparseSequence && rank != 2) {
    return ToAbsl(InvalidArgument(
        "a sequence feature needs a sparse tensor of rank 2, not ", rank,
        Of(feature)));
  }
  const xla::XlaOp indices = ctx->Input(feature.indices);
  Placement placement;
  placement.position_shape.assign(shape.begin(), shape.end() - 1);
  if (feature.spec.form == FeatureForm::kSparseSequence) {
    placement.position_shape = {shape[0], feature.spec.sequence_length};
  } else if (const int64_t ids_a_position =
                 RegularIds(ConstantElements(ctx, feature.indices), rank,
                            placement.position_shape);
             ids_a_position > 0) {
    PlaceRegularly(builder, num_ids, ids_a_position, &placement);
    return placement;
  }
  placement.positions = xla::Broadcast(Constant(builder, 0), {num_ids});
  placement.kept =
      xla::Broadcast(xla::ConstantR0<bool>(builder, true), {num_ids});
  for (size_t axis = 0; axis < placement.position_shape.size(); ++axis) {
    const int64_t size = placement.position_shape[axis];
    const xla::XlaOp coordinate = Column(indices, num_ids, axis);
    placement.kept = xla::And(placement.kept, InRange(coordinate, size));
    placement.positions =
        xla::Add(xla::Mul(placement.positions, Constant(builder, size)),
                 ToS32(coordinate));
  }
  return placement;
}

// What the program's constants say of row splits, `known`, and of those of the
// weights.
absl::Status CheckSplits(XlaOpKernelContext* ctx,
                         const FusedFeatures::Feature& feature,
                         const std::vector<int64_t>& known, int64_t num_ids) {
  for (size_t i = 0; i < known.size(); ++i) {
    if (i == 0 && known[0] != 0) {
      return ToAbsl(InvalidArgument("row splits must begin with 0, not ",
                                    known[0], Of(feature)));
    }
    if (i > 0 && known[i] < known[i - 1]) {
      return ToAbsl(InvalidArgument("Invalid row split size: row_splits[", i,
                                    "] = ", known[i], " is less than ",
                                    known[i - 1], Of(feature)));
    }
  }
  const absl::StatusOr<xla::Shape> ids = ctx->InputXlaShape(feature.ids);
  if (!ids.ok()) return ids.status();
  if (!known.empty() && ids->is_static() && known.back() != num_ids) {
    return ToAbsl(InvalidArgument("row splits end at ", known.back(),
                                  ", but there are ", num_ids, " ids",
                                  Of(feature)));
  }
  if (feature.weight_splits < 0 || !Combines(feature.spec.form)) {
    return absl::OkStatus();
  }
  const std::vector<int64_t> of_weights =
      ConstantElements(ctx, feature.weight_splits);
  if (!known.empty() && !of_weights.empty() && known != of_weights) {
    return ToAbsl(InvalidArgument(
        "Condition x == y did not hold element-wise: the row splits of the "
        "weights are not those of the ids",
        Of(feature)));
  }
  return absl::OkStatus();
}

absl::StatusOr<Placement> PlaceRagged(XlaOpKernelContext* ctx,
                                      const FusedFeatures::Feature& feature,
                                      int64_t num_ids) {
  xla::XlaBuilder* builder = ctx->builder();
  const absl::StatusOr<TensorShape> splits_shape =
      InputBounds(ctx, feature.indices);
  if (!splits_shape.ok()) return splits_shape.status();
  if (splits_shape->dims() != 1 || splits_shape->num_elements() < 1) {
    return ToAbsl(InvalidArgument(
        "row splits must be a vector of at least one element", Of(feature)));
  }
  const int64_t rows = splits_shape->num_elements() - 1;
  const std::vector<int64_t> known = ConstantElements(ctx, feature.indices);
  const absl::Status status = CheckSplits(ctx, feature, known, num_ids);
  if (!status.ok()) return status;
  Placement placement;
  placement.position_shape = {rows};
  const bool sequence = feature.spec.form == FeatureForm::kRaggedSequence;
  if (const int64_t ids_a_position = sequence ? 0 : RegularIds(known, num_ids);
      ids_a_position > 0) {
    PlaceRegularly(builder, num_ids, ids_a_position, &placement);
    return placement;
  }
  const xla::XlaOp raw_splits = ctx->Input(feature.indices);
  const xla::XlaOp splits =
      ToS32(xla::Clamp(xla::ScalarLike(raw_splits, -1), raw_splits,
                       xla::ScalarLike(raw_splits, num_ids + 1)));
  const xla::XlaOp ends = xla::SliceInDim(splits, 1, rows + 1, 1, 0);
  // Row of entry j = number of rows that end at or before j.
  const xla::XlaOp marks =
      ScatterAdd(xla::Broadcast(Constant(builder, 0), {num_ids}), ends,
                 xla::Broadcast(Constant(builder, 1), {rows}));
  const xla::XlaOp row = PrefixSum(marks, num_ids);
  placement.positions = row;
  placement.kept = InRange(row, rows);
  placement.splits = splits;
  if (sequence) {
    const int64_t length = feature.spec.sequence_length;
    placement.position_shape.push_back(length);
    const xla::XlaOp place =
        xla::Sub(Positions(builder, num_ids), Gather(splits, row));
    placement.kept = xla::And(placement.kept, InRange(place, length));
    placement.positions =
        xla::Add(xla::Mul(row, Constant(builder, length)), place);
  }
  return placement;
}

// Puts the entries of each position side by side.
void GroupByPosition(const Placement& placement, FusedContributions* ids) {
  const int64_t num_ids = ids->num_ids;
  const int64_t count = ids->num_positions;
  xla::XlaBuilder* builder = ids->ids.builder();
  ids->segments.count = count;
  if (placement.splits.valid()) {
    const xla::XlaOp splits =
        xla::Clamp(xla::ScalarLike(placement.splits, 0), placement.splits,
                   xla::ScalarLike(placement.splits, num_ids));
    ids->segments.begins = xla::SliceInDim(splits, 0, count, 1, 0);
    ids->segments.ends = xla::SliceInDim(splits, 1, count + 1, 1, 0);
    return;
  }
  ids->order = SortStably(ids->positions, num_ids).places;
  const xla::XlaOp sizes =
      ScatterAdd(xla::Broadcast(Constant(builder, 0), {count}), ids->positions,
                 xla::Broadcast(Constant(builder, 1), {num_ids}));
  ids->segments.ends = PrefixSum(sizes, count);
  ids->segments.begins = xla::Sub(ids->segments.ends, sizes);
}

// 1 / total, and 0 where total is 0: the position is then 0.
xla::XlaOp ReciprocalOrZero(xla::XlaOp total) {
  const xla::XlaOp zero = xla::ZerosLike(total);
  return xla::Select(xla::Eq(total, zero), zero,
                     xla::Div(xla::ScalarLike(total, 1.0f), total));
}

}  // namespace

bool Combines(FeatureForm form) {
  return form == FeatureForm::kSparseSafe || form == FeatureForm::kRagged;
}

xla::XlaOp FusedContributions::Coefficients() const {
  if (!scales.valid()) return weights;
  return xla::Mul(weights, Gather(scales, positions));
}

xla::XlaOp FusedContributions::IdsOr(int64_t other) const {
  return xla::Select(kept, ids,
                     xla::Broadcast(Constant(ids.builder(), other), {num_ids}));
}

xla::XlaOp FusedContributions::ZeroWhereLeftOut(xla::XlaOp rows,
                                                int64_t dim) const {
  return xla::Select(xla::BroadcastInDim(kept, {num_ids, dim}, {0}), rows,
                     xla::ZerosLike(rows));
}

namespace {

// How the values of a position are added up, if not by a scatter.
bool SumsRuns(const FusedContributions& ids) {
  return ids.ids_a_position > 0 && ids.target != LoweringTarget::kTpu;
}

bool SumsSegments(const FusedContributions& ids) {
  return ids.segments.begins.valid();
}

}  // namespace

xla::XlaOp FusedContributions::Sums(xla::XlaOp values, int64_t dim) const {
  if (SumsRuns(*this)) {
    return SumRuns(ZeroWhereLeftOut(values, dim), num_positions, ids_a_position,
                   dim);
  }
  if (SumsSegments(*this)) {
    values = ZeroWhereLeftOut(values, dim);
    if (order.valid()) values = Gather(values, order);
    return SumSegments(values, num_ids, dim, segments);
  }
  return ScatterAdd(Zeros(values.builder(), {num_positions, dim}), positions,
                    values);
}

xla::XlaOp FusedContributions::Sums(xla::XlaOp values) const {
  if (SumsRuns(*this) || SumsSegments(*this)) {
    return xla::Reshape(Sums(xla::Reshape(values, {num_ids, 1}), 1),
                        {num_positions});
  }
  return ScatterAdd(Zeros(values.builder(), {num_positions}), positions,
                    values);
}

xla::XlaOp FusedContributions::WeightedSums(xla::XlaOp rows,
                                            int64_t dim) const {
  return Sums(xla::Mul(rows, weights, {0}), dim);
}

absl::StatusOr<FusedContributions> LowerContributions(
    XlaOpKernelContext* ctx, const FusedFeatures::Feature& feature,
    int64_t table_rows) {
  xla::XlaBuilder* builder = ctx->builder();
  const FeatureForm form = feature.spec.form;
  const absl::StatusOr<TensorShape> ids_bounds = InputBounds(ctx, feature.ids);
  if (!ids_bounds.ok()) return ids_bounds.status();
  const TensorShape& ids_shape = *ids_bounds;
  FusedContributions result;
  result.num_ids = ids_shape.num_elements();
  const int64_t num_ids = result.num_ids;
  if (form != FeatureForm::kDense && ids_shape.dims() != 1) {
    return ToAbsl(InvalidArgument("ids of feature '", feature.spec.name,
                                  "' must be a vector, not of rank ",
                                  ids_shape.dims()));
  }
  if (feature.weights >= 0) {
    const absl::StatusOr<TensorShape> weights_shape =
        InputBounds(ctx, feature.weights);
    if (!weights_shape.ok()) return weights_shape.status();
    if (weights_shape->num_elements() != num_ids) {
      return ToAbsl(InvalidArgument("there are ", weights_shape->num_elements(),
                                    " weights for ", num_ids, " ids",
                                    Of(feature)));
    }
  }
  if (form == FeatureForm::kSparse) {
    return ToAbsl(Unimplemented(
        "The sparse feature '", feature.spec.name,
        "' has as many output positions as its last id asks for, which a "
        "compiled function can't know: set validate_weights_and_indices"));
  }
  if (table_rows > kMaxRows) {
    return ToAbsl(Unimplemented(
        "The table of feature '", feature.spec.name, "' has ", table_rows,
        " rows; a compiled function takes at most ", kMaxRows));
  }

  const xla::XlaOp raw_ids = xla::Reshape(ctx->Input(feature.ids), {num_ids});
  xla::XlaOp in_table =
      xla::And(xla::Ge(raw_ids, xla::ScalarLike(raw_ids, 0)),
               xla::Lt(raw_ids, xla::ScalarLike(raw_ids, table_rows)));
  Placement placement;
  if (form == FeatureForm::kDense) {
    PlaceRegularly(builder, num_ids, 1, &placement);
    for (int i = 0; i < ids_shape.dims(); ++i) {
      placement.position_shape.push_back(ids_shape.dim_size(i));
    }
  } else {
    absl::StatusOr<Placement> placed = feature.spec.sparse()
                                           ? PlaceSparse(ctx, feature, num_ids)
                                           : PlaceRagged(ctx, feature, num_ids);
    if (!placed.ok()) return placed.status();
    placement = *std::move(placed);
  }
  placement.kept = xla::And(placement.kept, in_table);

  const Combiner combiner = feature.spec.combiner;
  // The other forms have no use for weights, as on the CPU.
  const bool weighted = feature.weights >= 0 && Combines(form);
  xla::XlaOp weights =
      weighted
          ? xla::Reshape(ctx->Input(feature.weights), {num_ids})
          : xla::Broadcast(xla::ConstantR0<float>(builder, 1.0f), {num_ids});
  if (weighted && form == FeatureForm::kSparseSafe &&
      combiner != Combiner::kSum) {
    placement.kept = xla::And(placement.kept,
                              xla::Gt(weights, xla::ScalarLike(weights, 0.0f)));
  }

  result.ids_a_position = placement.ids_a_position;
  result.position_shape = std::move(placement.position_shape);
  result.num_positions = 1;
  for (const int64_t size : result.position_shape) {
    result.num_positions =
        tensorflow::MultiplyWithoutOverflow(result.num_positions, size);
    if (result.num_positions < 0 || result.num_positions > kMaxRows) {
      return ToAbsl(InvalidArgument("too many output positions", Of(feature)));
    }
  }
  result.ids = ToS32(xla::Select(in_table, raw_ids, xla::ZerosLike(raw_ids)));
  result.kept = placement.kept;
  result.positions = xla::Select(
      placement.kept, placement.positions,
      xla::Broadcast(Constant(builder, result.num_positions), {num_ids}));
  result.weights =
      xla::Select(placement.kept, weights, xla::ZerosLike(weights));

  result.target = FindLoweringTarget(ctx);
  if (result.target == LoweringTarget::kGpu && Combines(form) &&
      result.ids_a_position == 0) {
    GroupByPosition(placement, &result);
  }
  if (Combines(form) && combiner != Combiner::kSum) {
    const bool mean = combiner == Combiner::kMean;
    const xla::XlaOp terms =
        mean ? result.weights : xla::Mul(result.weights, result.weights);
    xla::XlaOp total = result.Sums(terms);
    if (!mean) total = xla::Sqrt(total);
    result.scales = ReciprocalOrZero(total);
  }
  return result;
}

absl::StatusOr<xla::XlaOp> LowerGradient(XlaOpKernelContext* ctx,
                                         const FusedFeatures& features, int f,
                                         const FusedContributions& ids) {
  const int64_t dim = features.table_dim(features.table_of(f));
  const int input = features.end_input() + f;
  const absl::StatusOr<TensorShape> shape = InputBounds(ctx, input);
  if (!shape.ok()) return shape.status();
  TensorShape expected(ids.position_shape);
  expected.AddDim(dim);
  if (*shape != expected) {
    return ToAbsl(InvalidArgument("gradient of '", features.name(f),
                                  "' has shape ", shape->DebugString(),
                                  ", must have ", expected.DebugString()));
  }
  return xla::Reshape(ctx->Input(input), {ids.num_positions, dim});
}

absl::Status CheckTableShape(const TensorShape& shape, int table,
                             int64_t columns) {
  if (shape.dims() == 2 && shape.dim_size(1) == columns) {
    return absl::OkStatus();
  }
  return ToAbsl(
      InvalidArgument("table ", table, " has shape ", shape.DebugString(),
                      ", but the op was built for [rows, ", columns, "]"));
}

}  // namespace tf_embed
